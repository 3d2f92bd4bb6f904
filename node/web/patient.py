"""What a header says of the patient, for pages that may show it."""

from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path

from pydicom.dataset import Dataset

from ml.file import read_up_to_pixels

_KEYWORDS = [
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "PatientAge",
    "PatientSex",
    "AccessionNumber",
    "SeriesDescription",
]

KEPT = 2000
_LONGEST = 64


@dataclass(frozen=True)
class Patient:
    """Whose series it is; what the header does not say is empty."""

    name: str = ""
    id: str = ""
    age: str = ""
    sex: str = ""
    accession_number: str = ""
    description: str = ""

    def is_called(self, text: str) -> bool:
        """Whether it is the one that somebody looks for, by ID or accession number."""
        return text in (self.id, self.accession_number)

    def __bool__(self) -> bool:
        return any(astuple(self))


def read_patient(path: Path) -> Patient:
    """Read what an image says of its patient; nothing if it cannot be read."""
    try:
        return _read(path)
    except Exception:  # a hostile dataset can raise anything from the parser
        return Patient()


@lru_cache(maxsize=KEPT)  # a file never changes under its name
def _read(path: Path) -> Patient:
    with path.open("rb") as file:
        header, _ = read_up_to_pixels(file, tags=_KEYWORDS)
    return Patient(
        _name(header),
        *(
            _text(header, keyword)
            for keyword in (
                "PatientID",
                "PatientAge",
                "PatientSex",
                "AccessionNumber",
                "SeriesDescription",
            )
        ),
    )


def _text(header: Dataset, keyword: str) -> str:
    try:
        value = str(header.get(keyword, "") or "").strip()
    except Exception:  # a hostile value can raise anything when it is decoded
        return ""
    return "".join(c if c.isprintable() else " " for c in value)[:_LONGEST]


def _name(header: Dataset) -> str:
    """Family name, given name, in the first form that there is; an ideographic one behind."""
    forms = []
    for form in _text(header, "PatientName").split("=")[:2]:
        family, _, rest = form.partition("^")
        given = " ".join(part for part in rest.split("^") if part)
        forms.append(", ".join(part for part in (family, given) if part))
    return " ".join(form for form in forms if form)
