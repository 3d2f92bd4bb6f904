"""A ledger that any older node made is brought to today's tables, with all that is in it."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from node.check import Health, check
from node.errors import ConfigError
from node.ledger import (
    DeliveryState,
    Instance,
    Ledger,
    Outcome,
    Result,
    State,
    open_ledger,
    revision_at,
    schema,
)
from node.ledger.migrations import FOLDER, revisions
from node.settings import Settings
from tests.conftest import Clock

OLD = ["first", "commitment", "last"]
NOW = 1_790_000_000.0

SERIES = dict(enumerate(State, 1))
"""A series for each state, by id, as `fill` makes them."""

_INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes "
    "WHERE schemaname = current_schema() AND tablename != 'alembic_version'",
}


def statements(name: str, engine: sa.Engine) -> list[str]:
    """What an old node's tables are made with."""
    text = (Path(__file__).parent / "ledgers" / f"{name}.{engine.dialect.name}.sql").read_text()
    return [statement for statement in re.sub("^--.*", "", text).split(";") if statement.strip()]


def make_old(name: str, engine: sa.Engine) -> None:
    """Make the ledger of an old node, with a series in every state."""
    with engine.begin() as connection:
        for statement in statements(name, engine):
            connection.execute(sa.text(statement))
    fill(engine)


def open_as_old(name: str, engine: sa.Engine) -> None:
    """What an old node did to a ledger that is still older: it made what tables it lacked."""
    with engine.begin() as connection:
        there = set(sa.inspect(connection).get_table_names())
        for statement in statements(name, engine):
            made = re.search(r"CREATE TABLE (\w+)|CREATE INDEX \w+ ON (\w+)", statement)
            assert made is not None
            if (made[1] or made[2]) not in there:
                connection.execute(sa.text(statement))


def fill(engine: sa.Engine) -> None:
    metadata = sa.MetaData()
    metadata.reflect(engine)
    tables = metadata.tables
    with engine.begin() as connection:

        def add(table: str, **values: Any) -> None:
            connection.execute(sa.insert(tables[table]).values(**values))

        claims = {"claims": 1} if "claims" in tables["revision"].c else {}
        for n, state in SERIES.items():
            add("series", id=n, study_instance_uid="1.2", series_instance_uid=f"1.2.{n}")
            add(
                "revision",
                id=n,
                series_id=n,
                number=1,
                state=state,
                reason="contrast" if state is State.SKIPPED else None,
                detail=None,
                warnings="[]" if engine.dialect.name == "sqlite" else [],
                attempts=1,
                arrivals=2,
                last_instance_at=NOW - 50,
                updated_at=NOW - 20 + n,
                due_at=None if state in (State.REPORTED, State.DELIVERED) else NOW - 1,
                **claims,
            )
            add("event", revision_id=n, at=NOW - 50, state=State.RECEIVING)
            for k in (1, 2):
                image = instance(n, k)
                add(
                    "instance",
                    series_id=n,
                    sop_instance_uid=image.sop_instance_uid,
                    sop_class_uid=image.sop_class_uid,
                    digest=image.digest,
                    path=str(image.path),
                    sender=image.sender,
                    received_at=NOW - 50,
                    from_revision=1,
                )
        for n, state in ((4, DeliveryState.PENDING), (5, DeliveryState.SENT)):
            add(
                "result",
                id=n,
                revision_id=n,
                kind="sr",
                series_instance_uid=f"1.9.{n}",
                sop_class_uid="1.2.840.2",
                sop_instance_uid=f"1.9.{n}.1",
                path="sr.dcm",
            )
            add(
                "delivery",
                id=n,
                revision_id=n,
                result_id=n,
                destination="pacs",
                state=state,
                attempts=0,
                next_try_at=NOW - 1 if state is DeliveryState.PENDING else None,
            )
        if engine.dialect.name == "postgresql":
            for table in ("series", "revision", "result", "delivery"):
                text = f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 100)"
                connection.execute(sa.text(text))


def instance(n: int, k: int, content: str = "a") -> Instance:
    path = Path("1.2") / f"1.2.{n}" / f"{k}.{content}.dcm"
    return Instance("1.2", f"1.2.{n}", f"1.2.{n}.{k}", "1.2.840.1", content * 64, path, "SCANNER")


def rows(engine: sa.Engine) -> dict[str, list[dict[str, Any]]]:
    """All that is in it."""
    metadata = sa.MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        return {
            name: [
                dict(row._mapping)
                for row in connection.execute(table.select().order_by(*table.primary_key))
            ]
            for name, table in metadata.tables.items()
            if name != "alembic_version"
        }


def indexes(engine: sa.Engine) -> dict[str, str]:
    """Name to definition, each written in one way."""
    with engine.connect() as connection:
        found = connection.execute(sa.text(_INDEXES[engine.dialect.name]))
        return {name: " ".join(definition.split()) for name, definition in found}


