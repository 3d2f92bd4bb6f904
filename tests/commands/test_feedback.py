"""`ichnode feedback` as a user meets it."""

import csv
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hl7.client import MLLPClient
from typer.testing import CliRunner, Result

from ml.identity import identify
from ml.labels import LABELS, Label
from node.audit import Auditor
from node.broker import free_port
from node.check import Health
from node.check.parts import check
from node.cli import app
from node.feedback.intake import Intake
from node.feedback.listener import Listener
from node.ledger import JudgingModel, Ledger, ReadingSource, open_ledger
from node.settings import Settings
from node.spool import Spool
from tests.e2e.peers import wait_for
from tests.node.test_feedback_ledger import judge, say
from tests.node.test_feedback_listener import example

Feedback = Callable[..., Result]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Two series were judged, one of them flagged."""
    opened = open_ledger(f"sqlite:///{tmp_path}/home/ledger.sqlite")
    found = identify("phantom")
    model = JudgingModel(found.name, found.version, found.digest, "balanced")
    judge(opened, "1.2.1", Label.ANY, Label.SUBDURAL, model=model, accession="A-42")
    judge(opened, "1.3.1", model=model, study="1.3")
    yield opened
    opened.close()


@pytest.fixture
def feedback(tmp_path: Path, ledger: Ledger) -> Feedback:
    file = tmp_path / "test.toml"
    file.write_text(f'home = "{tmp_path}/home"\n')

    def run(*arguments: str | Path, input: str | bytes | None = None) -> Result:
        config = ["--config", str(file)]
        return CliRunner().invoke(app, ["feedback", *map(str, arguments), *config], input=input)

    return run


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    file = tmp_path / "labels.csv"
    file.write_text(
        "accession_number;study_instance_uid;any;subdural;reader\n"
        "A-42;;present;1;anna\n"
        ";1.3;0;;anna\n"
        ";1.9;1;;anna\n"
        ";1.3;maybe;;anna\n"
        ";1.2;;;ben\n"
    )
    return file


def test_good_lines_are_taken_and_of_the_others_it_is_told_what_is_wrong(
    feedback: Feedback, labels: Path, ledger: Ledger
) -> None:
    done = feedback("import", labels)
    assert done.exit_code == 1
    assert "line 4: no such study came to this node" in done.stderr
    assert "line 5: any: 'maybe' is none of present, absent, unknown" in done.stderr
    expected = "labels taken: 2, lines that say nothing yet: 1, wrong lines: 2\n"
    assert done.stdout == expected
    (reading,) = ledger.readings("1.2", "1.2.1")
    assert (reading.reader, reading.source) == ("anna", ReadingSource.CSV)
    assert reading.findings == {Label.ANY: True, Label.SUBDURAL: True}


def test_the_same_file_again_changes_nothing(
    feedback: Feedback, labels: Path, ledger: Ledger, tmp_path: Path
) -> None:
    feedback("import", labels)
    before = ledger.readings("1.2", "1.2.1"), ledger.readings("1.3", "1.3.1")
    again = json.loads(feedback("import", labels, "--json").stdout)
    assert (again["new"], again["known"], again["blank"]) == (0, 2, 1)
    assert [wrong["line"] for wrong in again["wrong"]] == [4, 5]
    assert (ledger.readings("1.2", "1.2.1"), ledger.readings("1.3", "1.3.1")) == before
    audited = (tmp_path / "home" / "audit.log").read_text()
    assert audited.count('type="Label"') == 2


def test_a_dry_run_only_looks(feedback: Feedback, labels: Path, ledger: Ledger) -> None:
    done = feedback("import", "--dry-run", labels)
    assert done.exit_code == 1
    assert "labels that can be taken: 2, " in done.stdout
    assert ledger.readings("1.2", "1.2.1") == []
    feedback("import", labels)
    assert "known before: 2, " in feedback("import", "--dry-run", labels).stdout
    empty = feedback("import", "-", input="series_instance_uid,any\n")
    assert (empty.exit_code, empty.stdout) == (0, "the file has no line with a label\n")


def test_a_file_may_come_by_stdin_and_one_that_is_none_ends_with_2(
    feedback: Feedback, tmp_path: Path
) -> None:
    taken = feedback("import", "-", input="series_instance_uid,any\n1.2.1,1\n")
    assert (taken.exit_code, taken.stdout) == (0, "labels taken: 1\n")
    for arguments in (["import", tmp_path / "nowhere.csv"], ["import", __file__]):
        done = feedback(*arguments)
        assert done.exit_code == 2
        assert len(done.stderr.splitlines()) == 1


def test_a_file_of_another_encoding_is_told_of_and_what_can_be_read_is_taken(
    feedback: Feedback, tmp_path: Path, ledger: Ledger
) -> None:
    file = tmp_path / "excel.csv"
    text = "study_instance_uid;any;reader\n1.2;1;Müller\n1.3;0;Meier\n"
    file.write_bytes(text.encode("cp1252"))
    done = feedback("import", file)
    assert done.exit_code == 1
    assert "line 2: it is not in UTF-8: save the file as CSV UTF-8" in done.stderr
    assert ledger.readings("1.2", "1.2.1") == []
    assert [said.reader for said in ledger.readings("1.3", "1.3.1")] == ["Meier"]
    piped = feedback("import", "-", input=b"\xef\xbb\xbf" + text.encode())
    assert (piped.exit_code, piped.stderr) == (0, "")
    assert [said.reader for said in ledger.readings("1.2", "1.2.1")] == ["Müller"]


def test_who_has_no_name_on_this_machine_imports_by_a_number(
    feedback: Feedback, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as in a container
    feedback("import", labels)
    assert 'UserID="uid ' in (tmp_path / "home" / "audit.log").read_text()


def test_the_report_is_a_table_for_each_model(
    feedback: Feedback, labels: Path, ledger: Ledger
) -> None:
    feedback("import", labels)
    judge(ledger, "1.2.1", Label.ANY)
    shown = feedback().stdout
    assert shown.count("operating point balanced") == 2
    assert "Not for clinical use." in shown
    assert "21-100" in shown  # sensitivity, one of one: whole in 80 columns, as all others
    assert "…" not in shown
    document = json.loads(feedback("--json").stdout)
    first, second = document["models"]
    assert first["findings"]["any"]["counts"]["true_negatives"] == 1
    assert second["findings"]["any"]["counts"]["true_positives"] == 1
    assert second["findings"]["any"]["sensitivity"]["value"] == 1
    assert feedback("report", "--json").stdout == feedback("--json").stdout
    long_ago = json.loads(feedback("--json", "--days", "1").stdout)["models"][1]
    assert long_ago["findings"]["any"]["counts"]["series"] == 1


def test_the_export_has_labels_and_probabilities_and_of_the_patient_only_uids(
    feedback: Feedback, labels: Path, ledger: Ledger, tmp_path: Path
) -> None:
    feedback("import", labels)
    say(ledger, "1.2.1", {Label.ANY: False}, at=time.time() + 5, reader="=cmd()")
    out = tmp_path / "out.csv"
    assert feedback("export", out).exit_code == 0
    first, second = csv.DictReader(io.StringIO(out.read_text()))
    assert (first["series_instance_uid"], first["any_flagged"], first["any_label"]) == (
        "1.2.1",
        "1",
        "0",
    )
    assert (first["any_probability"], first["subdural_label"]) == ("0.9", "")
    assert [second[f"{label}_label"] for label in LABELS] == ["0"] * 6
    assert second["operating_point"] == "balanced"
    assert "A-42" not in out.read_text()
    assert feedback("export").stdout.splitlines() == out.read_text().splitlines()


def test_before_any_series_was_judged_there_is_nothing_to_report(tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    file.write_text(f'home = "{tmp_path}/new"\n')
    done = CliRunner().invoke(app, ["feedback", "--config", str(file)])
    assert done.exit_code == 0
    assert "No series was judged yet" in done.stdout


def test_the_doctor_says_whether_labels_can_come_in(tmp_path: Path, ledger: Ledger) -> None:
    settings = Settings(home=tmp_path, feedback={"hl7_port": free_port()})

    def hl7() -> str:
        found = next(f for f in check(settings) if f.subject == "hl7")
        assert found.health is Health.GOOD
        return found.text

    assert "is free for labels" in hl7()
    intake = Intake(ledger, Spool(tmp_path), Auditor.silent())
    with Listener(settings, intake) as listener, listener.serving():
        assert "something listens for labels" in hl7()


def test_a_word_that_is_no_command_is_called_one(feedback: Feedback) -> None:
    done = feedback("imprt")
    assert done.exit_code == 2
    assert "No such command 'imprt'" in done.stderr


def test_listening_needs_a_port(feedback: Feedback) -> None:
    done = feedback("listen")
    assert done.exit_code == 2
    assert "hl7_port is not set" in done.stderr


def test_up_listens_where_that_is_configured_and_ends_with_it(
    tmp_path: Path, ledger: Ledger
) -> None:
    judge(ledger, "1.2.3.4", study="1.2.3")
    ports = [free_port() for _ in range(3)]
    file = tmp_path / "up.toml"
    file.write_text(
        f'home = "{tmp_path}/home"\n[dicom]\nport = {ports[0]}\n[web]\nport = {ports[1]}\n'
        f"[feedback]\nhl7_port = {ports[2]}\n"
    )
    up = subprocess.Popen([sys.executable, "-m", "node", "up", "--config", str(file)])
    try:

        def answer() -> str:
            try:
                with MLLPClient("127.0.0.1", ports[2]) as client:
                    return str(client.send_message(example()).decode())
            except OSError:
                return ""

        wait_for(lambda: "MSA|AA" in answer(), 60, "labels to be taken")
    finally:
        up.terminate()
        assert up.wait(60) == 0
    assert len(ledger.readings("1.2.3", "1.2.3.4")) == 1
    assert answer() == ""
