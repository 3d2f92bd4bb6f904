"""Codes and templates of the objects that the node makes, read off them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.report import Kind, codes
from tests.conformance.attributes import NAMES, kinds_told
from tests.conformance.made import Made, items_within

_USES = {
    "ConceptNameCodeSequence": "concept name",
    "ConceptCodeSequence": "value",
    "MeasurementUnitsCodeSequence": "unit",
    "PurposeOfReferenceCodeSequence": "purpose of reference",
    "ScheduledWorkitemCodeSequence": "workitem",
}
"""How a code is used, by the sequence that it stands in."""


class Coded(NamedTuple):
    """A code as it is written."""

    scheme: str
    value: str
    meaning: str


def codes_of(made: Sequence[Made]) -> dict[Coded, tuple[set[str], set[Kind]]]:
    """Every code, with its uses and the objects that have it."""
    found: dict[Coded, tuple[set[str], set[Kind]]] = defaultdict(lambda: (set(), set()))
    for one in made:
        for item in items_within(one.dataset):
            for keyword, use in _USES.items():
                for code in item.get(keyword) or []:
                    uses, kinds = found[_coded(code)]
                    uses.add(use)
                    kinds.add(one.kind)
    return found


def _coded(item: Dataset) -> Coded:
    return Coded(item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning)


def codes_configured() -> set[Coded]:
    """Every code that the node may write, as its own list has them."""
    listed: list[Code] = []
    for value in vars(codes).values():
        listed += value.values() if isinstance(value, dict) else [value]
    return {
        Coded(code.scheme_designator, code.value, code.meaning)
        for code in listed
        if isinstance(code, Code)
    }


def code_table(made: Sequence[Made]) -> str:
    """The table of codes."""
    found = codes_of(made)
    lines = ["| scheme | code | meaning | used as | in |", "|---|---|---|---|---|"]
    for coded in sorted(found):
        uses, kinds = found[coded]
        lines.append(
            f"| {coded.scheme} | {coded.value} | {coded.meaning} | {', '.join(sorted(uses))} "
            f"| {kinds_told(kinds)} |"
        )
    return "\n".join(lines)


def templates_of(made: Sequence[Made]) -> dict[str, list[str]]:
    """The templates that content names, the root's first, by kind of object."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for one in made:
        for item in items_within(one.dataset):
            for template in item.get("ContentTemplateSequence") or []:
                found[NAMES[one.kind]][template.TemplateIdentifier] = None
    return {name: list(templates) for name, templates in found.items()}


def template_table(made: Sequence[Made]) -> str:
    """The table of templates and value types."""
    lines = ["| object | root | titled | within it | value types |", "|---|---|---|---|---|"]
    for name, templates in templates_of(made).items():
        datasets = [one.dataset for one in made if NAMES[one.kind] == name]
        titles = {code.meaning for d in datasets for code in map(_coded, d.ConceptNameCodeSequence)}
        types = sorted({value for d in datasets for value in _value_types(d)})
        root, *within = (f"TID {template}" for template in templates)
        lines.append(
            f"| {name} | {root} | {', '.join(sorted(titles))} | {', '.join(within) or '–'} "
            f"| {', '.join(types)} |"
        )
    return "\n".join(lines)


def _value_types(dataset: Dataset) -> Iterator[str]:
    return (item.ValueType for item in items_within(dataset) if "ValueType" in item)
