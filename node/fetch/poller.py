"""Sources are asked again and again what is new, each by a thread of its own."""

import logging
import random
import threading
import time
from collections.abc import Iterable
from datetime import date, timedelta

from ml.errors import first_line
from node.audit import Auditor
from node.errors import SourceError
from node.fetch.by_hand import by_day
from node.fetch.fetcher import Fetcher, StoppedError, longest_wait_s
from node.fetch.opening import open_source
from node.fetch.pace import Pace
from node.fetch.source import FoundSeries, FoundStudy, Query
from node.intake import Intake
from node.ledger import FetchState, Ledger
from node.pauses import pause_after
from node.settings import Settings, SourceSettings

log = logging.getLogger(__name__)

INTERVAL_S = 0.5
"""Between two looks whether it is time."""

END_S = 5.0
"""Threads that are told to stop have so long to end what they do."""

PAUSE_AFTER_ERROR_S = 10.0
"""After an error that is not the source's."""

AHEAD = timedelta(days=1)
"""Where the source is, it may be tomorrow already."""

LONGEST_GAP = timedelta(days=14)
"""Days on which a source was not asked are made up for; more of them only by hand."""

MORE_THAN_OVERNIGHT = 2
"""Questions: after midnight there is one more, about the evening."""

_OPEN = (FetchState.WANTED, FetchState.FETCHING)


def questions(today: date, look_back_days: int, answered: date | None) -> list[Query]:
    """What a poll asks: for the last days, and for each day before that nobody has asked for.

    Parameters
    ----------
    today : datetime.date
    look_back_days : int
    answered : datetime.date, optional
        When the source last told all that was asked; None if it never has.
    """
    look_back = timedelta(days=look_back_days)
    first = today - look_back
    missed: list[Query] = []
    if answered is not None and answered < today:
        begin = max(answered, today - LONGEST_GAP) - look_back
        missed = by_day(begin, first - timedelta(days=1))
    return [*missed, Query(first=first, last=today + AHEAD)]


class Poller:
    """Asks sources until it is told to stop.

    Parameters
    ----------
    settings : Settings
    ledger : Ledger
    intake : Intake
    auditor : Auditor
    """

    def __init__(
        self, settings: Settings, ledger: Ledger, intake: Intake, auditor: Auditor
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._intake = intake
        self._auditor = auditor

    def run(self, stop: threading.Event) -> None:
        """Ask every source that is polled; one that is slow holds no other up."""
        threads = [
            threading.Thread(target=self._serve, args=(rules, stop), daemon=True, name=rules.name)
            for rules in self._settings.polled
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        until = time.monotonic() + END_S
        for thread in threads:  # a peer that says nothing is not waited for: its lease ends
            thread.join(max(until - time.monotonic(), 0))

    def _serve(self, rules: SourceSettings, stop: threading.Event) -> None:
        turns = Turns(rules, self._settings, self._ledger, self._intake, self._auditor, stop)
        pause_s = 0.0
        while not stop.wait(pause_s):
            pause_s = INTERVAL_S
            try:
                turns.take_one()
            except StoppedError:
                return
            except Exception as error:  # a database that is away comes back; polling must go on
                log.error("source %s: %s", rules.name, first_line(error))
                pause_s = PAUSE_AFTER_ERROR_S


class Turns:
    """One source: it is asked when it is time, and what is due is fetched from it.

    Parameters
    ----------
    rules : SourceSettings
    settings : Settings
    ledger : Ledger
    intake : Intake
    auditor : Auditor
    stop : threading.Event
    """

    def __init__(
        self,
        rules: SourceSettings,
        settings: Settings,
        ledger: Ledger,
        intake: Intake,
        auditor: Auditor,
        stop: threading.Event,
    ) -> None:
        self._rules = rules
        self._settings = settings
        self._ledger = ledger
        self._fetcher = Fetcher(
            open_source(settings, rules),
            rules,
            settings,
            ledger,
            intake,
            auditor,
            Pace(rules.images_per_second, rules.series_per_hour),
            stop,
        )
        self._settled: dict[str, int] = {}  # study -> how many images it had when all was done

    def take_one(self) -> None:
        """Ask and fetch, where it is time; a source that is ill rests."""
        name = self._rules.name
        if self._ledger.is_resting(name, longest_wait_s(self._settings, self._rules)):
            return
        next_at = time.monotonic() + self._rules.poll_s
        try:
            if self._ledger.begin_poll(name, self._rules.poll_s):
                self._look()
                self._ledger.source_answers(name)
            self._fetcher.fetch_due(lambda: time.monotonic() >= next_at)
        except SourceError as error:
            state = self._ledger.source_state(name)
            failures = 1 + (0 if state is None else state.failures)
            pause_s = pause_after(failures, self._settings.fetch, random.random())
            log.warning("source %s has to rest: %s", name, first_line(error))
            until = self._ledger.clock() + pause_s
            self._ledger.source_rests(name, failures, until, first_line(error))

    def _look(self) -> None:
        """Ask what the last days brought, and note it."""
        told: dict[str, int | None] = {}

        def is_settled(study: FoundStudy) -> bool:
            told[study.study_instance_uid] = study.images
            settled = self._settled.get(study.study_instance_uid)
            return settled is not None and settled == study.images

        found: list[FoundSeries] = []
        try:
            for query in self._questions():
                for series in self._fetcher.find(query, is_settled):
                    found.append(series)
        finally:
            self._fetcher.note(found)
        self._ledger.still_has(self._rules.name, told)
        self._settled = {
            study: images
            for study, images in told.items()
            if images is not None and self._settled.get(study) == images
        } | self._settle(found, told)

    def _questions(self) -> list[Query]:
        today = date.fromtimestamp(self._ledger.clock())
        state = self._ledger.source_state(self._rules.name)
        answered = None
        if state is not None and state.answered_at is not None:
            answered = date.fromtimestamp(state.answered_at.timestamp())
        asked = questions(today, self._rules.look_back_days, answered)
        if len(asked) > MORE_THAN_OVERNIGHT:
            log.warning(
                "source %s last told on %s what is new: it is asked from %s on; what is older "
                "`ichnode fetch --from` fetches",
                self._rules.name,
                answered,
                asked[0].first,
            )
        return asked

    def _settle(self, found: Iterable[FoundSeries], told: dict[str, int | None]) -> dict[str, int]:
        """Studies that nothing is left to be done with, and how many images they have."""
        series = list(found)
        rows = self._fetcher.seen(series).values()
        is_open = {row.study_instance_uid for row in rows if row.state in _OPEN}
        settled = {}
        for item in series:
            study = item.study_instance_uid
            images = told.get(study)
            if images is not None and study not in is_open:
                settled[study] = images
        return settled
