"""What a reader says of the findings: in which words it comes, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ml.errors import IchnodeError
from ml.labels import SUBTYPES, Label
from node.ledger import Findings

LONGEST_READER = 64
LONGEST_REMARK = 500

WORDS = {
    **dict.fromkeys(("1", "yes", "y", "true", "present", "positive"), True),
    **dict.fromkeys(("0", "no", "n", "false", "absent", "negative"), False),
    **dict.fromkeys(("", "unknown", "unsure", "undetermined", "na", "n/a"), None),
}
"""What stands for present, for absent, and for what a reader cannot tell, in any case."""


class ReadingError(IchnodeError):
    """What a reader says cannot be taken; it quotes nothing of a patient."""


@dataclass(frozen=True)
class Subject:
    """What a reading is about, as far as it says: empty is not said.

    Parameters
    ----------
    study_instance_uid, series_instance_uid, accession_number : str
    order_number : str
        What may be the accession number where no study has the other one.
    """

    study_instance_uid: str = ""
    series_instance_uid: str = ""
    accession_number: str = ""
    order_number: str = ""


def answer(text: str) -> bool | None:
    """Whether a word says present or absent; None where a reader cannot tell.

    Raises
    ------
    ReadingError
        If it is none of them.
    """
    try:
        return WORDS[text.strip().lower()]
    except KeyError:
        raise ReadingError(
            f"{shown(text)} is none of present, absent, unknown (1, 0, yes, no)"
        ) from None


def as_findings(said: Mapping[Label, bool | None]) -> Findings:
    """What follows from what is said: no hemorrhage is none of any kind, one kind is one.

    Raises
    ------
    ReadingError
        If it contradicts itself.
    """
    present = [label for label in SUBTYPES if said.get(label)]
    whole = said.get(Label.ANY)
    if present and whole is False:
        raise ReadingError(f"any is absent, and {present[0]} is present: one of them is wrong")
    if whole and all(said.get(label) is False for label in SUBTYPES):
        raise ReadingError("any is present, and every kind of it is absent: one of them is wrong")
    findings = {label: is_so for label, is_so in said.items() if is_so is not None}
    if present:
        findings[Label.ANY] = True
    elif whole is False:
        findings |= dict.fromkeys(SUBTYPES, False)
    return findings


def as_reader(text: str) -> str:
    """Who says so, as it is kept: printable, and not too long."""
    return plain(text)[:LONGEST_READER]


def as_remark(text: str) -> str | None:
    """A remark as it is kept; None where there is none."""
    return plain(text)[:LONGEST_REMARK] or None


def plain(text: str) -> str:
    """Text on one line."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def shown(text: str) -> str:
    """A value as it stands in a message about it: short."""
    text = plain(text)
    return repr(text if len(text) <= 24 else f"{text[:20]}...")


def not_later(said_at: datetime, now: datetime) -> datetime:
    """A time that is not in the future; one without a zone is of this machine's.

    Raises
    ------
    ReadingError
        If it is.
    """
    try:
        found = said_at.astimezone(UTC)
    except (OverflowError, ValueError):
        raise ReadingError("the time is none of a clock") from None
    if found > now:
        raise ReadingError("the time lies in the future: is its zone missing or wrong?")
    if found.year < 1970:
        raise ReadingError("the time lies before 1970")
    return found
