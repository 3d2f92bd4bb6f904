"""`ichnode fetch` and `poll` as a user meets them: what is asked for, a table, an exit code."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from node.cli import app
from node.fetch import Fetcher
from node.ledger import open_ledger
from node.settings import load_settings
from tests import ct
from tests.archives import BadArchive, running

SLICES = 4


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[BadArchive]:
    def change(image: Dataset) -> None:
        image.StudyDate, image.AccessionNumber = "20260105", "A 17"

    files = ct.series(tmp_path / "images", [5.0 * n for n in range(SLICES)], change)
    with running(BadArchive.of(files)) as found:
        yield found


@pytest.fixture
def config(archive: BadArchive, tmp_path: Path) -> Path:
    path = tmp_path / "ichnode.toml"
    path.write_text(
        f'home = "{tmp_path / "home"}"\n[dicom]\nport = 1\n[assemble]\nquiet_s = 0\n'
        '[[sources]]\nname = "pacs"\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\n'
        f'port = {archive.port}\nretrieve = "get"\n'
    )
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(config)])


def fetched(config: Path, *arguments: str) -> Any:
    return json.loads(run(config, "fetch", *arguments, "--json").stdout)


def test_a_study_is_fetched_and_told_in_a_table(config: Path) -> None:
    done = run(config, "fetch", "--study", ct.STUDY)
    assert done.exit_code == 0, done.output
    assert f"fetched      {SLICES} images, {SLICES} came" in done.stdout
    assert f"1 series found: 1 fetched; {SLICES} images came" in done.stdout
    again = run(config, "fetch", "--study", ct.STUDY)
    assert (again.exit_code, "1 known" in again.stdout) == (0, True)


def test_a_dry_run_shows_what_would_be_done(config: Path) -> None:
    (series,) = fetched(config, "--accession", "A 17", "--dry-run")["series"]
    assert (series["state"], series["counted"], series["images"]) == ("wanted", SLICES, 0)


def test_a_range_of_days_goes_on_where_it_was_stopped(config: Path, archive: BadArchive) -> None:
    days = ("--from", "2026-01-04", "--to", "2026-01-06")
    (series,) = fetched(config, *days)["series"]
    assert (series["state"], archive.retrievals) == ("fetched", 1)
    (series,) = fetched(config, *days)["series"]
    assert (series["state"], archive.retrievals) == ("known", 1)
    assert archive.asked.count("STUDY") == 6, "a question for each day"


def test_a_source_that_is_ill_while_days_are_fetched_is_waited_for(
    config: Path, archive: BadArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(_asked: Dataset, found: list[Dataset]) -> list[Dataset]:
        if archive.asked == ["STUDY", "SERIES"]:  # of the first day
            archive.find_status = 0xA700
        return found

    archive.answers = answers
    pauses: list[float] = []

    def pause(_fetcher: Fetcher, seconds: float) -> None:
        pauses.append(seconds)
        archive.find_status = 0xA700 if len(pauses) < 2 else None

    monkeypatch.setattr(Fetcher, "pause", pause)
    done = run(config, "fetch", "--from", "2026-01-05", "--to", "2026-01-06")
    assert done.exit_code == 0, done.output
    assert f"it is out of resources (0xA700); asked again in {pauses[0]:.0f} s" in done.stderr
    assert 20 < pauses[0] <= 30 < pauses[1] <= 60
    assert "1 series found: 1 fetched" in done.stdout


def test_a_study_of_no_archive_is_said_to_be_none(config: Path) -> None:
    done = run(config, "fetch", "--study", "1.9")
    assert done.exit_code == 1
    assert "answers that it has no CT of that" in done.stderr


def test_what_is_lacking_makes_an_exit_code_of_1(config: Path, archive: BadArchive) -> None:
    archive.gives = lambda images: images[:1]
    done = run(config, "fetch", "--study", ct.STUDY)
    assert done.exit_code == 1
    assert f"{SLICES - 1} of {SLICES} images did not come" in done.stdout
    shown = run(config, "show", ct.STUDY)
    assert f"failed at the source pacs, which counts {SLICES} images" in shown.stdout
    status = run(config, "status")
    assert "1 series of pacs were not fetched" in status.stdout
    archive.gives = lambda images: images
    assert ct.SERIES in status.stdout, "which one"
    again = run(config, "retry", "--failed")
    assert (again.exit_code, again.stderr) == (1, "")
    assert "nobody polls pacs: what failed there `ichnode fetch --source pacs` fetches" in (
        again.stdout
    )
    config.write_text(f"{config.read_text()}poll_s = 60\n")
    again = run(config, "retry", "--failed")
    assert "1 series: to be fetched again" in again.stdout
    assert run(config, "fetch", "--study", ct.STUDY).exit_code == 0


def test_a_source_that_is_away_is_one_line(config: Path, archive: BadArchive) -> None:
    text = config.read_text().replace(f"port = {archive.port}", "port = 9")
    config.write_text(text)
    done = run(config, "fetch", "--study", ct.STUDY)
    assert done.exit_code == 1
    assert "ARCHIVE at 127.0.0.1:9" in done.stderr
    assert fetched(config, "--study", ct.STUDY)["trouble"].startswith("ARCHIVE at 127.0.0.1:9")


def test_somebody_who_stops_it_is_told_how_to_go_on(
    config: Path, archive: BadArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("node.fetch.incoming.Taking.handle_store", stop)
    done = run(config, "fetch", "--study", ct.STUDY)
    assert done.exit_code == 1
    assert "stopped: the same command goes on from here" in done.stderr
    ledger = open_ledger(load_settings(config).ledger_url)
    (row,) = ledger.find_fetches(ct.STUDY)
    ledger.close()
    assert (row.state.value, row.attempts) == ("wanted", 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "one of these is needed: --study UID, --accession NUMBER or --from DATE"),
        (("--study", "1.2", "--accession", "A"), "one of these is needed"),
        (("--study", "1.2.*"), "'1.2.*' is not a UID"),
        (("--accession", "A*"), "no wildcards"),
        (("--accession", "A" * 17), "1 to 16 characters"),
        (("--from", "2026-01-02", "--to", "2026-01-01"), "--from 2026-01-02 is after 2026-01-01"),
        (("--study", "1.2", "--to", "2026-01-01"), "--to goes with --from"),
        (("--source", "nobody", "--study", "1.2"), "no source 'nobody'"),
        (("--from", "yesterday"), "yesterday"),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_one_line(
    config: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = run(config, "fetch", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_without_a_source_to_poll_there_is_nothing_to_poll(config: Path) -> None:
    done = run(config, "poll")
    assert done.exit_code == 2
    assert "no [[sources]] table has a poll_s" in done.stderr


def test_the_doctor_asks_every_source(config: Path, archive: BadArchive) -> None:
    found = {f["subject"]: f for f in json.loads(run(config, "check", "--json").stdout)["findings"]}
    assert found["source pacs"]["text"].endswith("answers a C-FIND")
    archive.find_status = 0xA700
    found = {f["subject"]: f for f in json.loads(run(config, "check", "--json").stdout)["findings"]}
    assert found["source pacs"]["health"] == "bad"
    assert "out of resources" in found["source pacs"]["text"]


def test_the_doctor_asks_everybody_once(config: Path) -> None:
    config.write_text(
        f'{config.read_text()}[[notify]]\nname = "phone"\non = ["failed"]\n'
        'to = "http://127.0.0.1:9/"\n'
    )
    subjects = [f["subject"] for f in json.loads(run(config, "check", "--json").stdout)["findings"]]
    assert subjects.count("notify phone") == 1
    assert subjects.count("source pacs") == 1


def test_a_move_to_a_node_that_would_reject_it_is_found_by_the_doctor(config: Path) -> None:
    text = config.read_text().replace('"get"', '"move"')
    config.write_text(f'{text}\n[[peers]]\nname = "ct"\nae_title = "CT1"\n')
    found = {f["subject"]: f for f in json.loads(run(config, "check", "--json").stdout)["findings"]}
    assert found["retrieval from pacs"]["health"] == "bad"
    assert 'ae_title = "ARCHIVE"' in found["retrieval from pacs"]["cure"]
