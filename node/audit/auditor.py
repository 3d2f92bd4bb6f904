"""The audit trail of one process: records are handed over at once and written beside the work."""

import errno
import logging
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from logging.handlers import SysLogHandler
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydicom.dataset import Dataset

from ml.errors import first_line
from node.audit import events
from node.audit.events import Alert, Authentication, Medium, Peer, Person, Process, Study, Tally
from node.audit.message import AuditMessage
from node.audit.sinks import FileSink, Sink, SyslogSink, tls_context
from node.settings import Destination, NotifyRule, Settings, Way
from node.settings.audit import NOWHERE, Patient

if TYPE_CHECKING:
    from node.judgement import Model

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
"""Between two tries of a sink that fails."""

CLOSING_S = 3.0
"""A process that ends waits for its last records so long at most."""

MEGABYTE = 10**6


class Channel:
    """A sink with a thread that writes to it, and the records that wait for it.

    Handing over never waits. Where the sink fails it is tried again with growing
    pauses; records beyond the bound are lost, and how many were is recorded as
    soon as the sink takes records again.

    Parameters
    ----------
    sink : Sink
    most_waiting : int
    notice : callable
        Makes the record of a loss, from how many were lost, since when.
    first_pause_s : float
    """

    def __init__(
        self,
        sink: Sink,
        most_waiting: int,
        notice: Callable[[int, datetime], AuditMessage],
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._sink = sink
        self._most = most_waiting
        self._notice = notice
        self._first_pause_s = first_pause_s
        self._waiting: deque[AuditMessage] = deque()
        self._lost = 0
        self._lost_since = datetime.now(UTC)
        self._fails = False
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def put(self, message: AuditMessage) -> None:
        """Hand a record over."""
        with self._changed:
            if len(self._waiting) >= self._most:
                self._lose(message)
            else:
                self._waiting.append(message)
                self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Write what waits, as far as the sink takes it."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        with self._changed:
            left = len(self._waiting) + self._lost
        if left:
            log.error("%d audit records for %s are lost", left, self._sink.name)

    def _run(self) -> None:
        pause_s = self._first_pause_s
        while (message := self._next()) is not None:
            try:
                self._sink.write(message)
            except Exception as error:  # whatever it is, it must not end the trail
                self._say_that_it_fails(error)
                if isinstance(error, OSError) and error.errno == errno.EMSGSIZE:
                    self._done(lost=message)  # no other try would do better
                elif self._closing:
                    break
                else:
                    self._pause(pause_s)  # ends early for one last try
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                pause_s = self._first_pause_s
                self._done()
        self._sink.close()

    def _next(self) -> AuditMessage | None:
        """The record that is to be written now, None at the end."""
        with self._changed:
            if self._waiting:
                return self._waiting[0]
        self._sink.settle()
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting[0] if self._waiting else None

    def _done(self, lost: AuditMessage | None = None) -> None:
        with self._changed:
            self._waiting.popleft()
            if lost is not None:
                self._lose(lost)
                return
            if self._fails:
                log.warning("audit records go to %s again", self._sink.name)
                self._fails = False
            if self._lost:
                self._waiting.append(self._notice(self._lost, self._lost_since))
                self._lost = 0

    def _lose(self, message: AuditMessage) -> None:
        if not self._lost:
            self._lost_since = message.at
        self._lost += 1

    def _pause(self, pause_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, pause_s)

    def _say_that_it_fails(self, error: Exception) -> None:
        if not self._fails:
            self._fails = True
            log.error(
                "audit records cannot go to %s: %s; they wait, %d at most",
                self._sink.name,
                first_line(error),
                self._most,
            )


class Auditor:
    """Records what the standard wants recorded (PS3.15, A.5); as a context, start and stop too.

    Parameters
    ----------
    process : Process
        Who reports.
    channels : sequence of Channel
        Where to; none at all is a trail that is off.
    patient : Patient
        What a record says of the patient.
    """

    def __init__(
        self, process: Process, channels: Sequence[Channel] = (), patient: Patient = Patient.ID
    ) -> None:
        self._process = process
        self._channels = channels
        self._patient = patient

    @classmethod
    def open(cls, settings: Settings, part: str) -> "Auditor":
        """Begin the trail of a part of the node.

        Parameters
        ----------
        settings : Settings
        part : str
            receive, analyze, deliver or web.

        Raises
        ------
        ConfigError
            If certificates are configured that cannot be used. A file or a server that
            does not answer is none: records wait for it.
        """
        audit = settings.audit
        process = Process(part, settings.dicom.ae_title, socket.gethostname(), os.getpid())
        sinks: list[Sink] = []
        if audit.file != NOWHERE:
            sinks.append(
                FileSink(
                    settings.home / Path(audit.file).expanduser(),
                    int(audit.rotate_mb * MEGABYTE),
                    timedelta(days=audit.rotate_days),
                )
            )
        if audit.syslog != NOWHERE:
            facility = SysLogHandler.facility_names[audit.facility]
            context = tls_context(audit) if audit.syslog.startswith("tls:") else None
            sinks.append(SyslogSink(audit.syslog, facility, process, context))

        def notice(lost: int, since: datetime) -> AuditMessage:
            description = f"{lost} audit records were lost since {since.isoformat()}"
            return events.security_alert(process, _now(), Alert.RECORDS_LOST, description)

        channels = [Channel(sink, audit.max_waiting, notice) for sink in sinks]
        return cls(process, channels, audit.patient)

    @classmethod
    def silent(cls) -> "Auditor":
        """A trail that is off."""
        return cls(Process("", "", "", 0))

    def __enter__(self) -> "Auditor":
        self._put([events.application_activity(self._process, _now(), starts=True)])
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._put([events.application_activity(self._process, _now(), starts=False)])
        self.close()

    def close(self) -> None:
        """Write what waits, as far as that goes quickly."""
        end = time.monotonic() + CLOSING_S
        for channel in self._channels:
            channel.close(max(end - time.monotonic(), 0))

    def instances_received(self, sender: Peer, tally: Tally) -> None:
        """An association has brought instances.

        Parameters
        ----------
        sender : Peer
        tally : Tally
        """
        shown = self._shown_tally(tally)
        self._put(events.instances_received(self._process, _now(), sender, shown))

    def instances_sent(
        self, destination: Destination, stored: Sequence[Path], failed: Sequence[Path] = ()
    ) -> None:
        """An association with a destination has ended.

        Parameters
        ----------
        destination : Destination
        stored, failed : sequence of pathlib.Path
            The files that it took, and those that it refused or did not answer for.
        """
        receiver = Peer(destination.name, destination.ae_title or "", destination.address[0])
        shown = self._shown_tally(Tally.of_sent(stored, failed))
        self._put(events.instances_sent(self._process, _now(), receiver, shown))

    def queried(self, source: Peer, sop_class: str, keys: Mapping[str, str]) -> None:
        """A source is asked what it has.

        Parameters
        ----------
        source : Peer
        sop_class : str
            UID of the query model.
        keys : mapping of str to str
            Keywords of attributes, and the values that are asked for.
        """
        hidden = () if self._patient is Patient.ID else ("AccessionNumber",)
        shown = {keyword: value for keyword, value in keys.items() if keyword not in hidden}
        self._put([events.queried(self._process, _now(), source, sop_class, shown)])

    def series_judged(
        self, headers: Sequence[Dataset], series_instance_uid: str, revision: int, model: "Model"
    ) -> None:
        """A model has judged a series, and the results are recorded.

        Parameters
        ----------
        headers : sequence of pydicom.Dataset
            Of the instances that were judged.
        series_instance_uid : str
        revision : int
        model : Model
        """
        instances = Counter(str(header.get("SOPClassUID", "")) for header in headers)
        study = self._shown(Study.of(headers[0] if headers else Dataset()))
        judged = events.series_judged(
            self._process, _now(), study, series_instance_uid, revision, instances, model
        )
        self._put([judged])

    def series_seen(self, person: Person, study: Study, series_instance_uid: str) -> None:
        """Somebody has looked at a series on the web page."""
        shown = self._shown(study)
        self._put([events.series_seen(self._process, _now(), person, shown, series_instance_uid)])

    def series_begun_again(self, person: Person, study: Study, series_instance_uid: str) -> None:
        """Somebody has asked to judge a series again, or to send its results again."""
        shown = self._shown(study)
        self._put(
            [events.series_begun_again(self._process, _now(), person, shown, series_instance_uid)]
        )

    def series_read(
        self, person: Person, study: Study, series_instance_uid: str | None, source: str
    ) -> None:
        """A reader's label was entered; without a series, of every one of the study."""
        shown = self._shown(study)
        self._put(
            [events.series_read(self._process, _now(), person, shown, series_instance_uid, source)]
        )

    def study_told(self, rule: NotifyRule, study: Study, *, succeeded: bool) -> None:
        """Somebody was told of a study, or should have been.

        Parameters
        ----------
        rule : NotifyRule
        study : Study
        succeeded : bool
            Whether it was taken.
        """
        url, is_mail = urlsplit(rule.to), rule.way is Way.MAIL
        # The rest of a webhook's address may be its secret.
        to = rule.to if is_mail else f"{url.scheme}://{url.netloc}"
        receiver = Peer(rule.name, "", url.hostname or "")
        medium = Medium.EMAIL if is_mail else Medium.URI
        told = events.data_exported(
            self._process, _now(), receiver, medium, to, self._shown(study), succeeded=succeeded
        )
        self._put([told])

    def user_authenticated(
        self, person: Person, what: Authentication, *, succeeded: bool = True
    ) -> None:
        """Somebody has logged in or out, or has tried to."""
        self._put(
            [events.user_authenticated(self._process, _now(), person, what, succeeded=succeeded)]
        )

    def security_alert(
        self,
        alert: Alert,
        description: str,
        peer: Peer | None = None,
        resource: Path | None = None,
    ) -> None:
        """Something was refused or has gone wrong that a security officer should see.

        Parameters
        ----------
        alert : Alert
        description : str
            For people; nothing out of a dataset.
        peer : Peer, optional
            Who did it.
        resource : pathlib.Path, optional
            What was put aside.
        """
        message = events.security_alert(self._process, _now(), alert, description, peer, resource)
        self._put([message])

    def _shown(self, study: Study) -> Study:
        return study if self._patient is Patient.ID else study.without_identity()

    def _shown_tally(self, tally: Tally) -> Tally:
        shown = Tally()
        for (study, action, outcome), instances in tally.counts.items():
            key = (self._shown(study), action, outcome)
            shown.counts[key] = shown.counts.get(key, Counter()) + instances
        return shown

    def _put(self, messages: Iterable[AuditMessage]) -> None:
        if self._channels:
            for message in messages:
                for channel in self._channels:
                    channel.put(message)


def _now() -> datetime:
    return datetime.now(UTC)
