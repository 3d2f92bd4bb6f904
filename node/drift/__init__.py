"""What models are given and what they say, compared over time and with each other.

traits.py      what is counted of a series, and in which bins
measure.py     the traits of one series
compare.py     how far a distribution has moved: the population stability index
agreement.py   how far two models agree: Cohen's kappa and what goes with it
look.py        one look at what was counted: what the page shows and the metrics say

Nothing here brings PyTorch; `measure` alone, which only workers import, brings SciPy.
"""

from node.drift.agreement import (
    AGREED,
    Agreement,
    Kappa,
    Verdict,
    agreed_on,
    furthest_apart,
    rank_correlation,
)
from node.drift.compare import LARGE, MODERATE, Level, Shift
from node.drift.look import (
    Drift,
    DriftLook,
    Of,
    Reading,
    TraitDrift,
    Window,
    day_of,
    forgettable,
)
from node.drift.traits import FLAGGED, UNSAID, Trait

__all__ = [
    "AGREED",
    "FLAGGED",
    "LARGE",
    "MODERATE",
    "UNSAID",
    "Agreement",
    "Drift",
    "DriftLook",
    "Kappa",
    "Level",
    "Of",
    "Reading",
    "Shift",
    "Trait",
    "TraitDrift",
    "Verdict",
    "Window",
    "agreed_on",
    "day_of",
    "forgettable",
    "furthest_apart",
    "rank_correlation",
]
