"""Statements that every image runs, put together once and given to the driver as they are.

SQLAlchemy takes longer to hand four statements to SQLite than SQLite takes to carry them
out. What it is for is kept: they are written in its language, for either database, in its
transactions, and errors are its own.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError


class Prepared:
    """A statement as the driver takes it.

    Parameters
    ----------
    statement : sqlalchemy.Executable
        What is to be given is a `bindparam`, or a column of an INSERT.
    dialect : sqlalchemy.Dialect
    columns : sequence of str, optional
        The columns that an INSERT gives.
    """

    def __init__(
        self, statement: Any, dialect: sa.Dialect, columns: Sequence[str] | None = None
    ) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        self._dialect = dialect
        self._text = str(compiled)
        self._constants = dict(compiled.params)
        self._order = compiled.positiontup

    def run(self, connection: sa.Connection, **values: Any) -> Any:
        """Run it; gives the first row if it has rows, else None.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            If the database does not take it.
        """
        whole = self._constants | values
        given = whole if self._order is None else [whole[name] for name in self._order]
        failure = self._dialect.loaded_dbapi.Error
        driver = connection.connection
        try:
            cursor = driver.cursor()
            cursor.execute(self._text, given)
            return None if cursor.description is None else cursor.fetchone()
        except failure as error:
            is_gone = self._dialect.is_disconnect(error, driver, None)
            if is_gone:
                connection.invalidate(error)
            raise DBAPIError.instance(
                None,
                None,
                error,
                failure,
                connection_invalidated=is_gone,
                dialect=self._dialect,
            ) from error
