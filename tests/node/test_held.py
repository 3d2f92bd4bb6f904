"""A result that does not pass the self-check is held: kept on disk, never sent."""

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from ml.labels import Label
from ml.phantom import make_phantom, write_dicom
from node import report
from node.analyze import Analyzer
from node.ledger import Instance, Ledger, Revision, State, open_ledger
from node.report.files import write
from node.settings import Settings
from node.spool import Spool, digest_of
from node.work import Worker
from tests.node.conftest import Heard


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def ready(ledger: Ledger, tmp_path: Path) -> Revision:
    """A small head that is ready to be analyzed."""
    phantom = make_phantom(11, size=64, findings=(Label.SUBDURAL,))
    for file in write_dicom(phantom, tmp_path / "phantom")[8:12]:
        image = pydicom.dcmread(file)
        content = file.read_bytes()
        names = (image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID)
        path = Spool(tmp_path).keep(*names, digest_of(content), content)
        stored = ledger.store(
            Instance(*names, str(image.SOPClassUID), digest_of(content), path, "CT"), 30
        )
    revision = ledger.revision(stored.revision_id)
    assert revision is not None
    assert ledger.ready(revision, [])
    return revision


@pytest.mark.parametrize("kind", ["sr", "slices", "text", "sc-001"])
def test_a_result_of_another_patient_is_held_and_not_sent(
    ledger: Ledger,
    ready: Revision,
    heard: Heard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    def confused(dataset: pydicom.Dataset, path: Path) -> None:
        write(dataset, path)
        if path.stem == kind:  # as if the disk had given back another file
            other = pydicom.dcmread(path)
            other.PatientID = "somebody else"
            other.save_as(path)

    monkeypatch.setattr(report, "write", confused)
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    settings = Settings(home=tmp_path, destinations=[pacs], analyze={"device": "cpu"})
    Worker(settings, ledger, Spool(tmp_path), heard, Analyzer.load(settings)).analyze(ready.id)

    revision = ledger.revision(ready.id)
    assert revision is not None
    assert (revision.state, revision.reason) == (State.FAILED, "result-held")
    assert revision.detail == f"{kind}.dcm: PatientID differs from the source"
    assert ledger.results(revision) == []
    assert heard.deliveries == []
    assert list(Spool(tmp_path).results.rglob(f"{kind}.dcm"))  # to be looked at

    monkeypatch.undo()
    assert ledger.retry(revision, [])
    Worker(settings, ledger, Spool(tmp_path), heard, Analyzer.load(settings)).analyze(ready.id)
    assert ledger.revision(ready.id).state is State.REPORTED
    assert heard.deliveries == ["pacs"]
