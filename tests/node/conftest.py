"""What tests of the node share."""

import pytest


class Heard:
    """Stands for the broker, which is tested with a real one end to end."""

    def __init__(self) -> None:
        self.deliveries: list[str] = []

    def deliver(self, destination: str) -> None:
        """Note a hint."""
        self.deliveries.append(destination)


@pytest.fixture
def heard() -> Heard:
    """Hints that were given."""
    return Heard()
