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

    @property
    def words(self) -> str:
        """What a reader is shown."""
        return "Any hemorrhage" if self is Label.ANY else self.value.capitalize()


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


def percent(value: float) -> str:
    """A probability in percent, never rounded to certainty."""
    if 0 < value < 0.01:
        return "<1 %"
    if 0.99 < value < 1:
        return ">99 %"
    return f"{value:.0%}".replace("%", " %")
