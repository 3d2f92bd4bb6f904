"""What `ichnode purge` removes: what retention would, earlier or by name."""

import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from node.clean import (
    AT_ONCE,
    DAY_S,
    Cleaner,
    Freed,
    days_of,
    delete,
    refused_before,
    rule_of,
    size_of,
)
from node.errors import ConfigError
from node.ledger import ENDED, Ended, Kept, Ledger, Mark, RetentionRule, State
from node.settings import Settings
from node.spool import Spool

REFUSED = "refused"
ORPHANS = "orphans"
"""What goes beside series: refused instances, and results that the ledger knows nothing of."""

_UNITS = {"d": DAY_S, "h": 3600.0, "m": 60.0}
_NEWEST_ORPHAN_S = DAY_S
"""Results are written before the ledger knows of them: younger ones are left alone."""


@dataclass(frozen=True)
class Doomed:
    """Something that would be removed.

    Parameters
    ----------
    what : str
        The state of a series, `refused` or `orphans`.
    paths : tuple of pathlib.Path
        Files and folders.
    size : Freed
        What is in them.
    ended : Ended, optional
        The series.
    """

    what: str
    paths: tuple[Path, ...]
    size: Freed
    ended: Ended | None = None


@dataclass(frozen=True)
class Selection:
    """What is to be removed.

    Parameters
    ----------
    older_s : float, optional
        What ended longer ago, seconds; None for the ages of the configuration.
    states : collection of State
        Of series that go by their age.
    study, series : str, optional
        UIDs: only these, whatever their age.
    """

    older_s: float | None
    states: Collection[State]
    study: str | None = None
    series: str | None = None

    @property
    def is_by_name(self) -> bool:
        """Whether it names what is to go."""
        return self.study is not None or self.series is not None


def seconds_of(text: str) -> float:
    """A time such as 30d, 12h or 90m, in seconds.

    Raises
    ------
    ConfigError
        If it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([dhm])", text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no time: 30d, 12h and 90m are")
    return float(found[1]) * _UNITS[found[2]]


class Purge:
    """Finds what is to go, and removes it.

    Parameters
    ----------
    settings : Settings
    spool : Spool
    ledger : Ledger
    selection : Selection
    """

    def __init__(
        self, settings: Settings, spool: Spool, ledger: Ledger, selection: Selection
    ) -> None:
        self.settings = settings
        self.spool = spool
        self.ledger = ledger
        self.selection = selection
        self._cleaner = Cleaner(settings, spool, ledger)
        self._rules = {kept: self._rule(kept) for kept in Kept}

    def _rule(self, kept: Kept) -> RetentionRule:
        selection, now = self.selection, self.ledger.clock()
        rule = rule_of(self.settings, days_of(self.settings, kept), now)
        if selection.is_by_name:
            return RetentionRule(dict.fromkeys(ENDED, now), rule.committing)
        if selection.older_s is not None:
            return RetentionRule(
                dict.fromkeys(selection.states, now - selection.older_s), rule.committing
            )
        return RetentionRule(
            {state: at for state, at in rule.before.items() if state in selection.states},
            rule.committing,
        )

    def doomed(self) -> Iterator[Doomed]:
        """All that would go, series first, the oldest of them first."""
        for ended in self._series():
            paths = self._paths(ended)
            size = size_of(paths)
            if size.files:
                yield Doomed(ended.state, paths, size, ended)
        if self.selection.is_by_name or set(self.selection.states) != set(ENDED):
            return
        for folder in refused_before(self.spool, self._refused_before()):
            yield Doomed(REFUSED, (folder,), size_of([folder]))
        for folder in self._orphans():
            yield Doomed(ORPHANS, (folder,), size_of([folder]))

    def refusals(self) -> list[str]:
        """Why of the series that are named some may not go."""
        if not self.selection.is_by_name:
            return []
        rule = self._rules[Kept.IMAGES]
        return [
            f"{ended.series_instance_uid}: {self._why(ended)}"
            for ended in self._named()
            if not self.ledger.is_removable(ended, rule)
        ]

    def remove(self, doomed: Doomed) -> Freed:
        """Remove something, unless it may not go any more."""
        freed = Freed()
        if doomed.ended is None:
            for path in doomed.paths:
                freed += delete(path)
            return freed
        for kept, rule in self._rules.items():
            freed += self._cleaner.remove(kept, doomed.ended, rule, "purged")
        return freed

    def _named(self) -> list[Ended]:
        return self.ledger.series_of(study=self.selection.study, series=self.selection.series)

    def _why(self, ended: Ended) -> str:
        for revision in self.ledger.find(ended.series_instance_uid):
            if revision.state not in ENDED:
                return f"revision {revision.number} is {revision.state}"
        return "something of it waits to be sent, or to be committed to by its destination"

    def _series(self) -> Iterator[Ended]:
        if self.selection.is_by_name:
            rule = self._rules[Kept.IMAGES]
            yield from (e for e in self._named() if self.ledger.is_removable(e, rule))
            return
        seen: set[int] = set()
        for kept, rule in self._rules.items():
            place: Mark | None = Mark()
            while place is not None:
                found, place = self.ledger.removable(kept, rule, place, AT_ONCE)
                for ended in found:
                    if ended.series_id not in seen:
                        seen.add(ended.series_id)
                        yield ended

    def _paths(self, ended: Ended) -> tuple[Path, ...]:
        """Folders of what would go of a series."""
        names = Path(ended.study_instance_uid) / ended.series_instance_uid
        folders = {Kept.IMAGES: self.spool.folder, Kept.RESULTS: self.spool.results}
        return tuple(
            folders[kept] / names
            for kept, rule in self._rules.items()
            if self.ledger.is_removable(ended, rule)
        )

    def _refused_before(self) -> float:
        if self.selection.older_s is not None:
            return time.time() - self.selection.older_s
        days = self.settings.retention.quarantine_days
        return time.time() - days * DAY_S if days > 0 else 0.0

    def _orphans(self) -> Iterator[Path]:
        """Folders of results of series that the ledger knows nothing of."""
        before = time.time() - max(self.selection.older_s or 0.0, _NEWEST_ORPHAN_S)
        for folder in sorted(self.spool.results.glob("*/*")):
            if folder.is_dir() and folder.stat().st_mtime < before:
                study, series = folder.parts[-2:]
                if not self.ledger.series_of(study=study, series=series):
                    yield folder


def remove_all(purge: Purge, doomed: Collection[Doomed], progress: Callable[[int], None]) -> Freed:
    """Remove what was found; `progress` is told the bytes of each."""
    freed = Freed()
    for item in doomed:
        freed += purge.remove(item)
        progress(item.size.size)
    return freed
