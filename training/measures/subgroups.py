"""Series told apart by what may make them easier or harder: slice thickness and scanner."""

from itertools import pairwise

import numpy as np

EDGES_MM = (1.5, 3.5, 6.0)
"""Between thin, medium, thick and very thick slices."""

MOST = 10
"""Scanners told apart, the most frequent first; the others are taken together."""

UNTOLD = "not told"


def by_thickness(thickness_mm: np.ndarray) -> dict[str, np.ndarray]:
    """Groups of slice thickness, thin first; only those that have series.

    Parameters
    ----------
    thickness_mm : numpy.ndarray
        float64, shape (s,); not a number or 0 where it is not known.

    Returns
    -------
    dict of str to numpy.ndarray
        bool, shape (s,): the series of each group.
    """
    known = thickness_mm > 0
    names = (
        f"below {EDGES_MM[0]:g} mm",
        *(f"{low:g} to {high:g} mm" for low, high in pairwise(EDGES_MM)),
        f"{EDGES_MM[-1]:g} mm or more",
    )
    group = np.digitize(thickness_mm, EDGES_MM)
    groups = {name: known & (group == g) for g, name in enumerate(names)}
    return {name: chosen for name, chosen in (*groups.items(), (UNTOLD, ~known)) if chosen.any()}


def by_scanner(scanners: np.ndarray) -> dict[str, np.ndarray]:
    """Groups of one scanner each, the most frequent first.

    Parameters
    ----------
    scanners : numpy.ndarray
        Text, shape (s,); empty where the headers do not say.

    Returns
    -------
    dict of str to numpy.ndarray
        bool, shape (s,): the series of each group.
    """
    names, counts = np.unique(scanners[scanners != ""], return_counts=True)
    ordered = [str(name) for name in names[np.argsort(-counts, kind="stable")]]
    kept, others = (
        (ordered, []) if len(ordered) <= MOST else (ordered[: MOST - 1], ordered[MOST - 1 :])
    )
    groups = {name: scanners == name for name in kept}
    if others:
        groups[f"{len(others)} others"] = np.isin(scanners, others)
    if (scanners == "").any():
        groups[UNTOLD] = scanners == ""
    return groups
