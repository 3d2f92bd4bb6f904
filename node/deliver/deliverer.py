"""Who is sent what, and when again: one destination at a time."""

import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pydicom
import pydicom.filereader
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.audit import Auditor
from node.deliver.association import BrokenOffError, NotTakenError, Sender
from node.deliver.stow import StowSender
from node.deliver.upsrs import create_on_web
from node.errors import DeliveryError
from node.lease import staying_alive
from node.ledger import Delivery, Hold, Ledger
from node.logs import about
from node.pauses import pause_after
from node.settings import Destination, Kind, Settings
from node.spool import Spool

log = logging.getLogger(__name__)


LEASE_S = 15.0
"""A sender that was silent for this long is taken for dead, seconds."""

MOST_AT_ONCE = 200
"""Objects that go over one association at most."""

NOTED_TOGETHER = 20
"""Objects that are stored are noted in the ledger at once, so many at most."""

NOTED_AFTER_S = 1.0
"""With the first object that is stored after this time all are noted, seconds."""


class Deliverer:
    """Sends results, one destination at a time.

    Parameters
    ----------
    ledger : Ledger
    spool : Spool
    settings : Settings
    auditor : Auditor
    """

    def __init__(self, ledger: Ledger, spool: Spool, settings: Settings, auditor: Auditor) -> None:
        self.ledger = ledger
        self.spool = spool
        self.settings = settings
        self.auditor = auditor

    def deliver(self, destination: str) -> int:
        """Send all that is due to a destination, unless another sender does.

        An object that the peer refuses, or ends the association for, waits for its own time;
        a peer that is ill rests as a whole, and nothing else waits for it.

        Returns
        -------
        int
            How many objects the destination has stored.
        """
        hold = self.ledger.hold(destination, LEASE_S)
        if hold is None:
            return 0
        stored = 0
        try:
            with staying_alive(partial(self.ledger.extend_hold, hold, LEASE_S), LEASE_S):
                for _ in self._send_what_is_due(destination):
                    stored += 1
        except DeliveryError as error:
            log.warning("delivery to %s has to wait: %s", destination, error)
            # What was stored just now says that the peer was well until then.
            self._rest(replace(hold, failures=0) if stored else hold, error)
        else:
            self.ledger.let_go(hold)
        return stored

    def _send_what_is_due(self, destination: str) -> Iterator[Delivery]:
        peer = self.settings.destination(destination)
        has_broken_off = False
        while deliveries := self.ledger.due_deliveries(destination, MOST_AT_ONCE):
            if peer is None:
                for delivery in deliveries:
                    self.ledger.give_up(delivery, "no such destination in the configuration")
                continue
            there = self._with_file(self._not_replaced(deliveries))
            try:
                for delivery in self._send(there, peer) if there else ():
                    has_broken_off = False
                    yield delivery
            except BrokenOffError:
                if has_broken_off:
                    raise  # twice in a row: it is not for the sake of one object
                has_broken_off = True

    def _send(self, deliveries: Sequence[Delivery], peer: Destination) -> Iterator[Delivery]:
        """Send objects over one association; gives those that were stored.

        Raises
        ------
        DeliveryError
            If the peer is ill: what was not settled by then stays due.
        """
        stored: list[Path] = []
        failed: list[Path] = []
        try:
            with self._sender(deliveries, peer) as sender, _Noting(self.ledger) as noting:
                for delivery in deliveries:
                    path = self.spool.results / delivery.result.path
                    failed.append(path)  # until it is known to be stored
                    try:
                        remark = self._send_one(sender, delivery, peer)
                    except NotTakenError as refusal:
                        self._try_again(delivery, str(refusal))
                        if refusal.is_out_of_resources:  # the next would fare no better
                            # Without what the peer says in words: that is logged.
                            raise DeliveryError(f"{peer.where} is out of resources") from refusal
                    except BrokenOffError as error:
                        self._try_again(delivery, str(error))  # others go before it
                        raise
                    except DeliveryError:
                        raise
                    except Exception as error:  # what reads a damaged file raises what it likes
                        what = f"{path.name} cannot be sent ({type(error).__name__})"
                        self._try_again(delivery, what)
                    else:
                        noting.add(delivery, remark)
                        stored.append(failed.pop())
                        yield delivery
        except DeliveryError as error:
            failed.extend(error.unanswered)
            raise
        finally:
            if stored or failed:
                self.auditor.instances_sent(peer, stored, failed)

    def _send_one(
        self, sender: Sender | StowSender, delivery: Delivery, peer: Destination
    ) -> str | None:
        path = self.spool.results / delivery.result.path
        if peer.is_web and delivery.result.kind == Kind.WORKITEM:
            return create_on_web(peer, path, self.settings.deliver)
        return sender.send(path)

    def _sender(self, deliveries: Sequence[Delivery], peer: Destination) -> Sender | StowSender:
        """How a destination is sent to."""
        title, rules = self.settings.dicom.ae_title, self.settings.deliver
        if peer.is_web:
            stored = [d for d in deliveries if d.result.kind != Kind.WORKITEM]
            return StowSender(peer, [self.spool.results / d.result.path for d in stored], rules)
        syntaxes = _syntaxes(deliveries, self.spool)
        return Sender(title, peer, _classes(deliveries), rules, syntaxes)

    def _not_replaced(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those but for workitems in whose place there is a later one."""
        there = []
        for delivery in deliveries:
            if delivery.result.kind == Kind.WORKITEM and self.ledger.is_replaced(delivery):
                self.ledger.withdraw(delivery, "not created: that of a later revision is there")
            else:
                there.append(delivery)
        return there

    def _with_file(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those whose file is there; results of which one is gone are made again."""
        results = self.spool.results
        gone = {d.revision_id for d in deliveries if not (results / d.result.path).is_file()}
        for revision_id in gone:
            log.error("a result of revision %d is gone from the disk: made again", revision_id)
            if not self.ledger.make_again(revision_id, "a result is gone from the disk"):
                for delivery in deliveries:
                    if delivery.revision_id == revision_id:
                        self.ledger.give_up(delivery, "its file is gone")
        return [delivery for delivery in deliveries if delivery.revision_id not in gone]

    def _try_again(self, delivery: Delivery, why: str) -> None:
        rules, now = self.settings.deliver, self.ledger.clock()
        first = delivery.first_tried_at
        if first is not None and now - first.timestamp() > rules.give_up_h * 3600:
            self.ledger.give_up(delivery, why)
        else:
            pause = pause_after(delivery.attempts + 1, rules, random.random())
            self.ledger.try_again(delivery, now + pause, why)

    def _rest(self, hold: Hold, error: DeliveryError) -> None:
        rules, now, why = self.settings.deliver, self.ledger.clock(), str(error)
        pause = pause_after(hold.failures + 1, rules, random.random())
        self.ledger.rest(hold, now + max(pause, min(error.after_s, rules.longest_pause_s)), why)
        since = now - rules.give_up_h * 3600
        if lost := self.ledger.give_up_older(hold.destination, since, why):
            log.error(
                "%d objects for %s are given up: `ichnode retry` sends them again",
                lost,
                hold.destination,
            )


class _Noting:
    """Notes in the ledger what a destination has stored, some at a time: each time costs a sync.

    As a context; what was added is noted when it ends, however it ends. What a crash keeps
    from being noted goes again, under the same UID.

    Parameters
    ----------
    ledger : Ledger
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[Delivery, str | None]] = []
        self._last = time.monotonic()

    def __enter__(self) -> "_Noting":
        return self

    def __exit__(self, *_: object) -> None:
        self._note()

    def add(self, delivery: Delivery, remark: str | None) -> None:
        """Add an object that is stored."""
        self._waiting.append((delivery, remark))
        is_late = time.monotonic() - self._last >= NOTED_AFTER_S
        if is_late or len(self._waiting) >= NOTED_TOGETHER:
            self._note()

    def _note(self) -> None:
        delivered = self._ledger.sent(self._waiting) if self._waiting else []
        self._waiting.clear()
        self._last = time.monotonic()
        for revision_id in delivered:
            if (revision := self._ledger.revision(revision_id)) is not None:
                with about(revision):
                    log.info("series %s is delivered", revision.series_instance_uid)


def _classes(deliveries: Sequence[Delivery]) -> list[str]:
    return sorted({delivery.result.sop_class_uid for delivery in deliveries})


def _syntaxes(deliveries: Sequence[Delivery], spool: Spool) -> list[str]:
    """Transfer syntaxes to propose: those of the files, and those that every peer knows."""
    found = {str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)}
    for delivery in deliveries:
        with suppress(Exception):  # a damaged file: it is said when it is to be sent
            meta = pydicom.filereader.read_file_meta_info(spool.results / delivery.result.path)
            found.add(str(meta.TransferSyntaxUID))
    return sorted(found)
