"""One store request: its instances on the disk and in the ledger, one after the other.

Of a request no more than one instance is in memory at a time. It is given to the same
`Intake` as one by C-STORE, and lies on the disk in the same bytes.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from node.audit import Peer
from node.dicom import Status
from node.errors import NotStoredError, RefusedInstance
from node.intake import STORAGE_CLASSES, Batch, Intake, file_content
from node.ledger import Way
from node.listener import Memory
from node.multipart import End, Headers, MalformedError, Multipart, Piece
from node.part10 import Part10, take_apart
from node.reading import Identity, check_command
from node.stow.answer import Answer, Reason, Reference
from node.stow.media import is_dicom

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_PARTS = 20_000
"""Of one request: a study has some thousand images."""

_HEAD = 4 * 1024
"""Bytes that are kept of what is too large: they say which instance it is."""


_UNREAD = Part10("", "", "", memoryview(b""))


class SlowError(Exception):
    """A body that does not come."""


@dataclass(frozen=True)
class Desk:
    """What all requests share.

    Parameters
    ----------
    intake : Intake
    memory : Memory
        For all instances that come at the same time.
    longest : int
        Of an instance, bytes.
    syntaxes : frozenset of str
        Transfer syntaxes that can be decoded.
    threads : ThreadPoolExecutor
        For all that waits for disk and ledger.
    """

    intake: Intake
    memory: Memory
    longest: int
    syntaxes: frozenset[str]
    threads: ThreadPoolExecutor


class _Part:
    """An instance as it comes, within limits."""

    def __init__(self, desk: Desk, *, is_file: bool) -> None:
        self.content = bytearray()
        self.reason: int | None = None if is_file else Status.CANNOT_UNDERSTAND
        self._desk = desk
        self._size = 0
        self._taken = 0  # of the memory that all have together

    def add(self, piece: bytes) -> None:
        """Take some more of it.

        Raises
        ------
        MalformedError
            If it has no end.
        """
        self._size += len(piece)
        if self._size > 2 * self._desk.longest:
            raise MalformedError("a part has no end")
        if self.reason is not None:
            return
        if self._size > self._desk.longest:
            self._cut(Reason.TOO_LARGE)
        elif not self._desk.memory.take(len(piece)):
            self._cut(Status.OUT_OF_RESOURCES)
        else:
            self._taken += len(piece)
            self.content += piece

    def _cut(self, reason: int) -> None:
        """Keep no more than says which instance it is."""
        limits = self._desk.intake.settings.dicom
        self._desk.intake.not_taken(
            f"one has more than {limits.max_instance_mb} MB, or all that come together have "
            f"more than {limits.max_receiving_mb} MB; see [dicom] max_instance_mb"
        )
        self.reason = reason
        head = self.content[:_HEAD]
        self.drop()
        self.content = head

    def drop(self) -> None:
        """Give back what it took."""
        self._desk.memory.give_back([self._taken])
        self._taken = 0
        self.content = bytearray()


class Store:
    """One store request.

    Parameters
    ----------
    desk : Desk
    sender : Peer
    study : str, optional
        UID of the study that its address names: no other may come.
    """

    def __init__(self, desk: Desk, sender: Peer, study: str | None) -> None:
        self.answer = Answer()
        self._desk = desk
        self._sender = sender
        self._study = study
        self._batch: Batch = desk.intake.batch(sender, Way.STOW_RS)

    async def run(self, body: AsyncIterator[bytes], boundary: str | None) -> Answer:
        """Take what a request brings.

        Parameters
        ----------
        body : async iterator of bytes
            May end with an exception where the sender has gone: what was whole is kept.
        boundary : str, optional
            Between its parts; None if it is one instance.
        """
        try:
            if boundary is None:
                await self._take_one(body)
            else:
                await self._take_parts(body, Multipart(boundary))
        except MalformedError as error:
            self.answer.break_off(str(error))
        except SlowError as error:
            self.answer.break_off(str(error), is_slow=True)
        finally:
            await self._in_thread(self._batch.end)
        return self.answer

    async def _take_one(self, body: AsyncIterator[bytes]) -> None:
        part = _Part(self._desk, is_file=True)
        try:
            async for data in body:
                part.add(data)
            await self._in_thread(partial(self._take, part))
        finally:
            part.drop()

    async def _take_parts(self, body: AsyncIterator[bytes], multipart: Multipart) -> None:
        part: _Part | None = None
        try:
            async for data in body:
                for event in multipart.feed(data):
                    if isinstance(event, Headers):
                        part = self._begin(event)
                        continue
                    assert part is not None
                    if isinstance(event, Piece):
                        part.add(event.content)
                        continue
                    assert isinstance(event, End)
                    await self._in_thread(partial(self._take, part))
                    part.drop()
            multipart.end()
        finally:
            if part is not None:
                part.drop()

    def _begin(self, headers: Headers) -> _Part:
        if self.answer.count >= MOST_PARTS:
            raise MalformedError(f"it has more than {MOST_PARTS} parts")
        encoding = headers.fields.get("content-transfer-encoding", "binary").lower()
        is_plain = encoding in ("binary", "8bit", "7bit")
        is_file = is_plain and is_dicom(headers.fields.get("content-type"))
        return _Part(self._desk, is_file=is_file)

    def _take(self, part: _Part) -> None:
        """Store an instance, or note why not; nothing that is wrong with one ends the request."""
        try:
            file, reason = take_apart(part.content), part.reason
        except RefusedInstance as refusal:
            file, reason = _UNREAD, part.reason or self._put_aside(part.content, refusal)
        if reason is None:
            reason = self._keep(file)
        if reason is None:
            self.answer.stored.append(Reference(file.sop_class, file.instance))
        else:
            self.answer.fail(file.sop_class, file.instance, reason)

    def _put_aside(self, content: bytearray, refusal: RefusedInstance) -> int:
        try:
            if content:
                self._desk.intake.put_aside(bytes(content), refusal, self._sender)
        except NotStoredError:
            return Status.OUT_OF_RESOURCES
        return refusal.status

    def _keep(self, file: Part10) -> int | None:
        """Why an instance was not stored; None if it was."""
        if file.sop_class not in STORAGE_CLASSES:  # as on an association: it is not looked at
            return Reason.SOP_CLASS_NOT_SUPPORTED
        if file.transfer_syntax not in self._desk.syntaxes:
            return Reason.TRANSFER_SYNTAX_NOT_SUPPORTED
        named = file.sop_class, file.instance
        try:
            content = file_content(*named, file.transfer_syntax, file.dataset)
            self._batch.take(content, lambda identity: self._check(identity, file))
        except RefusedInstance as refusal:
            return refusal.status
        except NotStoredError:
            return Status.OUT_OF_RESOURCES
        except Exception as error:  # a trace may quote the patient
            is_asked_for = log.isEnabledFor(logging.DEBUG)
            log.error("unexpected %s", type(error).__name__, exc_info=is_asked_for)
            return Reason.PROCESSING_FAILURE
        return None

    def _check(self, identity: Identity, file: Part10) -> None:
        check_command(identity, file.sop_class, file.instance, file.sop_class)
        if self._study is not None and identity.study != self._study:
            raise RefusedInstance(
                f"StudyInstanceUID is {identity.study} at the address of study {self._study}",
                Status.DOES_NOT_MATCH_SOP_CLASS,
            )

    async def _in_thread(self, function: Callable[[], T]) -> T:
        """Wait for a function in a thread to its end, however often this request is to end.

        Two of its functions must not run at the same time: a batch is of one thread.
        """
        running = asyncio.get_running_loop().run_in_executor(self._desk.threads, function)
        is_to_end = False
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                is_to_end = True
        if is_to_end:
            raise asyncio.CancelledError
        return running.result()
