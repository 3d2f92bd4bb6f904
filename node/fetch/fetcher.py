"""One source, looked at and fetched from: what is new, what of it is wanted, what came."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from ml.errors import first_line
from node.audit import Auditor
from node.errors import NotFetchedError, SourceError
from node.fetch.pace import Pace
from node.fetch.rules import (
    account,
    after_look,
    has_all,
    is_sound,
    missing,
    unseen_s,
    why_not,
)
from node.fetch.source import Fetched, FoundSeries, FoundStudy, Query, Source, nothing_is_settled
from node.intake import Intake
from node.lease import staying_alive
from node.ledger import Count, Fetch, FetchState, Held, Ledger
from node.logs import about
from node.pauses import pause_after
from node.settings import Settings, SourceSettings

log = logging.getLogger(__name__)

LEASE_S = 15.0
"""Who fetches and was silent for this long is taken for dead, seconds."""

ARRIVAL_S = 10.0
"""What a source says it has sent is waited for so long at most after the last image that came."""

LOOK_S = 0.2
"""Between two looks whether it has come."""

QUERY_MODEL = "1.2.840.10008.5.1.4.1.2.2.1"
"""Study Root, FIND: whatever a source speaks, that is what it is asked (PS3.18, 10.6)."""


class StoppedError(Exception):
    """Fetching is to end now; what was begun is fetched another time."""


@dataclass(frozen=True)
class Outcome:
    """What became of one series.

    Parameters
    ----------
    found : FoundSeries
    state : FetchState
        Wanted: it has to wait, `detail` says for what.
    detail : str, optional
    images : int
        That came with this fetch.
    is_left : bool
        Whether it was to be fetched, and is to be fetched again.
    """

    found: FoundSeries
    state: FetchState
    detail: str | None = None
    images: int = 0
    is_left: bool = False


class Fetcher:
    """Looks at one source and fetches from it.

    Parameters
    ----------
    source : Source
    rules : SourceSettings
    settings : Settings
    ledger : Ledger
    intake : Intake
    auditor : Auditor
    pace : Pace
        How fast it may be.
    stop : threading.Event
        Set when it is to end.
    """

    def __init__(
        self,
        source: Source,
        rules: SourceSettings,
        settings: Settings,
        ledger: Ledger,
        intake: Intake,
        auditor: Auditor,
        pace: Pace,
        stop: threading.Event,
    ) -> None:
        self._source = source
        self._rules = rules
        self._settings = settings
        self._ledger = ledger
        self._intake = intake
        self._auditor = auditor
        self._pace = pace
        self._stop = stop

    def find(
        self, query: Query, is_settled: Callable[[FoundStudy], bool] = nothing_is_settled
    ) -> Iterator[FoundSeries]:
        """Ask the source, and pass over what cannot be.

        Raises
        ------
        SourceError
            If it does not answer to the end.
        """
        self._auditor.queried(self._source.peer, QUERY_MODEL, query.told())
        series: dict[tuple[str, str], FoundSeries] = {}
        odd = 0
        trouble = None
        try:
            for found in self._source.find(query, is_settled):
                uids = found.study_instance_uid, found.series_instance_uid
                is_other = query.study_instance_uid not in (None, found.study_instance_uid)
                if not is_sound(found) or is_other or uids in series:
                    odd += 1
                else:
                    series[uids] = found
        except SourceError as error:  # what was told until then counts
            trouble = error
        if odd:
            log.warning(
                "source %s: %d series that it answers are there twice, have no UIDs or were not "
                "asked for",
                self._rules.name,
                odd,
            )
        # Images are counted only now: not every source lets itself be asked twice at a time.
        yield from map(self._counted, series.values())
        if trouble is not None:
            raise trouble

    def _counted(self, found: FoundSeries) -> FoundSeries:
        """A series with its images counted one by one, where the source does not."""
        if found.images is not None or self.why_not(found) is not None:
            return found
        told = self._source.instances(found)
        return found if told is None else replace(found, images=len(told))

    def why_not(self, found: FoundSeries) -> str | None:
        """Why a series is not one to fetch; None if it is."""
        return why_not(found, self._rules, self._settings.eligibility)

    def seen(self, series: Iterable[FoundSeries]) -> dict[tuple[str, str], Fetch]:
        """What became of series before, by their study and series UIDs."""
        uids = {found.series_instance_uid for found in series}
        rows = self._ledger.fetches(self._rules.name, uids)
        return {(row.study_instance_uid, row.series_instance_uid): row for row in rows}

    def note(self, series: list[FoundSeries]) -> None:
        """Note in the ledger what a poll has found, and what of it is to be fetched."""
        seen = self.seen(series)
        now = self._ledger.clock()
        new = []
        for found in series:
            uids = found.study_instance_uid, found.series_instance_uid
            row = seen.get(uids)
            change = after_look(row, found.images, self.why_not(found), self._rules, now)
            if row is not None and change is not None:
                self._ledger.change_fetch(row, **change)
            elif change is not None:
                new.append((*uids, change))
        self._ledger.enter_fetches(self._rules.name, new)

    def foresee(self, found: FoundSeries) -> tuple[FetchState, str | None]:
        """What would become of a series that is to be fetched."""
        held = self._ledger.held(found.study_instance_uid, found.series_instance_uid)
        told = self._source.instances(found) if held.instances else None
        if has_all(held, found.images, told):
            return FetchState.KNOWN, "all of it has come already"
        return (
            FetchState.WANTED,
            f"{len(held.instances)} images of it came" if held.instances else None,
        )

    def fetch_due(self, is_over: Callable[[], bool] = lambda: False) -> int:
        """Fetch what is due; gives how many series were fetched.

        Parameters
        ----------
        is_over : callable
            Whether no further series is to be begun: the source is to be asked what is new.

        Raises
        ------
        SourceError
            If the source is ill.
        """
        fetched = 0
        longest_s = longest_wait_s(self._settings, self._rules)
        while due := self._ledger.due_fetches(self._rules.name, longest_s):
            for row in due:
                if self._stop.is_set():
                    return fetched
                found = FoundSeries(
                    row.study_instance_uid, row.series_instance_uid, images=row.counted
                )
                outcome = self.fetch(found, row)
                fetched += outcome is not None and outcome.state is FetchState.FETCHED
                if is_over():
                    return fetched
        return fetched

    def fetch_now(
        self, found: FoundSeries, row: Fetch | None, progress: Callable[[int], None]
    ) -> Outcome:
        """Fetch a series that somebody asks for, whatever the rules say of it.

        Raises
        ------
        SourceError
            If the source is ill.
        """
        if row is None:
            uids = found.study_instance_uid, found.series_instance_uid
            values = {"state": FetchState.WANTED, "counted": found.images}
            self._ledger.enter_fetches(self._rules.name, [(*uids, values)])
            row = self.seen([found])[uids]
        return self.fetch(found, row, progress, by_hand=True) or Outcome(
            found, FetchState.FETCHING, "another process fetches it"
        )

    def fetch(
        self,
        found: FoundSeries,
        row: Fetch,
        progress: Callable[[int], None] = lambda _: None,
        *,
        by_hand: bool = False,
    ) -> Outcome | None:
        """Fetch one series; None if another one does.

        Raises
        ------
        SourceError
            If the source is ill: the series is fetched when it is well again.
        """
        name = self._rules.name
        now = self._ledger.clock()
        if by_hand and row.state is FetchState.FETCHING and _is_held(row, now):
            return None
        claimed = self._ledger.claim_fetch(row, found.images, LEASE_S)
        if claimed is None:
            return None
        with (
            about(claimed),
            staying_alive(partial(self._ledger.extend_fetch, claimed, LEASE_S), LEASE_S),
        ):
            try:
                return self._fetch(found, claimed, progress, by_hand=by_hand)
            except NotFetchedError as error:
                return self._try_again(found, claimed, first_line(error), by_hand=by_hand)
            except SourceError as error:
                # It was not this series' turn to fail.
                pause_s = self._settings.fetch.first_pause_s
                self._put_back(row, claimed, first_line(error), pause_s, by_hand=by_hand)
                raise
            except BaseException:
                self._put_back(row, claimed, "it was stopped", 0.0, by_hand=by_hand)
                log.info("source %s: series %s waits", name, claimed.series_instance_uid)
                raise

    def _fetch(
        self, found: FoundSeries, row: Fetch, progress: Callable[[int], None], *, by_hand: bool
    ) -> Outcome:
        quiet_s = self._settings.assemble.quiet_s
        held = self._held(row)
        told = self._source.instances(found) if held.instances else None
        lacks = missing(held, found.images, told, self._ledger.clock(), quiet_s)
        self._expect(row, found.images, told)
        if not lacks.is_anything:
            return self._known(found, row, "all of it had come already")
        if lacks.wait_until is not None:
            if not by_hand:
                detail = "it is just being sent"
                self._wait(row, lacks.wait_until.timestamp(), detail, attempts=row.attempts - 1)
                return Outcome(found, FetchState.WANTED, detail)
            self._wait_for_push(row, found.images, told, quiet_s)
            held = self._held(row)
            if has_all(held, found.images, told):
                return self._known(found, row, "it was just sent")
        try:
            fetched = self._retrieve(found, progress)
        except NotFetchedError as error:
            fetched = Fetched(0, remarks=(first_line(error),), is_all=False)
        after = self._await(row, found.images, fetched, len(held.instances))
        if told is None and found.images is not None and len(after.instances) < found.images:
            with suppress(SourceError):  # that it gave too little is what has to be told
                told = self._source.instances(found)
            self._expect(row, found.images, told)
            if told is not None and not told:
                return self._known(found, row, "none of its images is one that the node takes")
        result = account(after, found.images, told, fetched)
        images = len(after.instances - held.instances)
        if not result.is_whole:
            return self._try_again(found, row, result.detail or "", images, by_hand=by_hand)
        if not self._ledger.end_fetch(row, FetchState.FETCHED, result.detail, images):
            log.warning("series %s was fetched by another one, too", row.series_instance_uid)
        log.info(
            "source %s: series %s is fetched, %d images of it new%s",
            self._rules.name,
            row.series_instance_uid,
            images,
            f" ({result.detail})" if result.detail else "",
        )
        return Outcome(found, FetchState.FETCHED, result.detail, images)

    def _known(self, found: FoundSeries, row: Fetch, why: str) -> Outcome:
        """Note that nothing of a series has to be fetched."""
        self._ledger.end_fetch(row, FetchState.KNOWN, why)
        return Outcome(found, FetchState.KNOWN, why)

    def _retrieve(self, found: FoundSeries, progress: Callable[[int], None]) -> Fetched:
        """Have the source give a series, at the pace that is allowed."""
        self._pace.begin_series(self._stop)
        given = 0

        def came(number: int) -> None:
            nonlocal given
            if self._stop.is_set():
                raise StoppedError
            self._pace.spend(max(number - given, 0), self._stop)
            given = max(number, given)
            progress(given)

        batch = self._intake.batch(self._source.peer, self._source.way)
        try:
            fetched = self._source.fetch(found, batch, came)
        finally:
            batch.end()
        self._pace.spend(max(fetched.given - given, 0), self._stop)
        return fetched

    def _await(self, row: Fetch, counted: int | None, fetched: Fetched, before: int) -> Held:
        """Wait for what a source has sent elsewhere, as long as more comes."""
        held = self._held(row)
        if not fetched.is_elsewhere:
            return held
        arrival_s = min(ARRIVAL_S, self._settings.assemble.quiet_s)
        wanted = before + fetched.given
        if counted is not None:
            wanted = min(counted, wanted) if fetched.failed else counted
        last = time.monotonic()
        while len(held.instances) < wanted and time.monotonic() - last < arrival_s:
            self.pause(LOOK_S)
            had, held = held, self._held(row)
            if len(held.instances) > len(had.instances):
                last = time.monotonic()
        return held

    def _wait_for_push(
        self, row: Fetch, counted: int | None, told: frozenset[str] | None, quiet_s: float
    ) -> None:
        """Wait until who sends a series just now has ended."""
        while True:
            now = self._ledger.clock()
            lacks = missing(self._held(row), counted, told, now, quiet_s)
            if lacks.wait_until is None:
                return
            self.pause(min(max(lacks.wait_until.timestamp() - now, LOOK_S), 1.0))

    def pause_after(self, failures: int) -> float | None:
        """How long to leave the source alone when it has failed so often; None: for good."""
        rules = self._settings.fetch
        if failures >= rules.max_attempts:
            return None
        return pause_after(failures, rules, random.random())

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises
        ------
        StoppedError
            If it is to end meanwhile.
        """
        if self._stop.wait(seconds):
            raise StoppedError

    def _held(self, row: Fetch) -> Held:
        return self._ledger.held(row.study_instance_uid, row.series_instance_uid)

    def _expect(self, row: Fetch, counted: int | None, told: frozenset[str] | None) -> None:
        """Say how many images are to be waited for, whoever brings them."""
        images = counted if told is None else len(told)
        if images is not None:
            count = Count(images, self._rules.name, is_still=row.still > 0)
            self._ledger.expect(row.study_instance_uid, row.series_instance_uid, count)

    def _try_again(
        self, found: FoundSeries, row: Fetch, why: str, images: int = 0, *, by_hand: bool
    ) -> Outcome:
        """Plan to fetch again what did not come; it has failed where that is of no use."""
        rules = self._settings.fetch
        log.warning("source %s: series %s: %s", self._rules.name, row.series_instance_uid, why)
        if row.attempts >= rules.max_attempts or (by_hand and not self._rules.poll_s):
            self._ledger.end_fetch(row, FetchState.FAILED, why, images)
            return Outcome(found, FetchState.FAILED, why, images)
        pause_s = pause_after(row.attempts, rules, random.random())
        self._wait(row, self._ledger.clock() + pause_s, why, attempts=row.attempts)
        return Outcome(found, FetchState.WANTED, why, images, is_left=True)

    def _wait(self, row: Fetch, until: float, why: str, *, attempts: int) -> None:
        self._ledger.change_fetch(
            row, state=FetchState.WANTED, next_try_at=until, attempts=attempts, detail=why
        )

    def _put_back(
        self, before: Fetch, row: Fetch, why: str, pause_s: float, *, by_hand: bool
    ) -> None:
        """Leave a series as it was: nothing was tried with it."""
        until = None if by_hand and not self._rules.poll_s else self._ledger.clock() + pause_s
        with suppress(Exception):  # else its lease ends
            self._ledger.change_fetch(
                row,
                state=FetchState.WANTED,
                next_try_at=until,
                attempts=before.attempts,
                detail=why,
            )


def longest_wait_s(settings: Settings, source: SourceSettings) -> float:
    """Nothing that is to be fetched from a source waits for longer, seconds."""
    rules = settings.fetch
    pause_s = max(rules.longest_pause_s, rules.first_pause_s)
    return LEASE_S + max(pause_s, settings.assemble.quiet_s, unseen_s(source))


def _is_held(row: Fetch, now: float) -> bool:
    """Whether somebody fetches a series now."""
    return row.next_try_at is not None and row.next_try_at > datetime.fromtimestamp(now, UTC)
