"""The sweeper: looks for rows of the ledger that have stood still too long.

It moves on what has come to rest, takes back what a dead worker held, and sends
hints again that were lost. Any number of sweepers may run: each step of a row
is a compare-and-set that one of them wins.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from pydicom.dataset import Dataset

from ml.errors import first_line
from node.assemble import assemble, priority_of
from node.clean import Cleaner
from node.commit import sent_since
from node.environment import is_passing
from node.facts import SeriesFacts
from node.headers import read_headers
from node.hints import PAUSE_AFTER_ERROR_S, Hints, Queue
from node.judgement import digest_of_instances
from node.ledger import HINT_S, Instance, Ledger, Plan, Result, Revision, State
from node.logs import about
from node.report import build_notice
from node.results import predecessors, recorded
from node.routing import decide, plan
from node.settings import Kind, Notices, Settings
from node.spool import Spool

log = logging.getLogger(__name__)

INTERVAL_S = 0.5
"""Between two looks, seconds."""

LOOK_S = 0.1
"""Between two looks at what has come to rest, seconds: a patient waits for them."""

MOST_AT_ONCE_S = 2.0
"""Before it is looked again which series is the most urgent to assemble, seconds."""

RESTS = 100
"""A look for what no commitment was asked for is followed by so many times as long without."""

SHADOWS_AT_ONCE = 20
"""Hints that the shadow gets together: more would only be sent again after a busy time."""

LEEWAY_S = 30.0
"""Nothing waits for longer than the configuration says and this, seconds."""


class Sweeper:
    """Sweeps until it is told to stop.

    Parameters
    ----------
    settings : Settings
    spool : Spool
    ledger : Ledger
    hints : Hints
    """

    def __init__(self, settings: Settings, spool: Spool, ledger: Ledger, hints: Hints) -> None:
        self.settings = settings
        self.spool = spool
        self.ledger = ledger
        self.hints = hints
        self._cleaner = Cleaner(settings, spool, ledger)
        self._head_starts: dict[int, float] = {}  # of what has come to rest, by id, seconds
        self._ill: set[str] = set()  # steps that did not succeed when they were last tried
        self._look_for_unasked_at = 0.0
        self._steps = (
            self.straighten,
            self.assemble,
            self.take_back,
            self.explain,
            self.hint_analyze,
            self.hint_deliver,
            *((self.take_back_shadows, self.hint_shadow) if settings.shadow.is_on else ()),
        )

    def run(self, stop: threading.Event) -> None:
        """Sweep at every interval; an error is logged and does not end it."""
        cleaning = threading.Thread(
            target=self._clean_until, args=(stop,), daemon=True, name="clean"
        )
        cleaning.start()
        next_at = 0.0
        # No quick looks while something is ill: what is away is not to be pressed.
        while not stop.wait(INTERVAL_S if self._ill else LOOK_S):
            is_whole = self._ill or time.monotonic() >= next_at
            for step in self._steps if is_whole else (self.assemble,):
                self._guard(step)
            if is_whole:
                next_at = time.monotonic() + INTERVAL_S
        cleaning.join()

    def _clean_until(self, stop: threading.Event) -> None:
        """Clean in a thread beside the sweeping: to delete files takes a while."""
        while not stop.wait(INTERVAL_S):
            self._guard(self.clean)

    def _guard(self, step: Callable[[], None]) -> None:
        name = step.__name__
        try:
            step()
        except Exception as error:  # a database that is away comes back; sweeping must go on
            if name not in self._ill:  # once, not at every look
                log.error("sweeping (%s), trying on: %s", name, first_line(error))
            self._ill.add(name)
        else:
            if name in self._ill:
                log.info("sweeping (%s) works again", name)
            self._ill.discard(name)

    def straighten(self) -> None:
        """Pull back what waits for a time that lies too far ahead: the clock was set back."""
        rules = self.settings
        revision_s = LEEWAY_S + max(
            rules.assemble.quiet_s,
            rules.assemble.grace_s,
            rules.analyze.lease_s,
            PAUSE_AFTER_ERROR_S * rules.analyze.max_attempts,
        )
        delivery_s = LEEWAY_S + max(rules.deliver.longest_pause_s, rules.deliver.first_pause_s)
        if pulled := self.ledger.straighten(revision_s, delivery_s):
            log.warning("the clock was set back: %d times were pulled back with it", pulled)
        self.ledger.straighten_shadows(revision_s)
        self.ledger.straighten_commitments(max(delivery_s, LEEWAY_S + rules.deliver.commit_wait_s))

    def assemble(self) -> None:
        """Move on what was received and has come to rest, the most urgent first.

        Where much has come to rest at once, what is left after a while is looked at the next
        time, with what came meanwhile.
        """
        has_rules = bool(self.settings.priorities)
        until = time.monotonic() + MOST_AT_ONCE_S
        for revision in self._by_urgency(self.ledger.due(State.RECEIVING)):
            with about(revision):
                self._assemble(revision)
            if has_rules and time.monotonic() > until:
                break

    def _by_urgency(self, due: list[Revision]) -> list[Revision]:
        """Revisions in the order in which they will be ranked, as an image of each tells it."""
        if not self.settings.priorities or len(due) < 2:
            return due
        known = self._head_starts
        unknown = [revision for revision in due if revision.id not in known]
        found = {
            id_: self._head_start(i) for id_, i in self.ledger.first_instances(unknown).items()
        }
        self._head_starts = {r.id: known.get(r.id, found.get(r.id, 0.0)) for r in due}
        return sorted(due, key=lambda r: r.last_instance_at.timestamp() - self._head_starts[r.id])

    def _head_start(self, first: Instance) -> float:
        try:
            headers = read_headers([self.spool.path(first.path)]).headers
            return priority_of([first.sender], headers, self.settings.priorities).head_start_s
        except Exception:  # what is odd in it is said when it is assembled
            return 0.0

    def _assemble(self, revision: Revision) -> None:
        try:
            is_ready = assemble(revision, self.ledger, self.spool, self.settings, self._now())
        except Exception as error:  # one odd series must not hold the others up
            # No traceback by default: its message may quote the patient.
            log.error(
                "series %s cannot be assembled: unexpected %s",
                revision.series_instance_uid,
                type(error).__name__,
                exc_info=log.isEnabledFor(logging.DEBUG),
            )
            self._later(revision, self.settings.assemble.quiet_s)
            return
        if is_ready:
            self.hints.analyze(revision.id)

    def take_back(self) -> None:
        """Take series back from workers that are silent."""
        for revision in self.ledger.due(State.ANALYZING):
            with about(revision):
                log.warning("the worker of series %s is silent", revision.series_instance_uid)
            if self.ledger.take_back(revision, self.settings.analyze.max_attempts):
                self.hints.analyze(revision.id)

    def explain(self) -> None:
        """Report on what has ended without a result: silence would read as negative."""
        for revision in (*self.ledger.due(State.SKIPPED), *self.ledger.due(State.FAILED)):
            with about(revision):
                self._explain(revision)

    def _explain(self, revision: Revision) -> None:
        results: list[Result] = []
        said, where = "", Plan()
        if self._is_to_be_explained(revision):
            try:
                results, headers = self._notice(revision)
            except Exception as error:  # what could not be analyzed may be odd in any way
                if is_passing(error):
                    log.error("no notice can be made now: %s", first_line(error))
                    self._later(revision, PAUSE_AFTER_ERROR_S)
                    return
                said = f"no notice can be made: {type(error).__name__}"
                log.warning("series %s: %s", revision.series_instance_uid, said)
            else:
                facts = SeriesFacts.of(self.ledger.senders(revision), headers)
                routing = decide(facts, (), self.settings)
                where = plan(routing, results, self.settings)
                said = f"a notice says so; {routing.said if where.deliveries else routing.unsent}"
                if not self.settings.routes:
                    said = "a notice says so"
        if self.ledger.explain(revision, results, where, said):
            for destination in where.destinations:
                self.hints.deliver(destination)

    def _is_to_be_explained(self, revision: Revision) -> bool:
        wanted = self.settings.report.not_analyzed
        return (
            wanted is Notices.ALL or (wanted is Notices.FAILED and revision.state is State.FAILED)
        ) and self.ledger.is_newest(revision)

    def _notice(self, revision: Revision) -> tuple[list[Result], Sequence[Dataset]]:
        instances = self.ledger.instances(revision)
        series = read_headers([self.spool.path(instance.path) for instance in instances])
        names = revision.study_instance_uid, revision.series_instance_uid
        objects = build_notice(
            [h for h in series.headers if str(h.get("SeriesInstanceUID", "")) == names[1]],
            self.spool.results_folder(*names, revision.number),
            study_instance_uid=names[0],
            series_instance_uid=names[1],
            input_digest=digest_of_instances((i.sop_instance_uid, i.digest) for i in instances),
            reason=revision.reason or str(revision.state),
            detail=revision.detail or "",
            revision=revision.number,
            predecessor=predecessors(
                self.ledger, revision, self.settings.report.structured_report
            ).get(Kind.NOTICE),
            # Not the clock: doing this step again must give the same bytes.
            created=revision.last_instance_at.astimezone(),
        )
        return recorded(objects, self.spool), series.headers

    def hint_analyze(self) -> None:
        """Send lost hints about ready series again."""
        waiting = self.ledger.due(State.READY)
        if waiting and self.hints.is_empty(Queue.ANALYZE):
            for revision in waiting:
                self._later(revision, HINT_S)  # first: a worker passes over what is written to
                self.hints.analyze(revision.id)

    def hint_deliver(self) -> None:
        """Send hints about destinations that something waits for, and senders that wait."""
        waiting = self.ledger.due_destinations()
        to_ask = self._destinations_to_ask()
        to_tell = self.ledger.due_reports()
        if (waiting or to_ask or to_tell) and self.hints.is_empty(Queue.DELIVER):
            for destination in waiting:
                self.hints.deliver(destination)
            for destination in to_ask:
                self.hints.ask_commitment(destination)
            for report_id in to_tell:
                self.hints.tell_commitment(report_id)

    def take_back_shadows(self) -> None:
        """Take back what workers of the shadow hold that are silent."""
        if taken := self.ledger.take_back_shadows(self.settings.analyze.max_attempts):
            log.warning("workers of the shadow are silent: %d series were taken back", taken)

    def hint_shadow(self) -> None:
        """Send hints about what waits for the shadow, while nothing waits for the first model."""
        waiting = self.ledger.due_shadows()
        if not waiting or (self.settings.shadow.yields and self.ledger.is_primary_busy()):
            return
        if self.hints.is_empty(Queue.SHADOW):
            for shadow_id in waiting[:SHADOWS_AT_ONCE]:
                self.hints.shadow(shadow_id)
                self.ledger.postpone_shadow(shadow_id)

    def clean(self) -> None:
        """Remove some of what has ended long ago, and earlier where the disk fills up."""
        self._cleaner.look()

    def _destinations_to_ask(self) -> list[str]:
        """Destinations that are to be asked for storage commitment.

        To one that does not know it all objects of three days are merely sent, and each look
        goes through them: the longer it takes, the more seldom it is.
        """
        began = time.monotonic()
        committing = [d.name for d in self.settings.destinations if d.commit]
        if began < self._look_for_unasked_at:
            committing = []  # what was begun is still looked at
        found = self.ledger.destinations_to_ask(committing, sent_since(self.ledger, self.settings))
        if committing:
            took_s = time.monotonic() - began
            self._look_for_unasked_at = began + (1 + RESTS) * took_s
        return found

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.ledger.clock(), UTC)

    def _later(self, revision: Revision, pause_s: float) -> None:
        self.ledger.postpone(revision, self._now() + timedelta(seconds=pause_s))
