"""Reads ledger, results and spool for the pages and for the JSON, and presses the buttons."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ml.errors import IchnodeError, PixelError
from node.drift import DriftLook
from node.errors import ConfigError
from node.ledger import (
    DAY_S,
    DeliveryState,
    Ledger,
    Result,
    Revision,
    Shadow,
    State,
    open_ledger,
)
from node.metrics import Metrics
from node.routing import begin_again
from node.settings import Settings
from node.spool import Spool, is_uid
from node.vitals import Background, Echo, Vitals, look
from node.web import values
from node.web.document import courses_of, model_of, read_document, slices_of
from node.web.drift import drift_values
from node.web.paging import View, write_place
from node.web.patient import Patient, read_patient
from node.web.pictures import png
from node.web.values import LABELS

CAPTURE, EVIDENCE = "sc", "map"
"""Kinds of results that are pictures, as `node.report.Kind`, which would take long to import."""

SEARCHED = 500
"""Series whose headers are read for a patient's ID: the ledger names no patients."""

_AGAIN = (State.FAILED, State.SKIPPED, State.REPORTED)
"""States out of which something can be begun again with."""

_REOPEN_S = 2.0
"""A ledger that is away is not asked for more often, seconds."""


class LedgerAway(IchnodeError):
    """The ledger cannot be asked."""


class NotThere(IchnodeError):
    """Nothing of that name or number is there."""


