"""Remove what has ended long ago, and earlier where the disk fills up.

Nothing goes that somebody still has to get: `node.ledger.cleaning` decides. Then the
ledger says that the files are removed, then they are: whatever crashes in between, what
is left of them is known to be of no use, and goes at the next start.
"""

import logging
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ml.errors import first_line
from node.disk import Disk, Fullness
from node.drift import forgettable
from node.ledger import ENDED, Ended, Kept, Ledger, Mark, RetentionRule, State
from node.settings import Settings
from node.spool import Spool

log = logging.getLogger(__name__)

DAY_S = 86_400.0

LOOK_S = 0.05
"""After this no further series is begun in a look, seconds: the disk is there for others."""

REST_S = 10.0
"""Between two looks where there is nothing to remove, seconds."""

SELDOM_S = 600.0
"""Between two looks at refused instances, and at what sources had, seconds."""

AT_ONCE = 100
"""Revisions that are looked at together, and files that are renamed while nothing is stored."""


@dataclass(frozen=True)
class Freed:
    """What was removed.

    Parameters
    ----------
    files, size : int
        Their number, and their bytes.
    """

    files: int = 0
    size: int = 0

    def __add__(self, other: "Freed") -> "Freed":
        return Freed(self.files + other.files, self.size + other.size)


def rule_of(settings: Settings, days: Mapping[State, float], now: float) -> RetentionRule:
    """What may be removed of what has been in its state for a number of days; 0: for ever.

    Parameters
    ----------
    settings : Settings
    days : mapping of State to float
    now : float
        Seconds since 1970.
    """
    before = {state: now - n * DAY_S for state, n in days.items() if n > 0}
    return RetentionRule(before, frozenset(d.name for d in settings.destinations if d.commit))


def days_of(settings: Settings, kept: Kept) -> dict[State, float]:
    """For how many days the configuration keeps something in each state."""
    rules = settings.retention
    if kept is Kept.RESULTS:
        return dict.fromkeys(ENDED, rules.results_days)
    return {
        State.DELIVERED: rules.delivered_days,
        State.SKIPPED: rules.skipped_days,
        State.FAILED: rules.failed_days,
    }