def is_as_the_schema_says(engine: sa.Engine) -> bool:
    """Whether tables, columns and indexes are those of `schema.py`, and no others."""
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    there = indexes(engine)
    with engine.begin() as connection:  # as SQLAlchemy makes them, beside those
        connection.execute(sa.text("DROP TABLE alembic_version"))
        schema.metadata.drop_all(connection)
        schema.metadata.create_all(connection)
    assert there == indexes(engine)
    return True


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """Of an empty database."""
    made = sa.create_engine(url)
    yield made
    made.dispose()


def test_a_new_ledger_is_as_the_schema_says(url: str, engine: sa.Engine) -> None:
    open_ledger(url).close()
    assert is_as_the_schema_says(engine)


@pytest.mark.parametrize("name", OLD)
def test_an_old_ledger_becomes_what_the_schema_says(url: str, engine: sa.Engine, name: str) -> None:
    make_old(name, engine)
    assert revision_at(url) is None
    open_ledger(url).close()
    assert revision_at(url) == revisions()[-1]
    assert is_as_the_schema_says(engine)


@pytest.mark.parametrize("later", ["commitment", "last"])
def test_an_old_ledger_that_a_later_node_opened_becomes_what_the_schema_says(
    url: str, engine: sa.Engine, later: str
) -> None:
    make_old("first", engine)
    open_as_old(later, engine)
    open_ledger(url).close()
    assert is_as_the_schema_says(engine)


@pytest.mark.parametrize("name", OLD)
def test_an_upgrade_changes_nothing_that_an_old_ledger_holds(
    url: str, engine: sa.Engine, name: str
) -> None:
    make_old(name, engine)
    before = rows(engine)
    assert all(before[table] for table in ("series", "revision", "event", "result", "delivery"))
    open_ledger(url).close()
    after = rows(engine)
    for table, held in before.items():
        now = [{key: row[key] for key in held[0]} for row in after[table]] if held else []
        assert now == held, table


@pytest.mark.parametrize("name", OLD)
def test_the_node_goes_on_with_an_old_ledger(url: str, engine: sa.Engine, name: str) -> None:
    make_old(name, engine)
    ledger = open_ledger(url)
    clock = ledger.clock = Clock()

    assert [r.state for r in reversed(ledger.recent(30))] == list(State)
    for state in (State.RECEIVING, State.READY, State.ANALYZING, State.SKIPPED, State.FAILED):
        assert [r.state for r in ledger.due(state)] == [state]
    (receiving,) = ledger.due(State.RECEIVING)
    assert ledger.store(instance(1, 2), 30).outcome is Outcome.DUPLICATE
    assert ledger.store(instance(1, 3), 30).revision_id == receiving.id

    (lost,) = ledger.due(State.ANALYZING)
    assert ledger.take_back(lost, 3)
    for revision in ledger.due(State.READY):
        analyze(ledger, revision.id)
    analyze(ledger, lost.id)
    waiting = ledger.due_deliveries("pacs")
    assert [d.revision_id for d in waiting] == [4, 2, 3]
    ledger.sent([(delivery, None) for delivery in waiting])
    assert {r.id for r in ledger.recent(30) if r.state is State.DELIVERED} == {2, 3, 4, 5}

    late = ledger.store(instance(5, 2, "b"), 30)
    (before, after) = ledger.find("1.2.5")
    assert (late.outcome, late.revision_id) == (Outcome.CHANGED, after.id)
    assert (before.instances, after.number, after.instances) == (2, 2, 2)

    clock.pass_s(1)
    for revision in (*ledger.due(State.SKIPPED), *ledger.due(State.FAILED)):
        assert ledger.retry(revision, ["pacs"])
    assert ledger.take_commitment("pacs", 30, 0) is not None
    assert ledger.owe_report("CT", "1.9", []) is not None
    ledger.close()


def analyze(ledger: Ledger, revision_id: int) -> None:
    claim = ledger.claim_next(30)  # what was ready before the upgrade has a rank, too
    assert claim is not None
    assert claim.revision.id == revision_id
    uid = f"1.8.{revision_id}"
    result = Result("sr", uid, "1.2.840.2", f"{uid}.1", Path("sr.dcm"))
    assert ledger.report(claim, [result], ["pacs"], warnings=[], maxima={"any": 0.5})


# -- how it is done ------------------------------------------------------------


def test_the_steps_are_a_chain_and_each_is_named_like_its_file() -> None:
    script = ScriptDirectory(str(FOLDER))
    chain = [step.revision for step in reversed(list(script.walk_revisions()))]
    assert chain == revisions()
    assert script.get_heads() == [revisions()[-1]]
    assert [name[:4] for name in chain] == [f"{n:04}" for n in range(1, len(chain) + 1)]


