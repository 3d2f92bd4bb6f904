"""What is due is told, by each rule on its own, until it is taken or given up.

The ledger says what came about; which of it is told, and by which rules, is decided here
once. A claim that a killed process has left behind ends, and the same is told again under
the same id.
"""

import logging
import random
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress

from pydicom.dataset import Dataset

from ml.errors import SeriesError, first_line
from ml.file import read_up_to_pixels
from ml.labels import Label
from node.audit import Auditor, Study
from node.errors import NotificationError
from node.ledger import Event, Ledger, Notification, Revision, State
from node.logs import about
from node.notify.occurrence import KEYWORDS, Occurrence, Subject
from node.notify.ways import TIMEOUT_S, send
from node.pauses import pause_after
from node.settings import Detail, NotifyRule, Occasion, Settings
from node.spool import Spool

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""Between two looks at what is to be told, seconds."""

LEASE_S = 6 * TIMEOUT_S
"""A claim ends after this time; each way takes less."""

_IDS = uuid.UUID("f7a0a0c2-6a4e-5a0e-9f3e-6c8f6f0b7a11")


class Notifier:
    """Tells until it is told to stop.

    Parameters
    ----------
    settings : Settings
    spool : Spool
    ledger : Ledger
    auditor : Auditor
    """

    def __init__(self, settings: Settings, spool: Spool, ledger: Ledger, auditor: Auditor) -> None:
        self.settings = settings
        self.spool = spool
        self.ledger = ledger
        self.auditor = auditor

    def start(self, stop: threading.Event) -> None:
        """Plan in one thread and tell in one for each rule: a slow receiver holds no other up."""
        steps = [self.plan, *(self._telling(rule) for rule in self.settings.notify)]
        for number, step in enumerate(steps):
            threading.Thread(
                target=self._run, args=(step, stop), name=f"notify-{number}", daemon=True
            ).start()

    def _run(self, step: Callable[[], None], stop: threading.Event) -> None:
        while not stop.wait(INTERVAL_S):
            try:
                step()
            except Exception as error:  # a database that is away comes back
                log.error("notifications wait: %s", first_line(error))

    def _telling(self, rule: NotifyRule) -> Callable[[], None]:
        return lambda: self.tell(rule)

    def plan(self) -> None:
        """Decide of each state that a series came into who is told of it."""
        for untold in self.ledger.untold():
            revision = self.ledger.revision(untold.revision_id)
            occasion = None if revision is None else occasion_of(untold.event, revision)
            rules = [
                rule.name
                for rule in self.settings.notify
                if revision is not None and applies(rule, occasion, revision)
            ]
            self.ledger.plan_notifications(untold, rules)

    def tell(self, rule: NotifyRule) -> None:
        """Tell what is due by a rule; after a failure the rest waits for the next look."""
        longest_s = LEASE_S + self.settings.deliver.longest_pause_s
        for notification in self.ledger.due_notifications(rule.name, longest_s):
            if not self.ledger.claim_notification(notification, LEASE_S):
                continue
            revision = self.ledger.revision(notification.revision_id)
            assert revision is not None, "a foreign key"
            with about(revision):
                occurrence = self._occurrence(notification, revision, rule)
                try:
                    send(rule, self.settings.smtp, occurrence)
                except NotificationError as error:
                    self._record(rule, occurrence, succeeded=False)
                    self._failed(rule, notification, str(error))
                    return
                self._record(rule, occurrence, succeeded=True)
                self.ledger.told(notification)
                log.info("told by %s", rule.name)

    def _record(self, rule: NotifyRule, occurrence: Occurrence, *, succeeded: bool) -> None:
        """Record that something of a study has left the node, or may have."""
        told = occurrence.subject
        if told is not None:
            study = Study(told.study_instance_uid, told.patient_id or "", told.accession_number)
            self.auditor.study_told(rule, study, succeeded=succeeded)

    def _failed(self, rule: NotifyRule, notification: Notification, why: str) -> None:
        rules, now = self.settings.deliver, self.ledger.clock()
        first = notification.first_tried_at
        since = now if first is None else first.timestamp()
        pause = pause_after(notification.attempts + 1, rules, random.random())
        next_try_at = now + pause if now + pause < since + rules.give_up_h * 3600 else None
        self.ledger.not_told(notification, why, next_try_at)
        what = "given up" if next_try_at is None else f"again in {pause:.0f} s"
        log.warning("notification by %s: %s; %s", rule.name, why, what)

    def _occurrence(
        self, notification: Notification, revision: Revision, rule: NotifyRule
    ) -> Occurrence:
        occasion = occasion_of(notification.event, revision)
        assert occasion is not None, "else it would not be planned"
        subject = None
        if rule.tell is not Detail.EVENT:
            subject = Subject(revision.study_instance_uid, revision.series_instance_uid)
            subject = subject.with_header(self._header(revision))
        has_result = occasion is Occasion.FLAGGED
        return Occurrence(
            id=uuid.uuid5(_IDS, f"{revision.series_instance_uid}.{notification.id}").hex,
            occasion=occasion,
            at=notification.event.at,
            node=self.settings.dicom.ae_title,
            number=revision.id,
            probabilities=(revision.maxima or {}) if has_result else {},
            flagged=revision.flagged if has_result else (),
            reason=None if has_result else revision.reason or str(notification.event.state),
            detail=None if has_result else notification.event.detail,
            subject=subject,
        )

    def _header(self, revision: Revision) -> Dataset:
        """Whose series it is, as its first readable file says; empty where none does."""
        for instance in self.ledger.instances(revision):
            with suppress(OSError, SeriesError), self.spool.path(instance.path).open("rb") as file:
                return read_up_to_pixels(file, tags=KEYWORDS)[0]
        return Dataset()


def occasion_of(event: Event, revision: Revision) -> Occasion | None:
    """What there is to tell of a state that a revision came into; None for nothing."""
    if event.state is State.REPORTED and revision.flagged:
        return Occasion.FLAGGED
    if event.state is State.FAILED:
        return Occasion.FAILED
    if event.state is State.SKIPPED and revision.reason != "superseded":
        return Occasion.SKIPPED
    return None


def applies(rule: NotifyRule, occasion: Occasion | None, revision: Revision) -> bool:
    """Whether a rule wants to be told."""
    if occasion is None or occasion not in rule.on:
        return False
    if occasion is not Occasion.FLAGGED or not rule.findings:
        return True
    return any(Label(name) in rule.findings for name in revision.flagged)
