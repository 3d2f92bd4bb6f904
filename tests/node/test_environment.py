"""What is tried again for ever, and what is not."""

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ml.errors import IchnodeError
from node.environment import is_passing


def error_of(url: str, asked: str) -> DBAPIError:
    engine = sa.create_engine(url)
    with pytest.raises(DBAPIError) as raised, engine.connect() as connection:
        connection.execute(sa.text(asked))
    engine.dispose()
    return raised.value


def test_a_database_that_is_away_comes_back() -> None:
    away = error_of("postgresql+psycopg://ichnode@127.0.0.1:1/x?connect_timeout=2", "SELECT 1")
    assert is_passing(away)
    error = IchnodeError("a report cannot be recorded")
    error.__cause__ = away
    assert is_passing(error)


def test_a_value_that_the_database_does_not_take_is_not_taken_the_next_time(
    postgresql_url: str,
) -> None:
    assert not is_passing(error_of(postgresql_url, "SELECT 1e308::float8 * 10"))