OPEN = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from node.ledger import open_ledger
ledger = open_ledger(sys.argv[1])
assert len(ledger.recent(30)) == int(sys.argv[2])
"""


def test_of_many_processes_that_start_together_one_takes_each_step(
    url: str, engine: sa.Engine
) -> None:
    make_old("first", engine)
    parts = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, url, str(len(SERIES))], stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = [part.communicate(timeout=60)[1] for part in parts]
    assert [part.returncode for part in parts] == [0] * 4, said
    steps = re.findall(r"Running upgrade \S* ?-> (\w+)", "".join(said))
    assert steps == revisions()
    assert "".join(said).count(f"is at revision {revisions()[-1]}; it was at none") == 1


@pytest.mark.parametrize("done", revisions())
def test_a_step_that_a_crash_kept_from_being_marked_is_taken_again(
    url: str, engine: sa.Engine, done: str
) -> None:
    make_old("first", engine)
    open_ledger(url).close()
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :at"), {"at": done})
    open_ledger(url).close()
    assert revision_at(url) == revisions()[-1]
    assert is_as_the_schema_says(engine)


def test_a_crash_before_the_first_mark_is_made_good(url: str, engine: sa.Engine) -> None:
    make_old("first", engine)
    open_ledger(url).close()
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM alembic_version"))
    open_ledger(url).close()
    assert is_as_the_schema_says(engine)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_in_postgresql_writers_go_on_while_an_index_is_built(url: str, engine: sa.Engine) -> None:
    make_old("first", engine)
    add = sa.text(
        "INSERT INTO instance (series_id, sop_instance_uid, sop_class_uid, digest, path, "
        "sender, received_at, from_revision) VALUES (1, '1.2', '1.2', '', '', '', 0, 1)"
    )
    waits = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with ThreadPoolExecutor() as pool, engine.connect() as slow:
        slow.execute(add)  # until it ends, the index cannot be finished
        upgrade = pool.submit(open_ledger, url)
        second = pool.submit(open_ledger, url)  # must not make it wait either
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as quick:
            until = time.monotonic() + 20
            while not quick.execute(waits).scalar() and time.monotonic() < until:
                time.sleep(0.01)
            quick.execute(sa.text("SET statement_timeout = 5000"))
            quick.execute(add)
            assert not upgrade.done()
            assert not second.done()
        slow.commit()
        upgrade.result().close()
        second.result().close()
    assert is_as_the_schema_says(engine)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_in_postgresql_a_build_that_was_cut_off_is_done_again(url: str, engine: sa.Engine) -> None:
    make_old("last", engine)
    index = "'instance_by_uid'::regclass"
    with engine.begin() as connection:
        connection.execute(
            sa.text(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = {index}")
        )
    open_ledger(url).close()
    with engine.connect() as connection:
        valid = f"SELECT indisvalid FROM pg_index WHERE indexrelid = {index}"
        assert connection.execute(sa.text(valid)).scalar() is True


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_postgresql_tidies_up_by_what_was_changed_unless_it_was_told_otherwise(
    url: str, engine: sa.Engine
) -> None:
    make_old("last", engine)
    told = "ALTER TABLE delivery SET (autovacuum_vacuum_scale_factor = 0.1)"
    with engine.begin() as connection:
        connection.execute(sa.text(told))
    open_ledger(url).close()
    asked = "SELECT relname, reloptions::text FROM pg_class WHERE relname IN (:a, :b)"
    with engine.connect() as connection:
        options = dict(connection.execute(sa.text(asked), {"a": "revision", "b": "delivery"}).all())
    assert "autovacuum_vacuum_scale_factor=0," in options["revision"]
    assert options["delivery"] == "{autovacuum_vacuum_scale_factor=0.1}"


def test_two_ledgers_can_be_made_side_by_side_in_one_process(tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    def make(n: int) -> str | None:
        barrier.wait()
        url = f"sqlite:///{tmp_path}/{n}.sqlite"
        open_ledger(url).close()
        return revision_at(url)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(make, range(4))) == {revisions()[-1]}


# -- what people see -----------------------------------------------------------


def test_a_ledger_of_a_newer_node_stops_the_start_with_one_line(
    url: str, engine: sa.Engine
) -> None:
    open_ledger(url).close()
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999_later'"))
    with pytest.raises(ConfigError, match="newer node: it is at revision 9999_later") as caught:
        open_ledger(url)
    assert len(str(caught.value).splitlines()) == 1


def test_a_ledger_that_is_up_to_date_is_opened_without_alembic(url: str) -> None:
    open_ledger(url).close()
    code = f"{OPEN}assert 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, url, "0"], check=True, timeout=60)


def test_looking_at_the_revision_changes_nothing(url: str, engine: sa.Engine) -> None:
    make_old("first", engine)
    before = indexes(engine)
    assert revision_at(url) is None
    assert indexes(engine) == before
    assert not sa.inspect(engine).has_table("alembic_version")


def test_check_says_which_revision_the_ledger_has(
    url: str, engine: sa.Engine, tmp_path: Path
) -> None:
    def ledger() -> tuple[Health, str]:
        settings = Settings(home=tmp_path, ledger={"url": url})
        (found,) = [f for f in check(settings) if f.subject == "ledger"]
        return found.health, found.text

    newest = revisions()[-1]
    make_old("first", engine)
    health, text = ledger()
    assert (health, f"revision none; a node that starts brings it to {newest}" in text) == (
        Health.GOOD,
        True,
    )
    open_ledger(url).close()
    health, text = ledger()
    assert (health, text.endswith(f"revision {newest}")) == (Health.GOOD, True)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999_later'"))
    health, text = ledger()
    assert (health, "newer node" in text) == (Health.BAD, True)
