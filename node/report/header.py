"""What every result shares: patient, study, equipment, dates and file meta information.

Patient and study are copied from the source attribute by attribute, in its own
character set, because a PACS that finds the smallest difference shows a second
patient. Everything written besides is ASCII, which every character set holds.
"""

import unicodedata
from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from importlib import metadata

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import VR

from node.judgement import Model
from node.report import codes
from node.report.identity import instance_uid, series_uid
from node.report.origin import Basis
from node.settings import Kind

MANUFACTURER = "ichnode"

NOT_FOR_CLINICAL_USE = "not for clinical use"

_TYPE_2 = (
    # Patient Module (PS3.3, C.7.1.1)
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    # General Study Module (C.7.2.1)
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
"""Present in every result, empty where the source has nothing."""

_PATIENT = """
    IssuerOfPatientID IssuerOfPatientIDQualifiersSequence TypeOfPatientID
    PatientBirthTime PatientBirthDateInAlternativeCalendar PatientAlternativeCalendar
    OtherPatientIDs OtherPatientIDsSequence OtherPatientNames EthnicGroup PatientComments
    QualityControlSubject ResponsiblePerson ResponsiblePersonRole ResponsibleOrganization
    PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
"""
_STUDY = """
    IssuerOfAccessionNumberSequence StudyDescription ProcedureCodeSequence
    ConsultingPhysicianName PhysiciansOfRecord NameOfPhysiciansReadingStudy
    ReferringPhysicianIdentificationSequence ReferencedStudySequence
"""
_PATIENT_STUDY = """
    PatientAge PatientSize PatientWeight PatientSexNeutered Occupation
    AdditionalPatientHistory AdmissionID IssuerOfAdmissionIDSequence
    AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence
    ServiceEpisodeID IssuerOfServiceEpisodeIDSequence ServiceEpisodeDescription
"""  # C.7.2.2
_CLINICAL_TRIAL = """
    ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName
    ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID
    ClinicalTrialSubjectReadingID ClinicalTrialTimePointID ClinicalTrialTimePointDescription
"""  # C.7.1.3, C.7.2.3
_OPTIONAL = tuple(
    keyword
    for module in (_PATIENT, _STUDY, _PATIENT_STUDY, _CLINICAL_TRIAL)
    for keyword in module.split()
)
"""Present in a result where the source has them."""

COPIED = ("SpecificCharacterSet", *_TYPE_2, *_OPTIONAL)
"""What every result has from its source, as it is there."""

_SERIES_NUMBERS = 100
"""Results of series n have the numbers from 100 n on."""

_UNNUMBERED = 9900
_LARGEST_IS = 2**31 - 1  # PS3.5, 6.2, VR IS


@dataclass(frozen=True)
class Series:
    """What tells a result series of a kind from others.

    Parameters
    ----------
    kind : Kind
        What its objects are.
    sop_class_uid : str
        Of its objects.
    modality : str
        Modality (0008,0060).
    offset : int
        Added to a hundred times the source's series number.
    description : str
        What a work list shows.
    variant : str
        Tells results of one kind and another form apart by their UIDs.
    """

    kind: Kind
    sop_class_uid: str
    modality: str
    offset: int
    description: str
    variant: str = ""


def new_result(
    basis: Basis, series: Series, number: int, *, revision: int, created: datetime
) -> FileDataset:
    """A result with everything but its content.

    Parameters
    ----------
    basis : Basis
        What it is about.
    series : Series
        The series that it belongs to.
    number : int
        Its Instance Number, from 1.
    revision : int
        Of the results, from 1.
    created : datetime.datetime
        When the results were created.
    """
    source = basis.template
    uid = instance_uid(basis, series.kind, number, series.variant)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(series.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result = FileDataset("", {}, preamble=bytes(128), file_meta=meta)

    _copy_patient_and_study(source, result)
    created = in_zone_of(source, result, created)
    date, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S")

    # SOP Common Module (PS3.3, C.12.1)
    result.SOPClassUID = series.sop_class_uid
    result.SOPInstanceUID = uid
    result.InstanceCreationDate, result.InstanceCreationTime = date, time
    result.ContributingEquipmentSequence = _contributing_equipment(source, basis.model, created)

    # General Series Module (C.7.3.1), SR Document Series Module (C.17.1)
    result.Modality = series.modality
    result.SeriesInstanceUID = series_uid(basis, series.kind, series.variant)
    result.SeriesNumber = _series_number(source) + series.offset
    result.SeriesDate, result.SeriesTime = date, time
    again = "" if revision == 1 else f" (revision {revision})"
    result.SeriesDescription = f"{series.description}{again}"

    # General Equipment Module (C.7.5.1)
    _fill_equipment(result, basis.model)

    result.InstanceNumber = number
    result.ContentDate, result.ContentTime = date, time
    return result


def code_item(code: Code) -> Dataset:
    """An item of a code sequence (PS3.3, 8.8)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def plain(text: str) -> str:
    """Text as ASCII on one line: fit for every character set, and no value separator."""
    return " ".join(_ascii(text.replace("\\", "/")).split())


def printable(text: str) -> str:
    """Text as ASCII with its lines and columns, for values of VR UT."""
    return "\r\n".join(_ascii(line).rstrip() for line in text.splitlines())


def _ascii(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    stripped = "".join(c for c in decomposed if not unicodedata.combining(c))
    encoded = stripped.encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in encoded)


@cache
def software_version() -> str:
    """Version of ichnode."""
    try:
        return metadata.version("ichnode")
    except metadata.PackageNotFoundError:
        return "unknown"


def readable(source: Dataset, keyword: str) -> DataElement | None:
    """A copy of an attribute, or None where it is absent or its value is none of its VR."""
    try:
        element = source[keyword]
        # Setting a value changes the element it stands in; only a sequence's is changed itself.
        return deepcopy(element) if element.VR == VR.SQ else copy(element)
    except KeyError:
        return None
    except Exception:  # parsers of values raise what they like
        return None


def copy_filled(source: Dataset, target: Dataset, *keywords: str) -> None:
    """Copy those attributes that have a value."""
    for keyword in keywords:
        element = readable(source, keyword)
        if element is not None and not element.is_empty:
            target.add(element)


# -- patient and study -----------------------------------------------------


def _copy_patient_and_study(source: Dataset, target: Dataset) -> None:
    target.StudyInstanceUID = source.StudyInstanceUID
    for keyword in COPIED:
        element = readable(source, keyword)
        if element is not None:
            target.add(element)
    for keyword in _TYPE_2:
        if keyword not in target:
            setattr(target, keyword, None)
    if target.get("PatientIdentityRemoved") == "YES" and not (
        target.get("DeidentificationMethod") or target.get("DeidentificationMethodCodeSequence")
    ):  # a source may leave out what C.7.1.1 then demands
        target.DeidentificationMethod = "not stated in the source"


def in_zone_of(source: Dataset, target: Dataset, created: datetime) -> datetime:
    """The time in the zone that every date of the source is in (PS3.3, C.12.1.1.7)."""
    offset = str(source.get("TimezoneOffsetFromUTC") or "")
    sign, digits = offset[:1], offset[1:]
    if sign not in {"+", "-"} or len(digits) != 4 or not digits.isdecimal():
        return created
    shift = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if shift >= timedelta(hours=24):
        return created
    target.TimezoneOffsetFromUTC = offset
    if created.tzinfo is None:
        return created
    return created.astimezone(timezone(-shift if sign == "-" else shift))


def _series_number(source: Dataset) -> int:
    try:
        number = int(source.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    first = number * _SERIES_NUMBERS
    return first if 0 < first < _LARGEST_IS - _SERIES_NUMBERS else _UNNUMBERED


# -- equipment -------------------------------------------------------------


def _fill_equipment(target: Dataset, model: Model | None) -> None:
    target.Manufacturer = MANUFACTURER
    target.ManufacturerModelName = MANUFACTURER if model is None else model.name
    if model is not None:
        target.DeviceSerialNumber = model.digest[:64]
    target.SoftwareVersions = _software_versions(model)


def _software_versions(model: Model | None) -> Sequence[str]:
    node = f"{MANUFACTURER} {plain(software_version())}"[:64]
    return [node] if model is None else [node, plain(model.version)]


def _contributing_equipment(
    source: Dataset, model: Model | None, created: datetime
) -> list[Dataset]:
    """Who had a hand in a result (PS3.3, C.12.1; IHE AI Results names the algorithm here)."""
    processing = Dataset()
    processing.PurposeOfReferenceCodeSequence = [code_item(codes.PROCESSING_EQUIPMENT)]
    _fill_equipment(processing, model)
    zone = created.strftime("%z")[:5]
    processing.ContributionDateTime = created.strftime("%Y%m%d%H%M%S") + zone
    processing.ContributionDescription = (
        f"Notice that a series was not analyzed ({NOT_FOR_CLINICAL_USE})"
        if model is None
        else f"Intracranial hemorrhage probabilities by model {model.name} {plain(model.version)} "
        f"({NOT_FOR_CLINICAL_USE})"
    )
    if not source.get("Manufacturer"):  # type 1 here
        return [processing]
    acquisition = Dataset()
    acquisition.PurposeOfReferenceCodeSequence = [code_item(codes.ACQUISITION_EQUIPMENT)]
    copy_filled(
        source,
        acquisition,
        "Manufacturer",
        "InstitutionName",
        "StationName",
        "ManufacturerModelName",
        "DeviceSerialNumber",
        "SoftwareVersions",
    )
    return [acquisition, processing]
