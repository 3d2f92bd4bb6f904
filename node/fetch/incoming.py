"""What a source sends over the association that asks: within limits, images kept at once."""

import queue
import time
from collections.abc import Callable
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA

from node.dicom import Status
from node.errors import NotFetchedError, NotStoredError, RefusedInstance
from node.fetch.source import FoundSeries
from node.intake import Batch, file_content
from node.listener.limits import SLOWEST_RATE
from node.reading import Identity, check_command


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


class Bounded(DIMSEServiceProvider):
    """Gathers messages of a peer within limits.

    Parameters
    ----------
    association : Association
    longest : int
        Of a message, bytes.
    too_long : str
        What is said of a longer one.
    most : int
        Messages that may wait.
    """

    def __init__(self, association: Association, longest: int, too_long: str, most: int) -> None:
        super().__init__(association)
        self._longest = longest
        self._too_long = too_long
        self._most = most
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
        if self._length > self._longest:
            self.give_up(self._too_long)
        elif self.msg_queue.qsize() > self._most:
            self.give_up("does not wait for answers")
        if self.trouble is None:
            super().receive_primitive(primitive)

    def give_up(self, trouble: str) -> None:
        """Take no more: who waits for a message gets none, and so aborts the association."""
        self.trouble = self.trouble or trouble
        self.message = None
        self.msg_queue.put((None, None))