class Cleaner:
    """Removes files of series.

    Parameters
    ----------
    settings : Settings
    spool : Spool
    ledger : Ledger
    disk : callable, optional
        Looks at the disk of a folder.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        ledger: Ledger,
        disk: Callable[[Path], Disk] = Disk.of,
    ) -> None:
        self.settings = settings
        self.spool = spool
        self.ledger = ledger
        self._disk = disk
        self._rest_until = 0.0
        self._refused_at = 0.0
        self._fullness = Fullness.ROOM
        self._is_making_room = False
        self._has_told = False
        # How far each look through all that ended has come.
        self._places = {kept: Mark() for kept in Kept}
        self._early = {kept: Mark() for kept in Kept}
        self._rows = Mark()
        self._fetch = 0
        self._fetches_at = 0.0

    def look(self) -> Freed:
        """Remove some of what is to go now: no series more after `LOOK_S`."""
        if time.monotonic() < self._rest_until:
            return Freed()
        until = time.monotonic() + LOOK_S

        def is_over() -> bool:
            return time.monotonic() >= until

        freed = self._make_room(is_over)
        is_done = not self._is_making_room
        for kept in Kept:
            rule = rule_of(self.settings, days_of(self.settings, kept), self.ledger.clock())
            some, after = self._remove_some(
                kept, rule, self._places[kept], is_over, "its time has passed"
            )
            self._places[kept] = after or Mark()
            freed += some
            is_done &= after is None
        is_done &= self._forget_some(is_over)
        is_done &= self._forget_days(is_over)
        is_done &= self._forget_fetches(is_over)
        freed += self._drop_refused(is_over)
        if is_done:
            self._rest_until = time.monotonic() + REST_S
        if freed.files:
            log.info("%d files, %.1f MB, were removed", freed.files, freed.size / 1024**2)
        return freed

    def _remove_some(
        self, kept: Kept, rule: RetentionRule, place: Mark, is_enough: Callable[[], bool], why: str
    ) -> tuple[Freed, Mark | None]:
        """Remove until it is enough; what was removed and where to go on, None at the end."""
        freed = Freed()
        while not is_enough():
            found, after = self.ledger.removable(kept, rule, place, AT_ONCE)
            for ended in found:
                freed += self.remove(kept, ended, rule, why)
                if is_enough():
                    return freed, place  # what was removed is not found there again
            if after is None:
                return freed, None
            place = after
        return freed, place

    def _make_room(self, is_over: Callable[[], bool]) -> Freed:
        """Remove what has ended before its time while the disk is too full."""
        disk = self._look_at_disk()
        if disk.fullness(self.settings) is not Fullness.ROOM:
            self._is_making_room = True
        elif self._has_room(disk):
            self._is_making_room = self._has_told = False
        if not self._is_making_room:
            return Freed()
        freed = Freed()
        is_done = True
        rule = self._rule_in_need()
        for kept in Kept:
            some, after = self._remove_some(
                kept,
                rule,
                self._early[kept],
                lambda: is_over() or self._has_room(self._disk(self.spool.home)),
                "the disk was too full",
            )
            self._early[kept] = after or Mark()
            freed += some
            is_done &= after is None
        if is_done and not freed.files:
            self._is_making_room = False  # until the next look: there is nothing
            if not self._has_told:
                log.error(
                    "the disk of %s: %s; nothing is left that has ended and may go",
                    self.spool.home,
                    disk.told(self.settings),
                )
            self._has_told = True
        return freed

    def _has_room(self, disk: Disk) -> bool:
        return (
            disk.percent <= self.settings.retention.clean_to
            and disk.fullness(self.settings) is Fullness.ROOM
        )

    def _rule_in_need(self) -> RetentionRule:
        """What may go where the disk is too full: failed series by their age alone.

        Not what has just ended: a late image would be judged without those before.
        """
        now, rules = self.ledger.clock(), self.settings.retention
        by_age = rule_of(self.settings, {State.FAILED: rules.failed_days}, now)
        before = dict.fromkeys((State.DELIVERED, State.SKIPPED), now - rules.early_after_h * 3600)
        return RetentionRule({**by_age.before, **before}, by_age.committing)

    def _look_at_disk(self) -> Disk:
        """Tell of it when it has become another one."""
        disk = self._disk(self.spool.home)
        fullness = disk.fullness(self.settings)
        if fullness is not self._fullness:
            level = {Fullness.ROOM: logging.INFO, Fullness.HIGH: logging.WARNING}
            log.log(
                level.get(fullness, logging.ERROR),
                "the disk of %s: %s",
                self.spool.home,
                disk.told(self.settings),
            )
        self._fullness = fullness
        return disk

    def remove(self, kept: Kept, ended: Ended, rule: RetentionRule, why: str) -> Freed:
        """Remove images or results of a series, if a rule still lets it go."""
        if not self.ledger.remove(kept, ended, rule, why):
            return Freed()
        return self.take_away(ended)

    def take_away(self, ended: Ended) -> Freed:
        """Delete the files of a series that the ledger says were removed."""
        freed = Freed()
        begin = 0
        while True:
            with self.ledger.nothing_stored(ended.series_id) as unneeded:
                paths = [
                    *(self.spool.path(path) for path in sorted(unneeded.instances)),
                    *(self._results(ended, number) for number in sorted(unneeded.revisions)),
                ]
                # Under another name they are gone; to delete a large one takes a while.
                aside = [_put_aside(path) for path in paths[begin : begin + AT_ONCE]]
            for path in aside:
                if path is not None:
                    freed += delete(path)
            begin += AT_ONCE
            if begin >= len(paths):
                break
        names = ended.study_instance_uid, ended.series_instance_uid
        for folder in (self.spool.folder, self.spool.results):
            for empty in (folder / names[0] / names[1], folder / names[0]):
                with suppress(OSError):  # it is not empty, or not there
                    empty.rmdir()
        return freed

    def _results(self, ended: Ended, number: int) -> Path:
        return self.spool.results_folder(
            ended.study_instance_uid, ended.series_instance_uid, number
        )

    def _forget_some(self, is_over: Callable[[], bool]) -> bool:
        """Delete rows of series of which all else is removed; whether that is done for now."""
        days = dict.fromkeys(ENDED, self.settings.retention.ledger_days)
        rule = rule_of(self.settings, days, self.ledger.clock())
        while not is_over():
            found, after = self.ledger.forgettable(rule, self._rows, AT_ONCE)
            for ended in found:
                # Files without rows would be taken up as if they had just come.
                self.take_away(ended)
                self.ledger.forget(ended, rule)
                if is_over():
                    return False
            self._rows = after or Mark()
            if after is None:
                return True
        return False

    def _forget_days(self, is_over: Callable[[], bool]) -> bool:
        """Delete what was counted on days long ago; whether that is done for now."""
        days = self.settings.retention.drift_days
        if days == 0:
            return True
        for window in forgettable(self.settings.drift, days, self.ledger.clock()):
            while self.ledger.forget_traits(window.first, window.last):
                if is_over():
                    return False
        return True

    def _forget_fetches(self, is_over: Callable[[], bool]) -> bool:
        """Delete rows of what sources had that nobody needs; whether that is done for now."""
        if time.monotonic() < self._fetches_at:
            return True
        polled = [source.name for source in self.settings.polled]
        days = self.settings.retention.failed_days
        failed_before = self.ledger.clock() - days * DAY_S if days > 0 else 0.0
        while not is_over():
            after = self.ledger.forget_fetches(polled, failed_before, self._fetch, AT_ONCE)
            self._fetch = after or 0
            if after is None:
                self._fetches_at = time.monotonic() + SELDOM_S
                return True
        return False

    def _drop_refused(self, is_over: Callable[[], bool]) -> Freed:
        freed = Freed()
        days = self.settings.retention.quarantine_days
        if days > 0 and time.monotonic() >= self._refused_at:
            for folder in refused_before(self.spool, time.time() - days * DAY_S):
                if is_over():
                    return freed
                freed += delete(folder)
            self._refused_at = time.monotonic() + SELDOM_S
        return freed


def refused_before(spool: Spool, before: float) -> Iterator[Path]:
    """Folders of instances that were refused before a time, seconds since 1970."""
    with suppress(FileNotFoundError):
        for folder in spool.quarantined.iterdir():
            with suppress(OSError):
                if folder.stat().st_mtime < before:
                    yield folder


def size_of(paths: Collection[Path]) -> Freed:
    """Files and bytes in files and folders."""
    freed = Freed()
    for path in paths:
        for file in [path] if path.is_file() else path.rglob("*"):
            with suppress(OSError):
                if file.is_file():
                    freed += Freed(1, file.stat().st_size)
    return freed


def _put_aside(path: Path) -> Path | None:
    """Give a file or folder a name under which nobody looks for it."""
    aside = path.with_name(f".{path.name[:64]}.{secrets.token_hex(4)}.part")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    return aside


def delete(path: Path) -> Freed:
    """Delete a file or folder; what it held."""
    freed = size_of([path])
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        log.error("%s cannot be removed: %s", path, first_line(error))
        return Freed()
    return freed
