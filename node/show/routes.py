"""What routes say of a series: `ichnode route`."""

from collections.abc import Collection
from typing import Any

from rich.console import Console
from rich.markup import escape

from node.ledger import Revision
from node.routing import Routing
from node.settings import IN_FORMS, Destination, Kind, Settings, TransferSyntax
from node.show.common import plain_table

_PICTURES = {Kind.SECONDARY_CAPTURE, Kind.EVIDENCE_MAP}


def routing_json(routing: Routing, revision: Revision | None) -> dict[str, Any]:
    """What routes say of a series, one entry of `ichnode route --json`."""
    which = {}
    if revision is not None:
        which = {
            "series_instance_uid": revision.series_instance_uid,
            "revision": revision.number,
            "state": revision.state.value,
            "flagged": list(revision.flagged),
        }
    return {
        **which,
        "routes": [
            {"name": v.name, "fits": v.why_not is None, "why_not": v.why_not, "to": list(v.to)}
            for v in routing.verdicts
        ],
        "destinations": {
            name: [kind.value for kind in Kind if kind in kinds]
            for name, kinds in routing.wanted.items()
        },
        "no_address_of": list(routing.uncalled),
    }


def routing(
    console: Console, found: Routing, settings: Settings, revision: Revision | None = None
) -> None:
    """Which route fits a series and why not the others, and who gets what."""
    if revision is not None:
        judged = "not judged" if revision.maxima is None else "not flagged"
        flagged = f"flagged for {', '.join(revision.flagged)}" if revision.flagged else judged
        console.print(
            f"[bold]Series[/bold] {revision.series_instance_uid}, revision {revision.number}, "
            f"{revision.state}, {flagged}",
            highlight=False,
            soft_wrap=True,
        )
        if revision.images_removed_at is not None:
            console.print("its images were removed: what stood in their headers is not known")
    table = plain_table()
    for name in ("route", "fits", "to, or why not"):
        table.add_column(name, overflow="fold")
    for verdict in found.verdicts:
        fits = verdict.why_not is None
        said = verdict.why_not or ", ".join(verdict.to) or "nobody that can be called"
        table.add_row(verdict.name, "yes" if fits else "no", escape(said))
    if found.verdicts:
        console.print(table)
    for name, kinds in found.wanted.items():
        recipient = settings.destination(name)
        said = f"{name} gets {_gets(kinds)}"
        if recipient is not None:
            where = recipient.url or recipient.ae_title
            said = f"{name} ({where}) gets {_gets(kinds)}{_in_form(kinds, recipient)}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    if not found.wanted:
        console.print(found.unsent, highlight=False, markup=False, soft_wrap=True)


def _gets(kinds: Collection[Kind]) -> str:
    stored = [kind for kind in Kind if kind in kinds and kind is not Kind.WORKITEM]
    is_all = {*stored, Kind.WORKITEM} == {*Kind}
    found = ["everything" if is_all else ", ".join(stored)] if stored else []
    return " and ".join([*found, *(["a workitem"] if Kind.WORKITEM in kinds else [])])


def _in_form(kinds: Collection[Kind], recipient: Destination) -> str:
    """In which form, where that is not the usual one."""
    forms = []
    reports = ", ".join(kind for kind in IN_FORMS if kind in kinds)
    if recipient.structured_report is not None and reports:
        forms.append(f"{reports} as {recipient.structured_report}")
    syntax = recipient.transfer_syntax
    if syntax.is_of_pictures and _PICTURES & set(kinds):
        forms.append(f"pictures in {syntax}")
    elif syntax in (TransferSyntax.EXPLICIT, TransferSyntax.IMPLICIT):
        forms.append(f"in {syntax} VR")
    return "".join(f"; {form}" for form in forms)
