"""A probability along the slices as a curve: lengths for a drawing, no drawing yet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 1000.0, 100.0
"""Of the drawing; a page stretches it to the room that there is."""

_EDGE = 5.0
"""Between 0 or 1 and the edge of the drawing."""


@dataclass(frozen=True)
class Curve:
    """A curve along the slices, foot to head.

    Parameters
    ----------
    line, area : str
        Its points, and those of what lies below it.
    flagged : tuple of str
        Points of each part that reaches the threshold.
    threshold : float, optional
        Height of the threshold.
    marks : tuple of tuple of float
        Begin and width of each run of flagged slices.
    """

    line: str
    area: str
    flagged: tuple[str, ...]
    threshold: float | None
    marks: tuple[tuple[float, float], ...]


def draw(values: Sequence[float], threshold: float | None) -> Curve:
    """Draw a curve.

    Parameters
    ----------
    values : sequence of float
        Probabilities, one at least.
    threshold : float, optional
        From which on a slice is flagged.
    """
    step = WIDTH / len(values)
    points = [((number + 0.5) * step, _y(value)) for number, value in enumerate(values)]
    if len(points) == 1:  # a line needs two
        points = [(0.0, points[0][1]), (WIDTH, points[0][1])]
    runs = list(_runs(values, threshold))
    return Curve(
        line=_text(points),
        area=_text([(points[0][0], HEIGHT), *points, (points[-1][0], HEIGHT)]),
        flagged=tuple(
            _text(points if len(values) == 1 else _widened(points[begin:end], step))
            for begin, end in runs
        ),
        threshold=None if threshold is None else round(_y(threshold), 2),
        marks=tuple(
            (round(begin * step, 2), round((end - begin) * step, 2)) for begin, end in runs
        ),
    )


def middle(number: int, count: int) -> float:
    """Where a slice lies, by its number from 1."""
    return round((number - 0.5) * WIDTH / count, 2)


def _runs(values: Sequence[float], threshold: float | None) -> Iterator[tuple[int, int]]:
    """Begin and end of each run of slices that reach the threshold."""
    begin: int | None = None
    for number, value in enumerate([*values, -1.0]):
        reaches = threshold is not None and value >= threshold
        if reaches and begin is None:
            begin = number
        elif not reaches and begin is not None:
            yield begin, number
            begin = None


def _widened(points: list[tuple[float, float]], step: float) -> list[tuple[float, float]]:
    """A slice that is flagged alone has a width too."""
    if len(points) > 1:
        return points
    ((x, y),) = points
    return [(x - step / 4, y), (x + step / 4, y)]


def _y(value: float) -> float:
    return HEIGHT - _EDGE - value * (HEIGHT - 2 * _EDGE)


def _text(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.2f}" for x, y in points)
