"""What tests of the node share."""

import pytest


class Heard:
    """Stands for the broker, which is tested with a real one end to end."""

    def __init__(self) -> None:
        self.deliveries: list[tuple[int, str]] = []

    def deliver(self, revision_id: int, destination: str) -> None:
        """Note a hint."""
        self.deliveries.append((revision_id, destination))


@pytest.fixture
def heard() -> Heard:
    """Hints that were given."""
    return Heard()