class Desk:
    """What can be asked of a node, and asked for.

    Parameters
    ----------
    settings : Settings
    background : Background
        Looks meanwhile at what takes long.
    """

    def __init__(self, settings: Settings, background: Background) -> None:
        self.settings = settings
        self.background = background
        self.spool = Spool(settings.home)
        self._ledger: Ledger | None = None
        self._metrics: Metrics | None = None
        self._drift: DriftLook | None = None
        self._opened_at = -_REOPEN_S
        self._opening = threading.Lock()
        self._calling: dict[str, threading.Lock] = defaultdict(threading.Lock)

    @property
    def ledger(self) -> Ledger:
        """The ledger; opened when it is needed first.

        Raises
        ------
        LedgerAway
            If it cannot be opened.
        """
        with self._opening:
            if self._ledger is None:
                if time.monotonic() - self._opened_at < _REOPEN_S:
                    raise LedgerAway("the ledger cannot be opened; it is tried again")
                self._opened_at = time.monotonic()
                try:
                    self._ledger = open_ledger(self.settings.ledger_url)
                except ConfigError as error:
                    raise LedgerAway(str(error)) from error
            return self._ledger

    # -- worklists -------------------------------------------------------------

    def worklist(self, view: View, limit: int) -> tuple[values.Worklist, dict[int, Patient]]:
        """A page of a worklist, and whose series these are where that may be shown."""
        page = self.ledger.page(view.selection(), view.after, limit)
        rows, patients = self.rows(page.revisions)
        after = None if page.next is None else write_place(page.next)
        return values.Worklist(series=rows, next=after, tallies=self.tallies()), patients

    def tallies(self) -> values.Tallies:
        """How many series there are that somebody looks after."""
        standing = self.ledger.standing()
        moving = (State.RECEIVING, State.READY, State.ANALYZING)
        return values.Tallies(
            flagged=self.ledger.flagged_since(self.ledger.clock() - DAY_S),
            under_way=sum(standing[state].revisions for state in moving),
            waiting=standing[State.REPORTED].revisions,
            failed=standing[State.FAILED].revisions,
        )

    def rows(
        self, revisions: Sequence[Revision]
    ) -> tuple[tuple[values.Row, ...], dict[int, Patient]]:
        """Revisions as rows, and by their ids whose they are where that may be shown."""
        firsts = self.ledger.first_instances(revisions) if revisions else {}
        rows = tuple(
            values.Row(**_row(revision, firsts[revision.id].sender if firsts else None))
            for revision in revisions
        )
        if not self.settings.web.show_patient:
            return rows, {}
        return rows, {id: read_patient(self.spool.path(first.path)) for id, first in firsts.items()}

    def find(self, text: str) -> list[Revision]:
        """Revisions of a study, a series or an image; of a patient where that may be shown."""
        text = text.strip()
        found = self.find_uid(text)
        if not found and text and self.settings.web.show_patient:
            recent = self.ledger.recent(SEARCHED)
            firsts = self.ledger.first_instances(recent)
            found = [
                revision
                for revision in recent
                if read_patient(self.spool.path(firsts[revision.id].path)).is_called(text)
            ]
        return found

    def find_uid(self, uid: str) -> list[Revision]:
        """Revisions of a study, a series or an image."""
        if not is_uid(uid):
            return []
        return self.ledger.find(uid) or self.ledger.series_of_instance(uid)

    # -- one series --------------------------------------------------------------

    def revision(self, id: int) -> Revision:
        """The revision of that id.

        Raises
        ------
        NotThere
            If there is none.
        """
        revision = self.ledger.revision(id)
        if revision is None:
            raise NotThere("no such series in the ledger")
        return revision

    def series(self, revision: Revision) -> tuple[values.Series, Patient]:
        """A revision with all that is known of it, and whose it is where that may be shown."""
        (row,), patients = self.rows([revision])
        results = self.ledger.results(revision)
        document = self._document(revision) if results else {}
        slices = slices_of(document)
        return (
            values.Series(
                **row.model_dump(),
                history=tuple(
                    values.Step(state=event.state, at=event.at, detail=event.detail)
                    for event in self.ledger.history(revision)
                ),
                model=model_of(document),
                slices=slices,
                courses=courses_of(document, slices),
                results=dict(Counter(result.kind for result in results)),
                pictures=bool(slices) and self._has_pictures(results, len(slices)),
                evidence=tuple(
                    _number_of(result)
                    for result in results
                    if result.kind == EVIDENCE and self._is_there(result)
                ),
                deliveries=self._deliveries(revision),
                told=tuple(
                    values.Told(
                        rule=item.rule,
                        state=item.event.state,
                        at=item.event.at,
                        notification=item.state,
                        detail=item.detail,
                    )
                    for item in self.ledger.notifications(revision)
                ),
                readings=tuple(
                    values.Reading(
                        series_instance_uid=said.series_instance_uid,
                        source=said.source,
                        reader=said.reader,
                        said_at=datetime.fromtimestamp(said.said_at, UTC),
                        findings=dict(said.findings),
                        remark=said.remark,
                    )
                    for said in self.ledger.readings(
                        revision.study_instance_uid, revision.series_instance_uid
                    )
                ),
                revisions={
                    sibling.number: sibling.id for sibling in self.ledger.siblings(revision)
                },
                shadow=_shadow(self.ledger.shadow_of(revision.id)),
            ),
            patients.get(revision.id, Patient()),
        )

    def _document(self, revision: Revision) -> dict[str, Any]:
        """What the node wrote beside the results of a revision."""
        return read_document(
            self.spool.results_folder(
                revision.study_instance_uid, revision.series_instance_uid, revision.number
            )
        )

    def _deliveries(self, revision: Revision) -> tuple[values.Delivery, ...]:
        by_destination = defaultdict(list)
        for delivery in self.ledger.deliveries(revision):
            by_destination[delivery.destination].append(delivery)
        found = []
        for name, deliveries in by_destination.items():
            states = Counter(delivery.state for delivery in deliveries)
            tries = [d.next_try_at for d in deliveries if d.next_try_at is not None]
            found.append(
                values.Delivery(
                    destination=name,
                    pending=states[DeliveryState.PENDING],
                    sent=states[DeliveryState.SENT] + states[DeliveryState.CREATED],
                    committed=states[DeliveryState.COMMITTED],
                    failed=states[DeliveryState.FAILED],
                    attempts=max(delivery.attempts for delivery in deliveries),
                    next_try_at=min(tries, default=None),
                    detail=next((d.detail for d in deliveries if d.detail), None),
                )
            )
        return tuple(found)

    # -- pictures ----------------------------------------------------------------

    def picture(self, revision: Revision, number: int) -> bytes:
        """A capture as PNG.

        Parameters
        ----------
        revision : Revision
        number : int
            Of the slice, from 1 at the foot; 0 for the summary.

        Raises
        ------
        NotThere
            If there is none, or not any more.
        """
        captures = [r for r in self.ledger.results(revision) if r.kind == CAPTURE]
        if len(captures) == 1:  # one object with a frame for each
            return self._png(captures[0], self._frame(revision, number))
        for capture in captures:
            if _number_of(capture) == number:
                return self._png(capture, 0)
        raise NotThere("there is no such picture")

    def evidence(self, revision: Revision, number: int) -> bytes:
        """A map of where the evidence on a slice lies, as PNG.

        Raises
        ------
        NotThere
            If there is none, or not any more.
        """
        for result in self.ledger.results(revision):
            if result.kind == EVIDENCE and _number_of(result) == number:
                return self._png(result, 0)
        raise NotThere("there is no such map")

    def _png(self, result: Result, frame: int) -> bytes:
        try:
            return png(self.spool.results / result.path, frame)
        except (OSError, PixelError) as error:
            raise NotThere("the picture is not there any more") from error

    def _frame(self, revision: Revision, number: int) -> int:
        """Which frame shows a slice: they lie in the order of the source's numbers."""
        if number == 0:
            return 0
        numbers = self._document(revision).get("capture_numbers", [])
        try:
            return 1 + sorted(numbers).index(numbers[number - 1])
        except (TypeError, LookupError, ValueError):
            return number

    def _has_pictures(self, results: Sequence[Result], slices: int) -> bool:
        captures = [result for result in results if result.kind == CAPTURE]
        enough = len(captures) in (1, 1 + slices)
        return enough and all(self._is_there(capture) for capture in islice(captures, 2))

    def _is_there(self, result: Result) -> bool:
        return (self.spool.results / result.path).is_file()

    # -- buttons -----------------------------------------------------------------

    def retry(self, revision: Revision) -> bool:
        """Begin again with what has failed, was skipped, or was not delivered."""
        return begin_again(revision, self.ledger, self.spool, self.settings)

    def resend(self, destination: str) -> list[Revision]:
        """Send again all that was given up for a destination.

        Raises
        ------
        NotThere
            If there is no such destination.
        """
        if self.settings.destination(destination) is None:
            raise NotThere("no such destination in the configuration")
        return [r for r in self.ledger.dead_letters(destination) if self.retry(r)]

    def echo(self, destination: str) -> Echo:
        """Send a C-ECHO to a destination, one at a time.

        Raises
        ------
        NotThere
            If there is no such destination.
        """
        peer = self.settings.destination(destination)
        if peer is None:
            raise NotThere("no such destination in the configuration")
        with self._calling[destination]:
            return self.background.echo(peer)

    # -- the node ----------------------------------------------------------------

    def vitals(self) -> Vitals:
        """How the node is."""
        return look(self.settings, self.ledger, self.background)

    def drift(self) -> values.Drift:
        """What has changed, and how far two models agree."""
        ledger = self.ledger
        with self._opening:
            if self._drift is None:
                self._drift = DriftLook(self.settings, ledger)
        return drift_values(self._drift.look(), ledger, self.settings.drift)

    def metrics(self) -> bytes:
        """What Prometheus is told."""
        ledger = self.ledger
        with self._opening:
            if self._metrics is None:
                self._metrics = Metrics(self.settings, ledger, self.background)
        return self._metrics.exposition()


