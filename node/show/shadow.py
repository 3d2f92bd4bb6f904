"""What a second model says of a series, plainly apart from what was sent."""

from typing import Any

from rich.console import Console
from rich.markup import escape

from ml.labels import SUBTYPES, Label
from node.ledger import Shadow
from node.show.common import plain_table


def shadow_json(shadow: Shadow | None) -> dict[str, Any] | None:
    """What a second model says of a revision, in `ichnode show --json`; it is never sent."""
    if shadow is None:
        return None
    judge = shadow.judge
    return {
        "state": shadow.state.value,
        "detail": shadow.detail,
        "updated_at": shadow.updated_at.isoformat(),
        "model": None
        if judge is None
        else {"name": judge.name, "version": judge.version, "digest": judge.digest},
        "operating_point": None if judge is None else judge.operating_point or None,
        "probabilities": shadow.maxima,
        "flagged": list(shadow.flagged),
        "compared_with": {
            "digest": shadow.primary.digest,
            "probabilities": shadow.primary_maxima,
            "flagged": list(shadow.primary_flagged),
        },
    }


def shadow(console: Console, found: dict[str, Any]) -> None:
    """What the second model said beside the first one, plainly apart from what was sent."""
    if found["model"] is None:
        why = f": {escape(found['detail'])}" if found["detail"] else ""
        console.print(f"  shadow, never sent: {found['state']}{why}", highlight=False)
        return
    name = f"{found['model']['name']} {found['model']['version']}"
    table = plain_table()
    table.add_column("highest")
    table.add_column("reported", justify="right")
    table.add_column("shadow, never sent", justify="right")
    for label in (Label.ANY, *SUBTYPES):
        cells = [
            f"{said['probabilities'][label.value]:.3f}"
            f"{' flagged' if label.value in said['flagged'] else ''}"
            for said in (found["compared_with"], found)
        ]
        table.add_row(label.abbreviation, *cells)
    console.print(f"  judged in the shadow by {escape(name)}", highlight=False)
    console.print(table)
