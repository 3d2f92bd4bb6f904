"""Figures along a year as curves with their intervals: lengths for a drawing, no drawing yet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from node.web.course import WIDTH
from node.web.values import Point, Proportion

HEIGHT = 200.0

LEAST = 10
"""A point of fewer series is left out."""

RUNNING = ("sensitivity", "specificity", "ppv", "prevalence")
"""Figures that are drawn, each of the days before a point."""


@dataclass(frozen=True)
class Stretch:
    """Points in a row that all have a value: the line, and the band of its interval."""

    line: str
    band: str


@dataclass(frozen=True)
class Running:
    """Curves.

    Parameters
    ----------
    sensitivity, specificity, ppv, prevalence : tuple of Stretch
    months : tuple of tuple of float and str
        Where each second month begins, in percent of the width, and its name.
    """

    sensitivity: tuple[Stretch, ...]
    specificity: tuple[Stretch, ...]
    ppv: tuple[Stretch, ...]
    prevalence: tuple[Stretch, ...]
    months: tuple[tuple[float, str], ...]

    def __bool__(self) -> bool:
        return bool(self.sensitivity or self.specificity or self.ppv)


def draw(points: Sequence[Point]) -> Running:
    """Draw figures.

    Parameters
    ----------
    points : sequence of Point
        In the order of their days, at equal distances.
    """
    return Running(
        **{name: tuple(_stretches([getattr(p, name) for p in points])) for name in RUNNING},
        months=tuple(_months([point.day for point in points])),
    )


def _stretches(values: Sequence[Proportion]) -> Iterator[Stretch]:
    run: list[tuple[float, Proportion]] = []
    step = WIDTH / max(1, len(values) - 1)
    for number, value in enumerate([*values, None]):
        if value is not None and value.of >= LEAST:
            run.append((number * step, value))
        elif run:
            yield _stretch(run, step)
            run = []


def _stretch(run: list[tuple[float, Proportion]], step: float) -> Stretch:
    if len(run) == 1:  # a line needs two
        x, value = run[0]
        run = [(max(0.0, x - step / 2), value), (min(WIDTH, x + step / 2), value)]
    above = [(x, value.high or 0.0) for x, value in run]
    below = [(x, value.low or 0.0) for x, value in run]
    return Stretch(_text([(x, value.value or 0.0) for x, value in run]), _text(above + below[::-1]))


def _text(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{HEIGHT * (1 - y):.1f}" for x, y in points)


def _months(days: Sequence[date]) -> Iterator[tuple[float, str]]:
    for number, (before, day) in enumerate(pairwise(days), 1):
        if day.month != before.month and day.month % 2 == 1:
            yield round(100 * number / (len(days) - 1), 2), f"{day:%b %Y}"
