"""Sources are asked again and again what is new, each by a thread of its own."""

import logging
import random
import threading
from collections.abc import Iterable
from datetime import date, timedelta

from ml.errors import first_line
from node.audit import Auditor
from node.errors import SourceError
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
"""A thread that is told to stop has so long to end what it does."""

PAUSE_AFTER_ERROR_S = 10.0
"""After an error that is not the source's."""

AHEAD = timedelta(days=1)
"""Where the source is, it may be tomorrow already."""

_OPEN = (FetchState.WANTED, FetchState.FETCHING)


def polled(settings: Settings) -> list[SourceSettings]:
    """The sources that are asked again and again."""
    return [source for source in settings.sources if source.poll_s > 0]


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
            for rules in polled(self._settings)
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            thread.join(END_S)  # a peer that says nothing is not waited for: its lease ends

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
        if self._ledger.is_resting(name, longest_wait_s(self._settings)):
            return
        try:
            if self._ledger.begin_poll(name, self._rules.poll_s):
                self._look()
                self._ledger.source_answers(name)
            self._fetcher.fetch_due()
        except SourceError as error:
            state = self._ledger.source_state(name)
            failures = 1 + (0 if state is None else state.failures)
            pause_s = pause_after(failures, self._settings.fetch, random.random())
            log.warning("source %s has to rest: %s", name, first_line(error))
            until = self._ledger.clock() + pause_s
            self._ledger.source_rests(name, failures, until, first_line(error))

    def _look(self) -> None:
        """Ask what the last days brought, and note it."""
        today = date.fromtimestamp(self._ledger.clock())
        first = today - timedelta(days=self._rules.look_back_days)
        told: dict[str, int | None] = {}

        def is_settled(study: FoundStudy) -> bool:
            told[study.study_instance_uid] = study.images
            settled = self._settled.get(study.study_instance_uid)
            return settled is not None and settled == study.images

        found: list[FoundSeries] = []
        try:
            for series in self._fetcher.find(Query(first=first, last=today + AHEAD), is_settled):
                found.append(series)
        finally:
            self._fetcher.note(found)
        self._settled = {
            study: images
            for study, images in told.items()
            if images is not None and self._settled.get(study) == images
        } | self._settle(found, told)

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
