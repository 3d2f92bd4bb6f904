"""What routes say of a series: `ichnode route`."""

from typing import Any

from rich.console import Console
from rich.markup import escape

from node.ledger import Revision
from node.routing import Routing
from node.settings import Kind, Settings
from node.show.common import plain_table


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
        where = "" if recipient is None else f" ({recipient.ae_title})"
        is_all = {*kinds, Kind.WORKITEM} == {*Kind}
        what = "everything" if is_all else ", ".join(kind for kind in Kind if kind in kinds)
        console.print(f"{name}{where} gets {what}", highlight=False, markup=False)
    if not found.wanted:
        console.print(found.unsent, highlight=False, markup=False, soft_wrap=True)
