"""One look at what was counted: recent days beside those that they are compared with.

Days that are over are counted and done with, so the reference is read once a day: a look
costs as much as the recent days have bins, whatever the number of series.
"""

import math
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from ml.errors import BundleError
from ml.identity import Identity, identify
from node.drift.agreement import Agreement, agreements
from node.drift.compare import Shift, shift
from node.drift.traits import FLAGGED, INPUTS, OUTPUTS, UNSAID, Trait
from node.ledger import DAY_S, NOBODY, Ledger, ShadowState, TraitTally
from node.settings import DriftSettings, Settings

_EPOCH = date(1970, 1, 1).toordinal()

_UNKNOWN = -1
"""The id of a judge that has judged nothing."""


class Of(StrEnum):
    """What a trait is of."""

    INPUT = "input"
    PRIMARY = "primary"
    SHADOW = "shadow"


@dataclass(frozen=True)
class Window:
    """Some days, by their numbers since 1970 (UTC); both count."""

    first: int
    last: int

    @property
    def days(self) -> int:
        """How many; 0 where it ends before it begins."""
        return max(0, self.last - self.first + 1)

    @property
    def begin(self) -> date:
        """Its first day."""
        return day_of(self.first)

    @property
    def end(self) -> date:
        """Its last day."""
        return day_of(self.last)


def day_of(number: int) -> date:
    """A day by its number since 1970."""
    return date.fromordinal(_EPOCH + number)


def windows(rules: DriftSettings, now: float) -> tuple[Window, Window]:
    """The reference and the recent days.

    Parameters
    ----------
    rules : DriftSettings
    now : float
        Seconds since 1970.
    """
    today = math.floor(now / DAY_S)
    recent = Window(today - rules.recent_days + 1, today)
    if rules.reference_from is None:
        return Window(recent.first - rules.reference_days, recent.first - 1), recent
    first = rules.reference_from.toordinal() - _EPOCH
    last = min(first + rules.reference_days, recent.first) - 1  # no day is on both sides
    return Window(first, last), recent


def forgettable(rules: DriftSettings, keep_days: float, now: float) -> tuple[Window, ...]:
    """Days older than they are kept, but for those that are compared or drawn.

    Parameters
    ----------
    rules : DriftSettings
    keep_days : float
    now : float
        Seconds since 1970.
    """
    reference, recent = windows(rules, now)
    drawn_from = recent.first - rules.reference_days
    last = min(math.floor(now / DAY_S - keep_days), drawn_from) - 1
    around = Window(0, min(last, reference.first - 1)), Window(reference.last + 1, last)
    return tuple(window for window in around if window.days)


@dataclass(frozen=True)
class TraitDrift:
    """A trait then and now.

    Parameters
    ----------
    of : Of
    trait : Trait
    shift : Shift
    reference, recent : mapping of str to int
        Series in each bin.
    reference_mean, recent_mean : float, optional
        None for a word, and where no series says it.
    """

    of: Of
    trait: Trait
    shift: Shift
    reference: Mapping[str, int]
    recent: Mapping[str, int]
    reference_mean: float | None
    recent_mean: float | None


@dataclass(frozen=True)
class Reading:
    """A model that is configured, and its id as a judge."""

    identity: Identity | None
    trouble: str | None
    operating_point: str
    id: int


@dataclass(frozen=True)
class Drift:
    """What has changed, and how far two models agree.

    Parameters
    ----------
    reference, recent : Window
    primary : Reading
    shadow : Reading, optional
        None where none is configured.
    traits : tuple of TraitDrift
        Of the series, then of what each model said of them.
    agreements : tuple of Agreement
        Of the recent days; empty where nothing was judged by both.
    standing : mapping of ShadowState to int
        What waits for the shadow, is being judged by it, and could not be.
    """

    reference: Window
    recent: Window
    primary: Reading
    shadow: Reading | None
    traits: tuple[TraitDrift, ...]
    agreements: tuple[Agreement, ...]
    standing: Mapping[ShadowState, int]

    @property
    def judged(self) -> int:
        """Series of the recent days that both models have judged."""
        return sum(self.agreements[0].counts.values()) if self.agreements else 0

    def of(self, of: Of) -> tuple[TraitDrift, ...]:
        """The traits of one kind."""
        return tuple(item for item in self.traits if item.of is of)


