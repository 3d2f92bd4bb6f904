"""The findings that the model judges, in the one order used everywhere."""

from enum import StrEnum


class Label(StrEnum):
    """A finding on a slice, named and ordered as in the RSNA 2019 label files."""

    EPIDURAL = "epidural"
    INTRAPARENCHYMAL = "intraparenchymal"
    INTRAVENTRICULAR = "intraventricular"
    SUBARACHNOID = "subarachnoid"
    SUBDURAL = "subdural"
    ANY = "any"

    @property
    def abbreviation(self) -> str:
        """What radiologists write, where there is little room."""
        return _ABBREVIATIONS[self]


_ABBREVIATIONS = {
    Label.EPIDURAL: "EDH",
    Label.INTRAPARENCHYMAL: "IPH",
    Label.INTRAVENTRICULAR: "IVH",
    Label.SUBARACHNOID: "SAH",
    Label.SUBDURAL: "SDH",
    Label.ANY: "any",
}


LABELS: tuple[Label, ...] = tuple(Label)
SUBTYPES: tuple[Label, ...] = tuple(label for label in Label if label is not Label.ANY)
