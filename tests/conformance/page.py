"""The parts of docs/conformance.md that are made, each between marks of its name."""

from collections.abc import Sequence
from pathlib import Path

from tests.conformance import attributes, content, network, web
from tests.conformance.made import Made, everything
from tests.page import write_between

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


def marks(name: str) -> tuple[str, str]:
    """Where a part begins and ends."""
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def parts(made: Sequence[Made], home: Path) -> dict[str, str]:
    """Every part by its name.

    Parameters
    ----------
    made : sequence of Made
        Every object that the node makes.
    home : pathlib.Path
        For a receiver.
    """
    supported = network.supported_contexts(home)
    workitem = network.made_workitem(home)
    if unknown := attributes.unknown(made):
        raise LookupError(f"no word on {', '.join(sorted(unknown))}: see tests/conformance")
    return {
        "services": network.service_table(supported, made),
        "accepted": network.accepted_table(supported),
        "proposed": network.proposed_table(made),
        "wanted": network.wanted_table(),
        "workitem": network.workitem_table(workitem),
        "creation": network.created_table(),
        "cancellation": network.canceled_table(),
        "identity": network.identity_table(),
        "associations": network.association_table(),
        "rejections": network.rejection_table(),
        "stored": network.status_table(network.STORED),
        "asked": network.status_table(network.ASKED),
        "reported": network.status_table(network.REPORTED),
        "sources": network.asked_table(),
        "keys": network.key_table(),
        "failed": network.status_table(network.FAILED),
        "web": web.service_table(),
        "answers": web.answer_table(),
        "reasons": web.reason_table(),
        "parameters": network.parameter_table(),
        "suites": network.suite_table(),
        "created": attributes.created_table(made),
        "copied": attributes.copied_table(made),
        "attributes": attributes.own_tables(made),
        "templates": content.template_table(made),
        "codes": content.code_table([*made, workitem]),
    }


def shown(name: str) -> str:
    """A part as the page has it."""
    begin, end = marks(name)
    return PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()


def write(folder: Path) -> None:
    """Write every part into the page."""
    made = everything(folder / "made")
    for name, text in parts(made, folder / "home").items():
        write_between(PAGE, *marks(name), text)