def _row(revision: Revision, sender: str | None) -> dict[str, Any]:
    return {
        "id": revision.id,
        "study_instance_uid": revision.study_instance_uid,
        "series_instance_uid": revision.series_instance_uid,
        "revision": revision.number,
        "state": revision.state,
        "reason": revision.reason,
        "detail": revision.detail,
        "warnings": revision.warnings,
        "images": revision.instances,
        "sender": sender,
        "findings": _findings(revision.maxima, revision.flagged),
        "flagged": bool(revision.flagged),
        "priority": revision.priority.rule,
        "updated_at": revision.updated_at,
        "can_retry": revision.state in _AGAIN,
    }


def _findings(
    maxima: Mapping[str, float] | None, flagged: Collection[str]
) -> tuple[values.Finding, ...]:
    """Highest probabilities and what is flagged, any first."""
    return tuple(
        values.Finding(label=label, probability=maxima[label], flagged=label in flagged)
        for label in LABELS
        if maxima and label in maxima
    )


def _shadow(found: Shadow | None) -> values.Shadow | None:
    if found is None:
        return None
    judge = found.judge
    return values.Shadow(
        state=found.state,
        detail=found.detail,
        model=None
        if judge is None
        else values.Model(name=judge.name, version=judge.version, digest=judge.digest),
        operating_point=None if judge is None else judge.operating_point or None,
        findings=_findings(found.maxima, found.flagged),
        compared_with=_findings(found.primary_maxima, found.primary_flagged),
    )


def _number_of(result: Result) -> int:
    """The slice that a picture is of, as its file says: `sc-007.dcm`, `map-012.dcm`."""
    _, _, number = Path(result.path).stem.partition("-")
    return int(number) if number.isdigit() else 0
