"""A small series in a ledger that is reported, for tests of what becomes of its results."""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from node.ledger import Instance, Ledger, Plan, Result, Revision
from node.report import ResultObject
from node.routing import Workitem
from node.spool import Spool
from tests.cases import make_case
from tests.claiming import claimed


def an_image(
    study: str = "1.2", series: str = "1.2.3", number: int = 1, sender: str = "CT"
) -> Instance:
    """An image of a series, whose file is not looked at."""
    uid, path = f"{series}.{number}", Path(study) / series / f"{number}.dcm"
    return Instance(study, series, uid, "1.2.840.1", f"{number:064x}", path, sender)


def report(
    ledger: Ledger,
    results: Sequence[Result],
    where: Collection[str] | Plan,
    *,
    image: Instance | None = None,
    **more: object,
) -> Revision:
    """Have the series of an image reported, as the newest revision of it.

    Parameters
    ----------
    ledger : Ledger
    results : sequence of Result
    where : collection of str, or Plan
        Where they go.
    image : Instance, optional
    **more : object
        As `Ledger.report` takes it.
    """
    revision = ledger.revision(ledger.store(image or an_image(), 30).revision_id)
    assert revision is not None
    assert ledger.ready(revision, [])
    claim = claimed(ledger, revision.id)
    assert ledger.report(claim, results, where, **{"warnings": [], "maxima": {"any": 0.5}, **more})
    reported = ledger.revision(revision.id)
    assert reported is not None
    return reported


def revisions(folder: Path, workitem: Workitem, **attributes: object) -> list[list[ResultObject]]:
    """The results of a small series and of a further revision of it, each with a workitem."""
    case = make_case(2, **attributes)
    first = case.build(folder / "1", workitems=[workitem])
    later = replace(workitem, replaces=(first[-1].sop_instance_uid,))
    case = case.judged(input_digest=64 * "b")
    return [first, case.build(folder / "2", workitems=[later], revision=2)]


def place(objects: Sequence[ResultObject], spool: Spool) -> list[ResultObject]:
    """Results that were built elsewhere, in a spool."""
    placed = []
    for item in objects:
        path = spool.results / item.path.parent.name / item.path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(item.path, path)
        placed.append(replace(item, path=path))
    return placed


def report_captures(
    ledger: Ledger, spool: Spool, *destinations: str, objects: int = 4, size: int = 0
) -> Revision:
    """Have a series of its own reported with secondary captures, which wait to be sent."""
    study, series = str(generate_uid()), str(generate_uid())
    captures = [capture(spool, study, series, f"{series}/{n}.dcm", size) for n in range(objects)]
    return report(ledger, captures, destinations, image=an_image(study, series))


def capture(spool: Spool, study: str, series: str, path: str, size: int = 0) -> Result:
    """A secondary capture without pixels, in its file; as large as is wanted."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = SecondaryCaptureImageStorage
    image.SOPInstanceUID = generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.PatientName, image.PatientID = "Test^Head", "T1"
    image.Modality, image.ConversionType = "OT", "WSD"
    image.ImageComments = "x" * size
    target = spool.results / path
    target.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(target, enforce_file_format=True)
    uid = str(image.SOPInstanceUID)
    return Result("sc", series, SecondaryCaptureImageStorage, uid, Path(path))
