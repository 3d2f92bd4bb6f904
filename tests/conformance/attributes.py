"""The attributes of the objects that the node makes, and where their values come from.

Presence and source are told in the words of PS3.2. Which objects have an attribute, and
whether always, is read off the objects; where its value comes from stands here. An
attribute that is in an object and not here is an error.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from node.report import Kind
from node.report.header import COPIED
from tests.conformance.made import Made

NAMES = {
    Kind.STRUCTURED_REPORT: "findings",
    Kind.SLICE_REPORT: "slices",
    Kind.TEXT_REPORT: "report",
    Kind.SECONDARY_CAPTURE: "captures",
    Kind.EVIDENCE_MAP: "maps",
    Kind.KEY_OBJECTS: "key objects",
    Kind.PRESENTATION_STATE: "presentation state",
    Kind.NOTICE: "notice",
}


class Source(StrEnum):
    """Where a value comes from (PS3.2)."""

    AUTO = "AUTO"
    CONFIG = "CONFIG"
    COPY = "COPY"
    FIXED = "FIXED"


@dataclass(frozen=True)
class Module:
    """Attributes that are told of together.

    Parameters
    ----------
    title : str
        The module, and its section in PS3.3.
    attributes : dict
        By keyword: source, and what the value is; ``{}`` stands for the values that
        objects were seen to have.
    """

    title: str
    attributes: dict[str, tuple[Source, str]]


AUTO, CONFIG, COPY, FIXED = Source.AUTO, Source.CONFIG, Source.COPY, Source.FIXED

MODULES = (
    Module(
        "SOP Common (C.12.1)",
        {
            "SOPClassUID": (CONFIG, "by the form that `[report]` asks for"),
            "SOPInstanceUID": (AUTO, "2.25 and a UUIDv5, see 8.1.4"),
            "InstanceCreationDate": (AUTO, "when the last instance of the series was received"),
            "InstanceCreationTime": (AUTO, "the same"),
            "TimezoneOffsetFromUTC": (COPY, "where the source has a valid one; dates follow it"),
            "ContributingEquipmentSequence": (
                AUTO,
                "the scanner as the source names it (Acquisition Equipment), where it names a "
                "Manufacturer; the model, or the node in a notice (Processing Equipment)",
            ),
        },
    ),
    Module(
        "General Series (C.7.3.1), SR Document Series (C.17.1), Key Object Document Series "
        "(C.17.6.1), Presentation Series (C.11.9)",
        {
            "Modality": (FIXED, "by the object, see 8.1.1"),
            "SeriesInstanceUID": (AUTO, "2.25 and a UUIDv5; a series for each kind of object"),
            "SeriesNumber": (
                AUTO,
                "100 times the source's and that of the object, see 8.1.1; 9900 and that where the "
                "source has none",
            ),
            "SeriesDate": (AUTO, "as Instance Creation Date"),
            "SeriesTime": (AUTO, "as Instance Creation Time"),
            "SeriesDescription": (
                FIXED,
                "by the object, see 8.1.1; behind it `(revision n)` from the second on",
            ),
            "BodyPartExamined": (COPY, "of the source; HEAD where it has none"),
            "ReferencedPerformedProcedureStepSequence": (FIXED, "no items"),
        },
    ),
    Module(
        "General Equipment (C.7.5.1)",
        {
            "Manufacturer": (FIXED, "{}"),
            "ManufacturerModelName": (CONFIG, "name of the model; `ichnode` in a notice"),
            "DeviceSerialNumber": (CONFIG, "SHA-256 of the model"),
            "SoftwareVersions": (AUTO, "version of ichnode; version of the model"),
        },
    ),
    Module(
        "Number and date, in General Image (C.7.6.1), SR Document General (C.17.2), Key Object "
        "Document (C.17.6.2) and Presentation State Identification (C.11.10)",
        {
            "InstanceNumber": (
                AUTO,
                "captures and maps: that of the slice in the source, where these go one way "
                "along the stack, else from 1 at the foot; summary 0; others from 1",
            ),
            "ContentDate": (AUTO, "as Instance Creation Date"),
            "ContentTime": (AUTO, "as Instance Creation Time"),
        },
    ),
    Module(
        "SR Document General (C.17.2), Key Object Document (C.17.6.2)",
        {
            "CompletionFlag": (FIXED, "{}"),
            "VerificationFlag": (FIXED, "{}"),
            "PreliminaryFlag": (FIXED, "{}"),
            "PerformedProcedureCodeSequence": (FIXED, "no items"),
            "CurrentRequestedProcedureEvidenceSequence": (
                AUTO,
                "every image of the series; key objects: the flagged ones",
            ),
            "PredecessorDocumentsSequence": (
                AUTO,
                "the report, or the notice, of the revision before",
            ),
        },
    ),
    Module(
        "SR Document Content (C.17.3)",
        {
            "ValueType": (FIXED, "{}"),
            "ConceptNameCodeSequence": (FIXED, "the title, see 8.3"),
            "ContinuityOfContent": (FIXED, "{}"),
            "ContentTemplateSequence": (FIXED, "DCMR, and the template of 8.3"),
            "ContentSequence": (AUTO, "see 8.1.3"),
        },
    ),
    Module(
        "General Image (C.7.6.1), General Reference (C.12.4)",
        {
            "ImageType": (FIXED, "{}"),
            "PatientOrientation": (
                AUTO,
                "from the source's Image Orientation (Patient); summary and multi-frame: no value",
            ),
            "BurnedInAnnotation": (FIXED, "{}: there is text, none of it of the patient"),
            "LossyImageCompression": (COPY, "of the slice shown"),
            "LossyImageCompressionRatio": (COPY, "the same"),
            "LossyImageCompressionMethod": (COPY, "the same"),
            "DerivationDescription": (AUTO, "how the picture was made, and by which model"),
            "SourceImageSequence": (AUTO, "the images shown, with frame numbers"),
        },
    ),
    Module(
        "Image Pixel (C.7.6.3)",
        {
            "SamplesPerPixel": (FIXED, "{}"),
            "PhotometricInterpretation": (CONFIG, "{}: the latter with JPEG 2000"),
            "PlanarConfiguration": (FIXED, "{}"),
            "Rows": (AUTO, "size of the picture"),
            "Columns": (AUTO, "size of the picture"),
            "BitsAllocated": (FIXED, "{}"),
            "BitsStored": (FIXED, "{}"),
            "HighBit": (FIXED, "{}"),
            "PixelRepresentation": (FIXED, "{}"),
            "PixelData": (AUTO, "the picture"),
        },
    ),
    Module(
        "Multi-frame (C.7.6.6), SC Multi-frame Vector (C.8.6.4)",
        {
            "NumberOfFrames": (AUTO, "the summary, and each slice"),
            "FrameIncrementPointer": (FIXED, "{}"),
            "PageNumberVector": (AUTO, "0 for the summary, then the Instance Numbers of slices"),
        },
    ),
    Module(
        "SC Equipment (C.8.6.1), SC Image (C.8.6.2)",
        {
            "ConversionType": (FIXED, "{}"),
            "SecondaryCaptureDeviceManufacturer": (FIXED, "{}"),
            "SecondaryCaptureDeviceManufacturerModelName": (CONFIG, "name of the model"),
            "SecondaryCaptureDeviceSoftwareVersions": (AUTO, "as Software Versions"),
            "DateOfSecondaryCapture": (AUTO, "as Content Date"),
            "TimeOfSecondaryCapture": (AUTO, "as Content Time"),
        },
    ),
    Module(
        "Presentation State Identification (C.11.10), Presentation State Relationship (C.11.11)",
        {
            "PresentationCreationDate": (AUTO, "as Instance Creation Date"),
            "PresentationCreationTime": (AUTO, "as Instance Creation Time"),
            "ContentLabel": (FIXED, "{}"),
            "ContentDescription": (FIXED, "{}"),
            "ContentCreatorName": (FIXED, "no value"),
            "ReferencedSeriesSequence": (AUTO, "the flagged images"),
        },
    ),
    Module(
        "Displayed Area (C.10.4), Graphic Annotation (C.10.5), Graphic Layer (C.10.7)",
        {
            "DisplayedAreaSelectionSequence": (AUTO, "the whole image, SCALE TO FIT"),
            "GraphicAnnotationSequence": (
                AUTO,
                "for each flagged image a line of text at the foot of the display: what it is "
                "flagged for",
            ),
            "GraphicLayerSequence": (FIXED, "one layer, ICHNODE"),
        },
    ),
    Module(
        "Modality LUT (C.11.1), Softcopy VOI LUT (C.11.8), Softcopy Presentation LUT (C.11.6)",
        {
            "RescaleSlope": (COPY, "of the flagged images"),
            "RescaleIntercept": (COPY, "the same"),
            "RescaleType": (FIXED, "{}"),
            "SoftcopyVOILUTSequence": (FIXED, "the brain window: center 40, width 80"),
            "PresentationLUTShape": (FIXED, "{}"),
        },
    ),
)


def own_keywords() -> set[str]:
    """Attributes whose values are told of by module."""
    return {keyword for module in MODULES for keyword in module.attributes}


def unknown(made: Sequence[Made]) -> set[str]:
    """Attributes of objects of which the page says nothing."""
    told = own_keywords() | {*COPIED, "StudyInstanceUID"}
    return {element.keyword for one in made for element in one.dataset} - told


def created_table(made: Sequence[Made]) -> str:
    """What tells the series of objects apart."""
    lines = ["| object | SOP class | Modality | Series Number | Series Description |"]
    lines.append("|---|---|---|---|---|")
    for kind, name in NAMES.items():
        datasets = [one.dataset for one in made if one.kind is kind]
        classes = dict.fromkeys(d.SOPClassUID.name for d in datasets)
        (offset,) = {d.SeriesNumber % 100 for d in datasets}
        lines.append(
            f"| {name} | {', '.join(classes)} | {_seen('Modality', datasets)} | {offset} "
            f"| {_seen('SeriesDescription', datasets)} |"
        )
    return "\n".join(lines)


def copied_table(made: Sequence[Made]) -> str:
    """The attributes that each result has from its source."""
    lines = ["| attribute | tag | VR | presence |", "|---|---|---|---|"]
    for keyword in ("StudyInstanceUID", *COPIED):
        has = [keyword in one.dataset for one in made]
        presence = (
            "ALWAYS" if keyword == "StudyInstanceUID" else "VNAP" if has and all(has) else "ANAP"
        )
        lines.append(f"| {_attribute(keyword)} | {presence} |")
    return "\n".join(lines)


def own_tables(made: Sequence[Made]) -> str:
    """A table for each module."""
    return "\n\n".join(
        "\n".join([f"**{module.title}**", "", *_module_table(module, made)]) for module in MODULES
    )


def _module_table(module: Module, made: Sequence[Made]) -> Iterator[str]:
    yield "| attribute | tag | VR | in | presence | source | value |"
    yield "|---|---|---|---|---|---|---|"
    for keyword, (source, value) in module.attributes.items():
        having = {one.kind for one in made if keyword in one.dataset}
        of_kinds = [one.dataset for one in made if one.kind in having]
        text = value.replace("{}", _seen(keyword, of_kinds))
        yield (
            f"| {_attribute(keyword)} | {kinds_told(having)} | {_presence(keyword, of_kinds)} "
            f"| {source} | {text} |"
        )


def _attribute(keyword: str) -> str:
    tag = Tag(tag_for_keyword(keyword) or 0)
    assert keyword_for_tag(tag) == keyword
    return f"{keyword} | ({tag.group:04X},{tag.element:04X}) | {dictionary_VR(tag)}"


def _presence(keyword: str, datasets: Sequence[Dataset]) -> str:
    """How far an attribute is there, in the words of PS3.2."""
    filled = [keyword in d and not d[keyword].is_empty for d in datasets]
    if all(filled):
        return "ALWAYS"
    if not all(keyword in d for d in datasets):
        return "ANAP"
    return "VNAP" if any(filled) else "EMPTY"


def kinds_told(kinds: set[Kind]) -> str:
    if kinds == set(NAMES):
        return "all"
    told = {**NAMES, Kind.WORKITEM: "workitem"}  # which has attributes of its own: a table apart
    return ", ".join(name for kind, name in told.items() if kind in kinds)


def _seen(keyword: str, datasets: Sequence[Dataset]) -> str:
    """The values that an attribute was seen to have."""
    values = dict.fromkeys(_text(dataset, keyword) for dataset in datasets if keyword in dataset)
    return " or ".join(f"`{value}`" for value in values)


def _text(dataset: Dataset, keyword: str) -> str:
    element = dataset[keyword]
    if element.VR == "AT":
        return keyword_for_tag(element.value)
    value = element.value
    text = str(value) if element.VM <= 1 else "\\".join(str(one) for one in value)
    return text.partition(" (revision ")[0]
