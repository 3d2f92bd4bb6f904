"""What every structured report is, whatever it says.

References
----------
DICOM PS3.3: C.17.1 (SR Document Series), C.17.2 (SR Document General); PS3.16:
TID 1001 to 1004 (observation context), TID 1204 (language).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import highdicom.sr as hd
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.valuerep import VR

from node.judgement import Model
from node.report import codes
from node.report.header import MANUFACTURER, Series, new_result, plain, printable
from node.report.identity import device_uid
from node.report.origin import Basis
from node.report.result import ResultReference
from node.report.sr import content

CONTENT = Tag("ContentSequence")


def new_document(
    basis: Basis,
    series: Series,
    *,
    revision: int,
    predecessor: ResultReference | None,
    created: datetime,
) -> FileDataset:
    """A structured report with everything but its content.

    Parameters
    ----------
    basis : Basis
        What it is about.
    series : Series
        The series that it belongs to.
    revision : int
        From 1.
    predecessor : ResultReference, optional
        The report that it replaces.
    created : datetime.datetime
        When it was created.
    """
    report = new_result(basis, series, 1, revision=revision, created=created)
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    report.CompletionFlag = "COMPLETE"
    report.VerificationFlag = "UNVERIFIED"
    report.PreliminaryFlag = "PRELIMINARY"  # no reader stands behind it
    report.CurrentRequestedProcedureEvidenceSequence = [
        references(
            basis,
            basis.series_instance_uid,
            {uid: str(header.SOPClassUID) for uid, header in basis.headers.items()},
        )
    ]
    # The same images may come once more: the report was made before, and none replaces itself.
    if predecessor is not None and predecessor.sop_instance_uid != report.SOPInstanceUID:
        report.PredecessorDocumentsSequence = [
            references(
                basis,
                predecessor.series_instance_uid,
                {predecessor.sop_instance_uid: predecessor.sop_class_uid},
            )
        ]
    return report


def references(basis: Basis, series_uid: str, sops: Mapping[str, str]) -> Dataset:
    """A reference to objects of one series of the study (PS3.3, C.17.2.1).

    Parameters
    ----------
    basis : Basis
        Whose study it is.
    series_uid : str
        The series.
    sops : mapping
        SOP Class UID by SOP Instance UID.
    """
    items = []
    for instance_uid, class_uid in sops.items():
        sop = Dataset()
        sop.ReferencedSOPClassUID = class_uid
        sop.ReferencedSOPInstanceUID = instance_uid
        items.append(sop)
    series = Dataset()
    series.ReferencedSOPSequence = items
    series.SeriesInstanceUID = series_uid
    study = Dataset()
    study.StudyInstanceUID = basis.study_instance_uid
    study.ReferencedSeriesSequence = [series]
    return study


def observer(model: Model | None) -> hd.ObservationContext:
    """The device that observed: the model, or the node where no model looked."""
    if model is None:
        device = hd.DeviceObserverIdentifyingAttributes(
            uid=device_uid(None), name=MANUFACTURER, manufacturer_name=MANUFACTURER
        )
    else:
        device = hd.DeviceObserverIdentifyingAttributes(
            uid=device_uid(model),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=f"{model.name} {plain(model.version)}",
            serial_number=model.digest,
        )
    return hd.ObservationContext(
        hd.ObserverContext(hd.CodedConcept.from_code(codes.DEVICE), device)
    )


def language() -> hd.LanguageOfContentItemAndDescendants:
    """English (TID 1204)."""
    return hd.LanguageOfContentItemAndDescendants(hd.CodedConcept.from_code(codes.ENGLISH))


def remark(name: Code, value: str) -> content.Item:
    """A text; lines and columns are kept, everything else becomes ASCII."""
    return content.text(name, printable(value))


def fill(
    report: Dataset, basis: Basis, title: Code, template: str, items: Sequence[content.Item]
) -> None:
    """Give a report its content tree.

    Parameters
    ----------
    report : pydicom.Dataset
        As `new_document` makes it.
    basis : Basis
        What it is about.
    title : pydicom.sr.coding.Code
        Its title, the concept name of the root.
    template : str
        The template (PS3.16) of the root.
    items : sequence of Item
        What comes after language and observer.
    """
    report.update(
        hd.ContainerContentItem(name=title, is_content_continuous=False, template_id=template)
    )
    context = content.encoded([*language(), *observer(basis.model)])
    tree = b"".join([*context, *items])
    report[CONTENT] = RawDataElement(CONTENT, VR.SQ, len(tree), tree, 0, False, True)
    # Then the tree is written as it is; else pydicom would decode it and encode it again.
    stated = report.get("SpecificCharacterSet")
    encodings = convert_encodings(stated) if "SpecificCharacterSet" in report else default_encoding
    report.set_original_encoding(False, True, encodings)