class DriftLook:
    """Looks at what was counted, as often as wanted.

    Parameters
    ----------
    settings : Settings
    ledger : Ledger
    """

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._key: tuple[Window, int, int] | None = None
        self._reference: Sequence[TraitTally] = ()
        self._lock = threading.Lock()

    def look(self) -> Drift:
        """Compare now.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            If the ledger does not answer.
        """
        settings, ledger = self._settings, self._ledger
        rules = settings.drift
        reference, recent = windows(rules, ledger.clock())
        primary = self._read(settings.model.bundle, settings.model.operating_point)
        shadow = None
        if settings.shadow.bundle is not None:
            shadow = self._read(settings.shadow.bundle, settings.shadow.operating_point)
        ids = primary.id, _UNKNOWN if shadow is None else shadow.id
        before = self._of_reference(reference, *ids)
        after = ledger.trait_tallies(recent.first, recent.last, *ids)
        kinds = [(Of.INPUT, (NOBODY, NOBODY), INPUTS), (Of.PRIMARY, (ids[0], NOBODY), OUTPUTS)]
        if shadow is not None:
            kinds.append((Of.SHADOW, (NOBODY, ids[1]), OUTPUTS))
        return Drift(
            reference,
            recent,
            primary,
            shadow,
            tuple(
                _compared(of, trait, _of_judges(before, by), _of_judges(after, by), rules)
                for of, by, every in kinds
                for trait in every
            ),
            agreements(_of_judges(after, ids)),
            ledger.shadows_standing(),
        )

    def _read(self, bundle: str, operating_point: str) -> Reading:
        try:
            identity = identify(bundle)
        except BundleError as error:
            return Reading(None, str(error), operating_point, _UNKNOWN)
        found = self._ledger.known_model(identity.digest, operating_point)
        if found is None:  # it may have no such point
            found = self._ledger.known_model(identity.digest, "")
        return Reading(identity, None, operating_point, _UNKNOWN if found is None else found)

    def _of_reference(
        self, window: Window, primary_id: int, shadow_id: int
    ) -> Sequence[TraitTally]:
        key = window, primary_id, shadow_id
        with self._lock:
            if key != self._key:
                self._reference = self._ledger.trait_tallies(
                    window.first, window.last, primary_id, shadow_id
                )
                self._key = key
            return self._reference


def _of_judges(tallies: Sequence[TraitTally], judges: tuple[int, int]) -> list[TraitTally]:
    return [tally for tally in tallies if (tally.primary_id, tally.shadow_id) == judges]


def _compared(
    of: Of,
    trait: Trait,
    reference: Sequence[TraitTally],
    recent: Sequence[TraitTally],
    rules: DriftSettings,
) -> TraitDrift:
    before, after = (_bins(side, trait) for side in (reference, recent))
    return TraitDrift(
        of,
        trait,
        shift(before, after, is_number=trait.is_number, least=rules.min_series),
        before,
        after,
        _mean(reference, trait),
        _mean(recent, trait),
    )


def _bins(tallies: Sequence[TraitTally], trait: Trait) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for tally in tallies:
        if tally.trait == trait.name:
            found[tally.bin] += tally.series
    return dict(found)


def _mean(tallies: Sequence[TraitTally], trait: Trait) -> float | None:
    """Of a number its mean, of whether anything is flagged the share."""
    said = [t for t in tallies if t.trait == trait.name and t.bin != UNSAID]
    series = sum(tally.series for tally in said)
    if not series or not (trait.is_number or trait is FLAGGED):
        return None
    return sum(tally.total for tally in said) / series
