"""Fill a ledger with series that are long delivered, in bulk: what years leave behind."""

from dataclasses import dataclass

import sqlalchemy as sa

from ml.labels import LABELS
from node.ledger import DeliveryState, State, open_ledger, schema

CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.34"

INTERVAL_S = 30.0
"""Between two series, seconds: a million are a year without a pause."""

FLAGGED_EVERY = 10
"""Of so many series one is flagged."""

# UIDs come in no order, which is the worst case for the indexes of them.
_ROOT, _FACTOR, _SIZE = "1.2.840.113619.2.55", 2_654_435_761, 2**32


def _root(number: int) -> str:
    return f"{_ROOT}.{number * _FACTOR % _SIZE}"


@dataclass(frozen=True)
class Filling:
    """What is in a ledger.

    Parameters
    ----------
    series : int
        Each with one revision, delivered: its results were sent to "pacs", and "archive"
        has committed to them; a second model has judged it, too.
    instances, results : int
        Of each series. Real ones have 40 and 44.
    until : float
        When the last one came, seconds since 1970.
    """

    series: int
    instances: int
    results: int
    until: float

    @property
    def rows(self) -> int:
        """Rows of all tables together."""
        return self.series * (10 + self.instances + 3 * self.results)

    @staticmethod
    def study(number: int) -> str:
        """Study Instance UID of a series, from 1."""
        return f"{_root(number)}.1"

    @staticmethod
    def uid(number: int) -> str:
        """Series Instance UID of a series, from 1."""
        return f"{_root(number)}.2"

    def fill(self, url: str) -> None:
        """Make a ledger and fill it."""
        open_ledger(url).close()
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        tables = schema.metadata.sorted_tables
        indexes = [index for table in tables for index in table.indexes]
        before, sequel, after = _AROUND[engine.dialect.name]
        with engine.connect() as connection:
            for statement in (*before, "BEGIN"):
                connection.execute(sa.text(statement))
            for index in indexes:
                index.drop(connection)
            for statement in self._statements():
                connection.execute(sa.text(statement))
            for index in indexes:
                index.create(connection)
            for table in tables:
                if sequel and "id" in table.c:
                    connection.execute(sa.text(sequel.format(table=table.name)))
            for statement in ("COMMIT", *after):
                connection.execute(sa.text(statement))

    def _statements(self) -> list[str]:
        at = f"({self.until} - {INTERVAL_S} * ({self.series} - i))"
        root = f"'{_ROOT}.' || (i * {_FACTOR} % {_SIZE})"
        study, series = f"{root} || '.1'", f"{root} || '.2'"
        folder = f"{study} || '/' || {series} || '/'"
        maxima = ", ".join(f'"{label}": 0.03125{n}' for n, label in enumerate(LABELS))
        instance_id = f"((i - 1) * {self.instances} + k)"
        result_id = f"((i - 1) * {self.results} + k)"
        digest = f"'{'c0ffee' * 8}' || ({10**15} + {instance_id})"
        states = (State.RECEIVING, State.READY, State.ANALYZING, State.REPORTED, State.DELIVERED)
        state = " ".join(f"WHEN {k} THEN '{name}'" for k, name in enumerate(states, 1))
        return [
            _insert("series", self.series, 1, f"i, {study}, {series}, NULL, NULL, NULL"),
            _insert(
                "revision",
                self.series,
                1,
                f"i, i, 1, '{State.DELIVERED}', NULL, NULL, '[]', '{{{maxima}}}', "
                "NULL, 1, 1, "
                f"{self.instances}, {at}, {at} + 1, {at} + 20, NULL, {at} + 20, {at} + 20, "
                f"{at}, 0, NULL, NULL",
            ),
            "INSERT INTO model (id, name, version, digest, operating_point) "
            "VALUES (1, 'phantom', '0', 'c0ffee', 'balanced'), "
            "(2, 'second', '0', 'facade', 'balanced')",
            f"UPDATE revision SET flagged = '[\"any\"]' WHERE id % {FLAGGED_EVERY} = 0",
            _insert(
                "instance",
                self.series,
                self.instances,
                f"{instance_id}, i, {root} || '.3.' || k, '{CT}', {digest}, "
                f"{folder} || {root} || '.3.' || k || '.c0ffeec0ffeec0ff.dcm', "
                f"'SCANNER', {at}, 1, NULL, 'c-store'",
            ),
            "INSERT INTO judged (series_id, number, model_id, judged_at, flagged, is_flagged) "
            "SELECT series_id, 1, 1, updated_at, COALESCE(flagged, '[]'), flagged IS NOT NULL "
            "FROM revision",
            _insert(
                "event",
                self.series,
                len(states),
                f"(i - 1) * {len(states)} + k, i, {at} + k, CASE k {state} END, NULL, NULL",
            ),
            "INSERT INTO notification (id, event_id, rule, state, attempts, first_tried_at) "
            f"SELECT id, (id - 1) * {len(states)} + 4, 'team', 'told', 1, updated_at "
            "FROM revision WHERE flagged IS NOT NULL",
            _insert(
                "result",
                self.series,
                self.results,
                f"{result_id}, i, 'sr', {root} || '.4', '{SR}', {root} || '.4.' || k, "
                f"{folder} || 'r1/' || k || '.dcm', NULL",
            ),
            *(
                _insert(
                    "delivery",
                    self.series,
                    self.results,
                    f"2 * {result_id} - {which}, i, {result_id}, '{name}', NULL, '{state}', 1, "
                    f"{at} + 19, NULL, NULL, {at}",
                )
                for which, name, state in (
                    (1, "pacs", DeliveryState.SENT),
                    (0, "archive", DeliveryState.COMMITTED),
                )
            ),
            _insert(
                "commitment",
                self.series,
                1,
                f"i, 'archive', 'heard', 1, {at} + 20, NULL, NULL",
            ),
            _insert("commitment_transaction", self.series, 1, f"{root} || '.5', i"),
            "INSERT INTO shadow (id, revision_id, state, primary_id, primary_maxima, "
            "primary_flagged, shadow_id, maxima, flagged, attempts, claims, updated_at) "
            "SELECT id, id, 'judged', 1, maxima, '[]', 2, maxima, '[]', 1, 1, updated_at "
            "FROM revision",
            "INSERT INTO destination VALUES ('pacs', NULL, NULL, 0, NULL, NULL), "
            "('archive', NULL, NULL, 0, NULL, NULL)",
        ]


def _insert(table: str, series: int, each: int, values: str) -> str:
    """For every series i, from 1, and every k of it, from 1, a row, in the schema's order."""
    columns = ", ".join(column.name for column in schema.metadata.tables[table].columns)
    return (
        f"INSERT INTO {table} ({columns}) WITH RECURSIVE "
        f"n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {series}), "
        f"m(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM m WHERE k < {each}) "
        f"SELECT {values} FROM n CROSS JOIN m"
    )


# Before all, for each table, and after all.
_AROUND = {
    "sqlite": (
        [
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            "PRAGMA cache_size=-400000",
            "PRAGMA temp_store=MEMORY",
        ],
        "",
        ["PRAGMA journal_mode=WAL"],
    ),
    "postgresql": (
        [
            "SET session_replication_role = replica",  # keys of other tables are right
            "SET maintenance_work_mem = '256MB'",
        ],
        "SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}",
        ["VACUUM (ANALYZE)", "CHECKPOINT"],
    ),
}
