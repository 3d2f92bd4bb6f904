"""What is known of a series before it is judged, for rules that go by it: pure functions."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydicom.dataset import Dataset

from node.headers import text
from node.settings import Condition

DESCRIPTIONS = ("SeriesDescription", "StudyDescription", "ProtocolName")

PLACES = (
    "RequestingService",
    "CurrentPatientLocation",
    "InstitutionalDepartmentName",
    "StationName",
)
"""Where a patient or a scanner is, and who asks (PS3.3, C.4.16, C.3.2, C.7.5.1, C.7.3.1)."""


@dataclass(frozen=True)
class SeriesFacts:
    """What rules go by.

    Parameters
    ----------
    senders : tuple of str
        AE titles of whoever brought images of it.
    descriptions, places : tuple of str
        What `DESCRIPTIONS` and `PLACES` say in its headers.
    """

    senders: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    places: tuple[str, ...] = ()

    @classmethod
    def of(cls, senders: Iterable[str], headers: Sequence[Dataset]) -> "SeriesFacts":
        """The facts of a series.

        Parameters
        ----------
        senders : iterable of str
            Of each instance, as the ledger has it.
        headers : sequence of pydicom.Dataset
        """
        return cls(
            tuple(dict.fromkeys(senders)), _said(headers, DESCRIPTIONS), _said(headers, PLACES)
        )

    def meet(self, condition: Condition) -> bool:
        """Whether all that a condition asks for holds."""
        return (
            _any_like(condition.senders, self.senders)
            and _any_found(condition.descriptions, self.descriptions)
            and _any_found(condition.places, self.places)
        )


def _said(headers: Sequence[Dataset], keywords: Sequence[str]) -> tuple[str, ...]:
    values = (text(header, keyword) for keyword in keywords for header in headers)
    return tuple(dict.fromkeys(value for value in values if value))


def _any_like(patterns: Sequence[str], values: Sequence[str]) -> bool:
    """Whether a value is like one of the patterns; where there are none, each is."""
    return not patterns or any(fnmatchcase(v, p) for v in values for p in patterns)


def _any_found(words: Sequence[str], values: Sequence[str]) -> bool:
    """Whether one of the regular expressions is found; where there are none, each is."""
    return not words or any(re.search(w, v, re.IGNORECASE) for v in values for w in words)
