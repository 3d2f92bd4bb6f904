"""Notifications, by the rules that tell them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from node.ledger import Notification, NotificationState
from node.show.common import iso


def notification_json(notification: Notification) -> dict[str, Any]:
    """One notification in `ichnode status --json` and `ichnode show --json`."""
    return {
        "rule": notification.rule,
        "event": notification.event.state.value,
        "at": notification.event.at.isoformat(),
        "state": notification.state.value,
        "attempts": notification.attempts,
        "next_try_at": iso(notification.next_try_at),
        "detail": notification.detail,
    }


def notifications(console: Console, untaken: Sequence[Notification]) -> None:
    """Rules by which something waits to be told, or was given up."""
    counted = Counter((item.rule, item.state) for item in untaken)
    for (rule, state), count in counted.items():
        why = next(item.detail for item in reversed(untaken) if item.rule == rule) or "being told"
        is_given_up = state is NotificationState.FAILED
        style, what = ("red", "were given up") if is_given_up else ("yellow", "wait")
        cure = "; `ichnode retry --failed` tells them again" if is_given_up else ""
        console.print(
            f"[{style}]{count} notifications by {escape(rule)} {what}:[/{style}] "
            f"{escape(why)}{cure}",
            highlight=False,
            soft_wrap=True,
        )
