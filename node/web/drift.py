"""What has changed, as the page shows it: values, and lengths for its drawings."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ml.labels import Label
from node.drift import (
    AGREED,
    UNSAID,
    Agreement,
    Drift,
    Of,
    Reading,
    TraitDrift,
    Verdict,
    Window,
    day_of,
    furthest_apart,
    rank_correlation,
)
from node.ledger import DAY_S, NOBODY, Ledger, Shadow, ShadowState, TraitTally
from node.settings import DriftSettings
from node.web import values

WIDTH, HEIGHT = 1000.0, 100.0
"""Of a drawing; a page stretches it to the room that there is."""

_EDGE = 6.0

POINTS = 30
"""Of a course at most: days are put together for it."""

BARS = 24
"""Of a distribution at most."""

PAIRS = 1000
"""Series that are drawn one by one, and whose order both models are compared by."""

SHOWN_APART = 10


def drift_values(drift: Drift, ledger: Ledger, rules: DriftSettings) -> values.Drift:
    """A look as the page and the JSON show it.

    Parameters
    ----------
    drift : Drift
    ledger : Ledger
        Asked for courses and for the series that differ.
    rules : DriftSettings
    """
    days = Window(drift.recent.first - rules.reference_days, drift.recent.last)
    second = NOBODY if drift.shadow is None else drift.shadow.id
    daily = defaultdict(list)
    unknown = UNSAID, Verdict.UNKNOWN
    for tally in ledger.daily(days.first, days.last, drift.primary.id, second, unknown):
        daily[tally.primary_id, tally.shadow_id, tally.trait].append(tally)
    return values.Drift(
        reference=_days(drift.reference, drift, recent=False),
        recent=_days(drift.recent, drift, recent=True),
        min_series=rules.min_series,
        model=_model(drift.primary),
        operating_point=drift.primary.operating_point,
        traits=tuple(_trait(item, daily, drift, days) for item in drift.traits),
        shadow=None if drift.shadow is None else _second(drift, drift.shadow, ledger, daily, days),
    )


def _days(window: Window, drift: Drift, *, recent: bool) -> values.Days:
    of_input = drift.of(Of.INPUT)[0].shift
    series = of_input.recent if recent else of_input.reference
    return values.Days(first=window.begin, last=window.end, series=series)


def _model(reading: Reading) -> values.Model | None:
    found = reading.identity
    if found is None:
        return None
    return values.Model(name=found.name, version=found.version, digest=found.digest)


Daily = Mapping[tuple[int, int, str], Sequence[TraitTally]]
"""Days of each trait, by the judges that it is of."""


def _trait(item: TraitDrift, daily: Daily, drift: Drift, days: Window) -> values.Trait:
    trait = item.trait
    second = NOBODY if drift.shadow is None else drift.shadow.id
    by = {
        Of.INPUT: (NOBODY, NOBODY),
        Of.PRIMARY: (drift.primary.id, NOBODY),
        Of.SHADOW: (NOBODY, second),
    }[item.of]
    has_mean = item.recent_mean is not None or item.reference_mean is not None
    bins = _bins(item)
    low, high = _usual(bins) if trait.is_number else (None, None)
    return values.Trait(
        of=item.of,
        name=trait.name,
        words=trait.words,
        unit=trait.unit,
        digits=trait.digits,
        is_number=trait.is_number,
        level=item.shift.level,
        psi=item.shift.psi,
        by_chance=item.shift.by_chance,
        reference_mean=item.reference_mean,
        recent_mean=item.recent_mean,
        low=low,
        high=high,
        bins=bins,
        course=_course(daily[*by, trait.name], days) if has_mean else (),
    )


def _usual(bins: Sequence[values.Bin]) -> tuple[float | None, float | None]:
    """Between which values nine of ten series lie on both sides together, as far as bins tell."""
    said = [(float(item.name), item.reference + item.recent) for item in bins if item.name]
    total = sum(count for _, count in said)
    found: list[float] = []
    for share in (0.05, 0.95):
        so_far = 0
        for edge, count in said:
            so_far += count
            if so_far >= share * total and math.isfinite(edge):
                found.append(edge)
                break
    return (found[0], found[1]) if len(found) == 2 else (None, None)


def _bins(item: TraitDrift) -> tuple[values.Bin, ...]:
    names = {*item.reference, *item.recent}
    if item.trait.is_number:
        ordered = sorted(names - {UNSAID}, key=float) + sorted(names & {UNSAID})
    else:
        ordered = sorted(
            names, key=lambda n: (-item.reference.get(n, 0) - item.recent.get(n, 0), n)
        )
    return tuple(
        values.Bin(name=n, reference=item.reference.get(n, 0), recent=item.recent.get(n, 0))
        for n in ordered
    )


def _course(daily: Iterable[TraitTally], days: Window) -> tuple[values.TraitPoint, ...]:
    """The mean over some days each, those without a series left out."""
    step = -(-days.days // POINTS)
    # Counted from the end: the last point has as many days as the others.
    found: dict[int, tuple[int, float]] = {}
    for tally in daily:
        assert tally.day is not None
        back = (days.last - tally.day) // step
        series, total = found.get(back, (0, 0.0))
        found[back] = series + tally.series, total + tally.total
    return tuple(
        values.TraitPoint(
            first=day_of(max(days.first, days.last - (back + 1) * step + 1)),
            series=series,
            mean=total / series,
        )
        for back, (series, total) in sorted(found.items(), reverse=True)
    )


def _second(
    drift: Drift, reading: Reading, ledger: Ledger, daily: Daily, days: Window
) -> values.Second:
    since = drift.recent.first * DAY_S
    judged = ledger.judged_by_both(drift.primary.id, reading.id, since, PAIRS)
    apart = sorted(judged, key=_how_much_apart, reverse=True)
    return values.Second(
        model=_model(reading),
        trouble=reading.trouble,
        operating_point=reading.operating_point,
        waiting=drift.standing[ShadowState.PENDING],
        judging=drift.standing[ShadowState.JUDGING],
        failed=drift.standing[ShadowState.FAILED],
        judged=drift.judged,
        agreements=tuple(_agreement(item, judged) for item in drift.agreements),
        course=_course(daily[drift.primary.id, reading.id, AGREED], days),
        apart=tuple(_apart(item) for item in apart[:SHOWN_APART] if any(_how_much_apart(item))),
        pairs=tuple(
            values.Pair(primary=item.primary_maxima[Label.ANY], shadow=item.maxima[Label.ANY])
            for item in judged
            if item.maxima is not None
        ),
    )


def _agreement(item: Agreement, judged: Sequence[Shadow]) -> values.Agreement:
    kappa = item.kappa
    return values.Agreement(
        finding=item.finding,
        counts=dict(item.counts),
        agreed=item.agreed / item.compared if item.compared else None,
        kappa=None if kappa is None else kappa.value,
        kappa_low=None if kappa is None else kappa.low,
        kappa_high=None if kappa is None else kappa.high,
        apart=item.apart,
        rank_correlation=None if item.finding is None else rank_correlation(judged, item.finding),
    )


def _how_much_apart(item: Shadow) -> tuple[bool, float]:
    """Series of which only one model flags anything go before all others."""
    return bool(item.flagged) != bool(item.primary_flagged), furthest_apart(item)[1]


def _apart(item: Shadow) -> values.Apart:
    finding, _ = furthest_apart(item)
    assert item.maxima is not None
    only = None
    if bool(item.flagged) != bool(item.primary_flagged):
        only = Verdict.ONLY_SHADOW if item.flagged else Verdict.ONLY_PRIMARY
    return values.Apart(
        id=item.revision_id,
        judged_at=item.updated_at,
        finding=finding,
        primary=item.primary_maxima[finding],
        shadow=item.maxima[finding],
        only=only,
    )


# -- drawings ----------------------------------------------------------------------


@dataclass(frozen=True)
class Bars:
    """Two distributions as outlines, one above the other.

    Parameters
    ----------
    reference, recent : str
        Points of what lies below each.
    """

    reference: str
    recent: str


def draw_bars(bins: Sequence[values.Bin]) -> Bars:
    """Draw a distribution then and now, each bin as its share of its side."""
    joined = _joined(bins)
    shares = []
    for side in ([b for b, _ in joined], [b for _, b in joined]):
        total = sum(side) or 1
        shares.append([count / total for count in side])
    most = max((share for side in shares for share in side), default=0) or 1
    return Bars(*(_outline([share / most for share in side]) for side in shares))


def _joined(bins: Sequence[values.Bin]) -> list[tuple[int, int]]:
    """Neighbours put together, so that there are not too many."""
    each = -(-len(bins) // BARS) or 1
    return [
        (
            sum(item.reference for item in bins[begin : begin + each]),
            sum(item.recent for item in bins[begin : begin + each]),
        )
        for begin in range(0, len(bins), each)
    ]


def _outline(heights: Sequence[float]) -> str:
    step = WIDTH / max(1, len(heights))
    points = [(0.0, HEIGHT)]
    for number, height in enumerate(heights):
        y = HEIGHT - height * (HEIGHT - _EDGE)
        points += [(number * step, y), ((number + 1) * step, y)]
    return _text([*points, (WIDTH, HEIGHT)])


@dataclass(frozen=True)
class Line:
    """A course over time.

    Parameters
    ----------
    points : str
    recent : float
        Where the recent days begin.
    """

    points: str
    recent: float


def draw_course(
    course: Sequence[values.TraitPoint],
    drift: values.Drift,
    low: float | None = None,
    high: float | None = None,
) -> Line:
    """Draw a course from the first to the last of the days that are shown.

    Parameters
    ----------
    course : sequence of Point
        One at least.
    drift : Drift
        What it is of.
    low, high : float, optional
        Values at the edges, where none lies beyond: so that what is usual looks small.
    """
    first, last = course[0].first.toordinal(), drift.recent.last.toordinal() + 1
    means = [point.mean for point in course]
    low = min(means) if low is None else min(low, *means)
    high = max(means) if high is None else max(high, *means)
    span = (high - low) or 1.0
    begins = [point.first.toordinal() for point in course]
    ends = [*begins[1:], last]
    points: list[tuple[float, float]] = []
    for begin, end, mean in zip(begins, ends, means, strict=True):
        y = HEIGHT - _EDGE - (mean - low) / span * (HEIGHT - 2 * _EDGE)
        points += [((day - first) / (last - first) * WIDTH, y) for day in (begin, end)]
    recent = max(0.0, (drift.recent.first.toordinal() - first) / (last - first) * WIDTH)
    return Line(_text(points), round(recent, 1))


def _text(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
