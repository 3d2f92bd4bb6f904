"""What a source sends over the association that asks: within limits, images kept at once."""

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from node.dicom import Status, send_without_delay
from node.errors import NotFetchedError, NotStoredError, RefusedInstance
from node.fetch.source import FoundSeries
from node.intake import Batch, file_content
from node.listener.limits import SLOWEST_RATE
from node.reading import Identity, check_command
from node.requestor import SharedConnection, in_pieces


class Taking:
    """Takes what comes back by C-GET.

    Parameters
    ----------
    found : FoundSeries
        What was asked for.
    batch : Batch
    progress : callable
    """

    def __init__(self, found: FoundSeries, batch: Batch, progress: Callable[[int], None]) -> None:
        self._found = found
        self._batch = batch
        self._progress = progress
        self._stopped: BaseException | None = None
        self.taken = 0
        self.refused = 0

    def handle_store(self, event: evt.Event) -> int:
        """Answer a C-STORE request once the image is on the disk: EVT_C_STORE."""
        if self._stopped is not None:
            return Status.OUT_OF_RESOURCES
        request: Any = event.request
        named = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)

        def check(identity: Identity) -> None:
            check_command(identity, *named, str(event.context.abstract_syntax))
            asked = self._found.study_instance_uid, self._found.series_instance_uid
            if (identity.study, identity.series) != asked:
                raise RefusedInstance(
                    "it is of another series than the one that was asked for",
                    Status.DOES_NOT_MATCH_SOP_CLASS,
                )

        try:
            syntax = str(event.context.transfer_syntax)
            content = file_content(*named, syntax, request.DataSet.getbuffer())
            self._batch.take(content, check)
            self.taken += 1
            self._progress(self.taken)
        except RefusedInstance as refusal:
            self.refused += 1
            return refusal.status
        except NotStoredError as error:
            return self._stop(event, NotFetchedError(str(error)))
        except Exception as error:  # pynetdicom would answer and go on
            return self._stop(event, error)
        return Status.SUCCESS

    def _stop(self, event: evt.Event, error: Exception) -> int:
        """End the fetch: the next image would fare no better."""
        self._stopped = error
        messages: Any = event.assoc.dimse
        messages.give_up("is stopped")
        return Status.OUT_OF_RESOURCES

    def raise_if_stopped(self) -> None:
        """Raise what has ended the fetch."""
        if self._stopped is not None:
            raise self._stopped


@dataclass(frozen=True)
class Limits:
    """What a peer may send.

    Parameters
    ----------
    longest : int
        Of a message, bytes.
    too_long : str
        What is said of a longer one.
    most : int
        Messages that may wait.
    """

    longest: int
    too_long: str
    most: int


def bound(event: evt.Event, timeout_s: float, limits: Limits) -> None:
    """Take within limits what a peer sends, and answer it at once: a handler of EVT_CONN_OPEN.

    Parameters
    ----------
    event : pynetdicom.events.Event
    timeout_s : float
        For a peer that does not read, or stops within a PDU.
    limits : Limits
    """
    send_without_delay(event)
    association = event.assoc
    made = association.dul.socket
    assert made is not None
    messages = Bounded(association, limits)
    association.dul.socket = _Connection(made, timeout_s, messages)
    association.dul._run_loop_delay = 0.0  # the connection waits instead
    association.dimse = messages


class _Connection(SharedConnection):
    """Reads what comes in large pieces.

    Parameters
    ----------
    made : AssociationSocket
        What pynetdicom has made; this takes its place.
    timeout_s : float
    messages : Bounded
        They say how much may come.
    """

    def __init__(self, made: AssociationSocket, timeout_s: float, messages: "Bounded") -> None:
        super().__init__(made, timeout_s)
        self._timeout_s = timeout_s
        self._messages = messages

    def recv(self, nr_bytes: int) -> bytearray:
        """Read that many bytes; fewer if the peer closes the connection.

        Raises
        ------
        OSError
            If they are too many, or do not come.
        """
        self._messages.check(nr_bytes)
        connection = self.socket
        if connection is None:
            raise OSError("the connection is closed")
        room, got = bytearray(nr_bytes), 0
        view = memoryview(room)
        until = time.monotonic() + self._timeout_s + nr_bytes / SLOWEST_RATE
        with self._lock:
            while got < nr_bytes:
                if time.monotonic() > until:
                    raise TimeoutError(f"{got} of {nr_bytes} bytes came in time")
                some = connection.recv_into(view[got:])
                if not some:
                    break
                got += some
        view.release()
        del room[got:]
        return room


class Bounded(DIMSEServiceProvider):
    """Gathers messages of a peer within limits.

    Parameters
    ----------
    association : Association
    limits : Limits
    """

    def __init__(self, association: Association, limits: Limits) -> None:
        super().__init__(association)
        self._limits = limits
        self._length = 0
        self._heard_at = 0.0
        self.trouble: str | None = None
        """Why no more is taken; None while all is well, and where the peer has ended it."""

    def get_msg(self, block: bool = False) -> Any:
        """Wait for a message, as long as something of it comes.

        The association's loop, which does not wait, gets none.
        """
        if not block:
            return None, None
        timeout_s = self.dimse_timeout
        assert timeout_s is not None
        asked_at = time.monotonic()
        until = asked_at + timeout_s
        while True:
            try:
                return self.msg_queue.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                # What comes bit by bit takes its time; what only drips is not waited for.
                slowest = asked_at + timeout_s + self._length / SLOWEST_RATE
                heard_until = min(max(asked_at, self._heard_at) + timeout_s, slowest)
            if heard_until <= until:
                self.trouble = f"says nothing for {timeout_s:g} s"
                return None, None
            until = heard_until

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of a PDU, unless there are too many."""
        if self.message is None:
            self._length = 0
        self._length += sum(len(value) for _, value in primitive.presentation_data_value_list)
        self._heard_at = time.monotonic()
        if self._length > self._limits.longest:
            self.give_up(self._limits.too_long)
        elif self.msg_queue.qsize() > self._limits.most:
            self.give_up("does not wait for answers")
        if self.trouble is None:
            super().receive_primitive(primitive)

    def check(self, count: int) -> None:
        """See that so many bytes of a PDU may be read.

        Raises
        ------
        OSError
            If they are too many.
        """
        if count > self._limits.longest:
            self.give_up(self._limits.too_long)
            raise OSError(f"a PDU of {count} bytes")

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message; the answer to an image at once, by the thread that has stored it."""
        connection = self.dul.socket
        if not isinstance(primitive, C_STORE) or not isinstance(connection, SharedConnection):
            super().send_msg(primitive, context_id)
            return
        answer = C_STORE_RSP()
        answer.primitive_to_message(primitive)
        connection.write(in_pieces(answer.encode_msg(context_id, self.maximum_pdu_size)))

    def give_up(self, trouble: str) -> None:
        """Take no more: who waits for a message gets none, and so aborts the association."""
        self.trouble = self.trouble or trouble
        self.message = None
        self.msg_queue.put((None, None))
