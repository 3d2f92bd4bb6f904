"""The disk, where `ichnode status` finds it too full, and what `ichnode purge` takes from it."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from node.clean import Freed
from node.disk import Disk, Fullness
from node.purge import Doomed
from node.settings import Settings
from node.show.common import plain_table


def disk_json(disk: Disk, settings: Settings) -> dict[str, Any]:
    """The disk of the spool in `ichnode status --json`."""
    return {
        "used": disk.used,
        "free": disk.free,
        "fullness": disk.fullness(settings).value,
    }


def disk(console: Console, found: Disk, settings: Settings) -> None:
    """The disk of the spool, where it is too full."""
    fullness = found.fullness(settings)
    if fullness is not Fullness.ROOM:
        style = "red" if fullness is Fullness.FULL else "yellow"
        console.print(
            f"[{style}]the disk of {escape(str(settings.home))}[/{style}]: {found.told(settings)}",
            highlight=False,
            soft_wrap=True,
        )


def megabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1024**2:.1f} MB"


def doomed_json(
    found: Sequence[Doomed], refusals: Sequence[str], freed: Freed | None
) -> dict[str, Any]:
    """What `ichnode purge --json` prints."""
    return {
        "found": [
            {
                "what": item.what,
                "study_instance_uid": None if item.ended is None else item.ended.study_instance_uid,
                "series_instance_uid": (
                    None if item.ended is None else item.ended.series_instance_uid
                ),
                "paths": [str(path) for path in item.paths],
                "files": item.size.files,
                "bytes": item.size.size,
            }
            for item in found
        ],
        "refused": list(refusals),
        "removed": None if freed is None else {"files": freed.files, "bytes": freed.size},
    }


def doomed(console: Console, found: Sequence[Doomed], refusals: Sequence[str]) -> None:
    """The table of `ichnode purge`."""
    for text in refusals:
        console.print(f"[red]stays:[/red] {escape(text)}", highlight=False, soft_wrap=True)
    if not found:
        console.print("There is nothing to remove.")
        return
    table = plain_table()
    table.add_column("what")
    for name in ("number", "files", "size"):
        table.add_column(name, justify="right")
    for what in dict.fromkeys(item.what for item in found):
        some = [item for item in found if item.what == what]
        size = sum((item.size for item in some), Freed())
        table.add_row(what, str(len(some)), str(size.files), megabytes(size.size))
    console.print(table)
