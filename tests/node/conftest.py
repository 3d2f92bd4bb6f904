"""What tests of the node share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.ledger import Ledger, open_ledger
from tests.conftest import Clock


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


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    found: str = request.getfixturevalue("postgresql_url")
    engine = sa.create_engine(found)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return found


@pytest.fixture
def ledger(url: str, clock: Clock) -> Iterator[Ledger]:
    """A ledger, once in SQLite and once in PostgreSQL, with a clock that is moved by hand."""
    opened = open_ledger(url)
    opened.clock = clock
    yield opened
    opened.close()
