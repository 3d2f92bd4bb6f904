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


LABELS: tuple[Label, ...] = tuple(Label)
SUBTYPES: tuple[Label, ...] = tuple(label for label in Label if label is not Label.ANY)
