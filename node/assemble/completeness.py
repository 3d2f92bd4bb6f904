"""Is a series whole? A pure function of its headers, and of what a source counts.

A timer alone cuts slow series in two, so evidence is looked for: either the
sender has said how many images there are, or a PACS counts them, or the slices
leave no room for another one.
"""

import math
from collections import Counter
from collections.abc import Sequence

from pydicom.dataset import Dataset

from ml.frames import numbers
from ml.series import Arrangement
from node.ledger import Count


def evidence(
    headers: Sequence[Dataset],
    arrangement: Arrangement | None,
    min_coverage_mm: float,
    count: Count | None = None,
) -> str | None:
    """What shows that a series is whole, or None.

    Parameters
    ----------
    headers : sequence of pydicom.Dataset
        One for each instance that has come.
    arrangement : Arrangement, optional
        None if the slices cannot be ordered.
    min_coverage_mm : float
        Extent along the normal from which on even spacing is evidence, mm.
    count : Count, optional
        How many images a source counts.

    Notes
    -----
    What says that images are missing goes before what says that all are there. A count
    that may still grow, or that more came than, shows nothing.
    """
    declared = declared_counts(headers)
    if lacking(len(headers), count) is not None:
        return None
    if declared is not None:
        came, expected = declared
        return f"all {expected} declared images are there" if came >= expected else None
    if count is not None and count.is_still and len(headers) == count.images:
        return f"all {count.images} images that {count.source} counts are there"
    if arrangement is None:
        return None
    extent = arrangement.positions_mm[-1] - arrangement.positions_mm[0]
    if (
        arrangement.spacing.is_even
        and extent >= min_coverage_mm
        and _numbers_have_no_hole(headers)
        and _touch(headers, arrangement)
    ):
        return f"{len(arrangement.frames)} evenly spaced slices over {extent:.0f} mm"
    return None


def lacking(came: int, count: Count | None) -> str | None:
    """What to warn of where a source counts more images than came."""
    if count is None or came >= count.images:
        return None
    return f"{came} of {count.images} images that {count.source} counts came: slices are missing"


def declared_counts(headers: Sequence[Dataset]) -> tuple[int, int] | None:
    """How many images came, and how many the sender has declared; None if it has not.

    Number of Series Related Instances (0020,1209) counts the series; Images in
    Acquisition (0020,1002) counts each acquisition (PS3.3, C.7.3.1 and C.7.6.1).
    """
    in_series = [n for header in headers if (n := _count(header, "NumberOfSeriesRelatedInstances"))]
    if in_series:
        return len(headers), max(in_series)
    acquisitions: Counter[str] = Counter()
    expected: dict[str, int] = {}
    for header in headers:
        key = str(header.get("AcquisitionNumber", ""))
        acquisitions[key] += 1
        if n := _count(header, "ImagesInAcquisition"):
            expected[key] = max(n, expected.get(key, 0))
    if not expected or set(expected) != set(acquisitions):
        return None
    came = sum(min(acquisitions[key], expected[key]) for key in expected)
    return came, sum(expected.values())


def _count(header: Dataset, keyword: str) -> int | None:
    values = numbers(header, keyword)
    return int(values[0]) if values and 0 < values[0] < 1e6 else None


def _numbers_have_no_hole(headers: Sequence[Dataset]) -> bool:
    """Whether the Instance Numbers, where all slices have one, follow each other."""
    found = [numbers(header, "InstanceNumber") for header in headers]
    if any(value is None or not math.isfinite(value[0]) for value in found):
        return True
    ordered = sorted({int(value[0]) for value in found if value})
    return len(ordered) == len(found) and ordered[-1] - ordered[0] == len(ordered) - 1


def _touch(headers: Sequence[Dataset], arrangement: Arrangement) -> bool:
    """Whether neighbouring slices touch, where their thickness is known.

    Every second slice of a series is evenly spaced too.
    """
    thickness = [value[0] for h in headers if (value := numbers(h, "SliceThickness"))]
    return not thickness or arrangement.spacing.typical_mm <= 1.5 * max(thickness)
