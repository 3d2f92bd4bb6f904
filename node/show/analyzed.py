"""What `ichnode analyze` prints of files that no node has."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from node.judgement import Model
from node.offline import Outcome
from node.show.slices import probability_table, study, warnings


def outcomes(
    console: Console, model: Model, found: Sequence[Outcome], unreadable: Sequence[Path]
) -> None:
    """What `ichnode analyze` prints."""
    console.print(
        f"Model {model.name} {model.version}, digest {model.digest[:12]}. "
        f"{escape(model.intended_use)}",
        highlight=False,
    )
    for outcome in found:
        entry = outcome.as_json()
        name = escape(outcome.found.description or "no description")
        console.print(f"\n[bold]{name}[/bold]  {entry['series_instance_uid']}", highlight=False)
        if outcome.analysis is None:
            console.print(f"  {entry['state']}: {escape(outcome.reason or '')}", highlight=False)
        else:
            console.print(probability_table(entry["slices"]))
            study(console, entry["slices"])
        warnings(console, entry["warnings"])
        if outcome.objects:
            console.print(
                f"  {len(outcome.objects)} files in {outcome.objects[0].path.parent}",
                highlight=False,
            )
    if unreadable:
        console.print(f"\n{len(unreadable)} files are not DICOM images and were passed over")
