"""What the doctor finds: `ichnode check`."""

from rich.console import Console
from rich.markup import escape

from node.check import Finding, Health

_HEALTH_MARK = {
    Health.GOOD: ("✓", "green"),
    Health.NOTE: ("•", "yellow"),
    Health.BAD: ("✗", "red"),
}


def finding(console: Console, found: Finding) -> None:
    """One line of `ichnode check`."""
    mark, style = _HEALTH_MARK[found.health]
    console.print(
        f"[{style}]{mark}[/{style}] {escape(found.subject)}: {escape(found.text)}",
        highlight=False,
        soft_wrap=True,
    )
    if found.cure and found.health is not Health.GOOD:
        console.print(f"    → {escape(found.cure)}", highlight=False, soft_wrap=True)
