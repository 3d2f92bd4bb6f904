"""How often readers say what a model said: `ichnode feedback`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml.labels import SUBTYPES, Label
from node.feedback.figures import FEW, Figures, Proportion, as_json
from node.ledger import JudgingModel
from node.show.common import NOT_FOR_CLINICAL_USE

_COUNTED = ("TP", "FP", "TN", "FN")
_PROPORTIONS = {
    "sensitivity": "sens.",
    "specificity": "spec.",
    "ppv": "PPV",
    "npv": "NPV",
    "prevalence": "prev.",
}

ByModel = Sequence[tuple[JudgingModel, Mapping[Label, Figures]]]
"""Models, with their figures of each finding."""


def figures_json(found: ByModel, days: int | None) -> dict[str, Any]:
    """What `ichnode feedback --json` prints."""
    return {
        "days": days,
        "models": [
            {
                "model": asdict(model),
                "findings": {label.value: as_json(one) for label, one in by_label.items()},
            }
            for model, by_label in found
        ],
    }


def figures(
    console: Console,
    found: ByModel,
    days: int | None,
) -> None:
    """What `ichnode feedback` prints: a table for each model."""
    if not found:
        console.print("No series was judged yet by a model that was noted.")
    for model, by_label in found:
        point = model.operating_point or "none: nothing is flagged"
        console.print(
            f"[bold]{escape(model.name)} {escape(model.version)}[/bold] {model.digest[:12]}, "
            f"operating point {escape(point)}"
            f"{'' if days is None else f', judged in the last {days} days'}",
            highlight=False,
        )
        table = Table("finding", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in (*_COUNTED, *_PROPORTIONS.values()):
            table.add_column(name, justify="right")
        for label in (Label.ANY, *SUBTYPES):
            one = by_label[label]
            tally = one.tally
            table.add_row(
                label.value,
                *(
                    str(count)
                    for count in (
                        tally.true_positives,
                        tally.false_positives,
                        tally.true_negatives,
                        tally.false_negatives,
                    )
                ),
                *(_proportion(getattr(one, name)) for name in _PROPORTIONS),
            )
        console.print(table)
        console.print(
            f"In percent, with 95 % intervals; * of fewer than {FEW} series. PPV and NPV hold for "
            "the prevalence (prev.) among labelled series.",
            highlight=False,
        )
        whole = by_label[Label.ANY]
        console.print(
            f"any: labelled {_of(whole.flagged_read)} flagged and {_of(whole.unflagged_read)} "
            "other series. What nobody labelled is in no figure.",
            highlight=False,
        )
        if whole.is_one_sided:
            console.print(
                "[yellow]Flagged series and others are not labelled alike often: the sensitivity "
                "and specificity above are not those of all series.[/yellow]"
            )
            for name in ("sensitivity", "specificity"):
                adjusted = getattr(whole, f"adjusted_{name}")
                if adjusted is not None:
                    console.print(
                        f"If chance chose among each, {name} is {adjusted.value:.1%} "
                        f"({adjusted.low:.1%}-{adjusted.high:.1%}).",
                        highlight=False,
                    )
    console.print(f"[bold]{NOT_FOR_CLINICAL_USE}[/bold]")


def _of(proportion: Proportion) -> str:
    return f"{proportion.hits} of {proportion.of}"


def _proportion(proportion: Proportion) -> str:
    """In percent, with its interval below."""
    if proportion.value is None or proportion.interval is None:
        return "-"
    low, high = proportion.interval
    few = "*" if proportion.is_few else ""
    return f"{few}{proportion.value * 100:.0f}\n{low * 100:.0f}-{high * 100:.0f}"
