"""Invented days in a ledger: series as they come to a node for months, judged by two models."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from ml.identity import identify
from ml.labels import LABELS, SUBTYPES, Label
from node.drift import agreed_on
from node.drift.measure import said_of
from node.drift.traits import INPUTS
from node.ledger import DAY_S, NOBODY, JudgingModel, Ledger, ShadowState, State, TraitCount, schema

FIRST = JudgingModel("first", "1.0", "a" * 64, "balanced")
SECOND = JudgingModel("second", "2.0", "b" * 64, "balanced")


def judge(bundle: str | Path, point: str = "balanced") -> JudgingModel:
    """Who judges by a bundle."""
    found = identify(bundle)
    return JudgingModel(found.name, found.version, found.digest, point)


@dataclass(frozen=True)
class Site:
    """What series are like at a site; numbers are means.

    Parameters
    ----------
    thickness_mm, soft_hu, kvp : float
    scanner : str
    bleeds : float
        Part of the series that show one.
    """

    thickness_mm: float = 5.0
    soft_hu: float = 32.0
    kvp: float = 120.0
    scanner: str = "Scanner Works Ring 1"
    bleeds: float = 0.12

    def series(self, rng: np.random.Generator) -> tuple[TraitCount, ...]:
        """The traits of one."""
        thickness = rng.choice([self.thickness_mm, self.thickness_mm / 2], p=[0.8, 0.2])
        values = (
            int(rng.normal(160, 8) / thickness),
            thickness,
            thickness,
            rng.normal(0.45, 0.03),
            rng.normal(self.soft_hu, 2),
            rng.normal(14, 1),
            rng.normal(0.2, 0.02),
            f"{self.kvp if rng.random() < 0.9 else 100:g}",
            rng.choice(["H31s", "J40s", "STANDARD"], p=[0.7, 0.2, 0.1]),
            self.scanner if rng.random() < 0.75 else "Other Maker One",
        )
        pairs = zip(INPUTS, values, strict=True)
        return tuple(trait.count(str(v) if isinstance(v, str) else float(v)) for trait, v in pairs)


def maxima(rng: np.random.Generator, bleeds: bool) -> dict[str, float]:
    """What a model says of a series: of one that bleeds, of which kind."""
    said = dict(zip(LABELS, rng.beta(1, 20, len(LABELS)), strict=True))
    if bleeds:
        kind = SUBTYPES[rng.integers(len(SUBTYPES))]
        said[Label.ANY], said[kind] = rng.beta(8, 1.5, 2)
    return {label.value: round(float(p), 6) for label, p in said.items()}


def disturbed(said: dict[str, float], rng: np.random.Generator, by: float) -> dict[str, float]:
    """What another model says of the same series: its logits lie apart."""
    odds = {label: p / (1 - p) * np.exp(rng.normal(0, by)) for label, p in said.items()}
    return {label: round(float(o / (1 + o)), 6) for label, o in odds.items()}


def flagged(said: dict[str, float]) -> list[str]:
    """What both call present."""
    return [label for label, p in said.items() if p >= 0.5]


def fill(
    ledger: Ledger,
    days: Sequence[int],
    each: int,
    site: Site | Callable[[int], Site],
    seed: int = 1,
    judges: tuple[JudgingModel, JudgingModel] = (FIRST, SECOND),
    apart: float = 0.3,
) -> None:
    """Count series of some days, and let both models judge them.

    Parameters
    ----------
    ledger : Ledger
    days : sequence of int
        Since 1970.
    each : int
        Series on each of them.
    site : Site or callable
        What they are like, on a day.
    seed : int
    judges : tuple of JudgingModel
        Who reports, and who judges in the shadow.
    apart : float
        Standard deviation of how far their logits differ.
    """
    rng = np.random.default_rng(seed)
    first, second = judges
    first_id, second_id = ledger.model_id(first), ledger.model_id(second)
    counted: Counter[tuple[int, int, int, str, str]] = Counter()
    totals: Counter[tuple[int, int, int, str, str]] = Counter()
    pairs = []

    def count(day: int, by: tuple[int, int], counts: Sequence[TraitCount]) -> None:
        for item in counts:
            key = day, *by, item.trait, item.bin
            counted[key] += 1
            totals[key] += item.value  # type: ignore[assignment]

    for day in days:
        here = site(day) if callable(site) else site
        for _ in range(each):
            said = maxima(rng, rng.random() < here.bleeds)
            count(day, (NOBODY, NOBODY), here.series(rng))
            count(day, (first_id, NOBODY), said_of(said, flagged(said), first))
            other = disturbed(said, rng, apart)
            count(day, (NOBODY, second_id), said_of(other, flagged(other), second))
            agreed = agreed_on(said, flagged(said), first, other, flagged(other), second)
            count(day, (first_id, second_id), agreed)
            pairs.append((day, said, other))
    rows = [
        dict(
            zip(("day", "primary_id", "shadow_id", "trait", "bin"), key, strict=True),
            series=n,
            total=totals[key],
        )
        for key, n in counted.items()
    ]
    with ledger.engine.begin() as connection:
        if rows:
            connection.execute(sa.insert(schema.trait_tally), rows)
        for number, (day, said, other) in enumerate(pairs):
            _judged(connection, f"{seed}.{number}", day, said, other, (first_id, second_id))


def _judged(
    connection: sa.Connection,
    name: str,
    day: int,
    said: dict[str, float],
    other: dict[str, float],
    by: tuple[int, int],
) -> None:
    """Enter a series that both have judged."""
    at = (day + 0.5) * DAY_S
    series = connection.execute(
        sa.insert(schema.series)
        .values(study_instance_uid=f"1.7.{name}.1", series_instance_uid=f"1.7.{name}.2")
        .returning(schema.series.c.id)
    ).scalar_one()
    revision = connection.execute(
        sa.insert(schema.revision)
        .values(
            series_id=series,
            number=1,
            state=State.DELIVERED,
            warnings=[],
            maxima=said,
            flagged=flagged(said) or None,
            attempts=1,
            claims=1,
            arrivals=1,
            last_instance_at=at,
            updated_at=at,
        )
        .returning(schema.revision.c.id)
    ).scalar_one()
    connection.execute(
        sa.insert(schema.shadow).values(
            revision_id=revision,
            state=ShadowState.JUDGED,
            primary_id=by[0],
            primary_maxima=said,
            primary_flagged=flagged(said),
            shadow_id=by[1],
            maxima=other,
            flagged=flagged(other),
            attempts=1,
            claims=1,
            updated_at=at,
        )
    )


def changed(before: Site, on: int, **changes: object) -> Callable[[int], Site]:
    """A site that changes on a day."""
    after = replace(before, **changes)  # type: ignore[arg-type]
    return lambda day: after if day >= on else before
