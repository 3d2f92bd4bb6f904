"""What is read of an instance before it is kept: its UIDs, as far as they can be trusted.

And for the audit trail alone, whose study it is.
"""

from dataclasses import dataclass
from io import BytesIO

from ml.errors import first_line
from ml.file import read_up_to_pixels
from node.audit import STUDY_KEYWORDS, Study
from node.dicom import Status
from node.errors import RefusedInstance
from node.spool import is_uid

_TAGS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


@dataclass(frozen=True)
class Identity:
    """What an instance is, and of which series.

    Parameters
    ----------
    sop_class, study, series, instance : str
        UIDs.
    audited : Study
        The study as the audit trail names it.
    """

    sop_class: str
    study: str
    series: str
    instance: str
    audited: Study


def read_identity(content: bytes) -> Identity:
    """Read the UIDs of an instance.

    Parameters
    ----------
    content : bytes
        A DICOM file.

    Raises
    ------
    RefusedInstance
        If it cannot be read, or a UID is missing or invalid.
    """
    try:
        header, _ = read_up_to_pixels(BytesIO(content), tags=_TAGS + STUDY_KEYWORDS)
        found = {keyword: str(header.get(keyword, "") or "") for keyword in _TAGS}
    except Exception as error:  # a hostile dataset can raise anything from the parser
        raise RefusedInstance(
            f"the dataset cannot be read: {first_line(error)}", Status.CANNOT_UNDERSTAND
        ) from error
    for keyword, value in found.items():
        if not is_uid(value):
            what = "is missing" if not value else f"is not a UID: {value[:80]!r}"
            raise RefusedInstance(f"{keyword} {what}", Status.CANNOT_UNDERSTAND)
    return Identity(
        sop_class=found["SOPClassUID"],
        study=found["StudyInstanceUID"],
        series=found["SeriesInstanceUID"],
        instance=found["SOPInstanceUID"],
        audited=Study.of(header),
    )


def check_command(identity: Identity, sop_class: str, instance: str, context: str) -> None:
    """Check that a dataset is the one that its C-STORE command speaks of.

    Parameters
    ----------
    identity : Identity
    sop_class, instance : str
        As the command says.
    context : str
        Abstract syntax of its presentation context.

    Raises
    ------
    RefusedInstance
        If it is another one, or came where its SOP class was not negotiated.
    """
    if identity.sop_class != context:
        raise RefusedInstance(
            f"SOPClassUID is {identity.sop_class} in a presentation context for {context}",
            Status.DOES_NOT_MATCH_SOP_CLASS,
        )
    for keyword, found, commanded in (
        ("SOPClassUID", identity.sop_class, sop_class),
        ("SOPInstanceUID", identity.instance, instance),
    ):
        if found != commanded:
            raise RefusedInstance(
                f"{keyword} is {found} in the dataset and {commanded[:80]!r} in the command",
                Status.DOES_NOT_MATCH_SOP_CLASS,
            )
