"""The key object selection: the flagged slices, for work lists and for whoever turns to them first.

References
----------
DICOM PS3.3: Key Object Selection Document IOD (A.35.4), its modules (C.17.6); PS3.16,
TID 2010.
"""

from datetime import datetime

from pydicom.dataset import FileDataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from node.report import codes
from node.report.header import NOT_FOR_CLINICAL_USE, Series, new_result, plain
from node.report.origin import Origin
from node.report.sr.content import image
from node.report.sr.document import fill, references, remark
from node.report.sr.words import conclusion
from node.settings import Kind

SERIES = Series(
    Kind.KEY_OBJECTS,
    KeyObjectSelectionDocumentStorage,
    modality="KO",
    offset=5,
    description=f"ichnode ICH key slices - {NOT_FOR_CLINICAL_USE}",
)


def build_key_objects(origin: Origin, *, revision: int, created: datetime) -> FileDataset | None:
    """Build the key object selection of a judgement.

    Parameters
    ----------
    origin : Origin
        The judgement and what it was made from.
    revision : int
        From 1.
    created : datetime.datetime
        When it was created.

    Returns
    -------
    pydicom.dataset.FileDataset, optional
        None where no slice is flagged.
    """
    judgement = origin.judgement
    flagged = [judgement.slices[index] for index in judgement.flagged_slices()]
    if not flagged:
        return None
    document = new_result(origin, SERIES, 1, revision=revision, created=created)
    document.ReferencedPerformedProcedureStepSequence = []
    document.CurrentRequestedProcedureEvidenceSequence = [
        references(
            origin,
            origin.series_instance_uid,
            {item.sop_instance_uid: str(origin.header(item).SOPClassUID) for item in flagged},
        )
    ]
    model = origin.model
    images = [
        # TID 2010 gives its objects no name
        image(None, str(origin.header(item).SOPClassUID), item.sop_instance_uid, item.frame_number)
        for item in flagged
    ]
    said = remark(
        codes.KEY_OBJECT_DESCRIPTION,
        f"{NOT_FOR_CLINICAL_USE.upper()}. {len(flagged)} of {len(judgement.slices)} slices "
        f"flagged by model {plain(model.name)} {plain(model.version)} ({model.digest[:12]}). "
        f"{conclusion(judgement)}",
    )
    fill(document, origin, codes.OF_INTEREST, "2010", [said, *images])
    return document
