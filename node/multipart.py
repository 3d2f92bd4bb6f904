"""Many objects in one body, put together and taken apart as it comes: pure, and within limits.

A part is passed on in pieces as they come: nothing of it is held here but its headers, and at
most as many bytes as could be the beginning of a delimiter.

What comes by STOW-RS and what is pulled by WADO-RS is taken apart here alike. dicomweb-client
has both ways, too: it reads an object by pydicom and writes it again, takes a body that was cut
off for a whole one, has no bound on a part, and divides what it sends by a line that whoever
writes text into an image knows beforehand.

References
----------
Multipart: RFC 2046, 5.1; multipart/related: RFC 2387; headers: RFC 5322, 2.2; as DICOMweb has
them: PS3.18, 8.7.3.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from enum import Enum

DICOM = "application/dicom"
RELATED = "multipart/related"

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,199}[0-9A-Za-z'()+_,\-./:=?]")
"""RFC 2046, 5.1.1, but for their length: of 70 at most; Orthanc's are of 73."""

LONGEST_TYPE = 1024
"""Of a media type with its parameters: one of 16 kB of semicolons is read in 24 ms."""

LONGEST_HEADERS = 16 * 1024
"""Of all headers of a part, bytes; and of what stands before the first part or behind the last."""

LONGEST_PADDING = 256
"""White space behind a boundary (RFC 2046, 5.1.1)."""


class MalformedError(Exception):
    """A body that is not made of parts as it says, with what is wrong."""


class UnclearError(Exception):
    """A header that cannot be understood."""


@dataclass(frozen=True)
class MediaType:
    """A media type (RFC 9110, 8.3).

    Parameters
    ----------
    name : str
        In lower case, without parameters.
    parameters : dict of str to str
        By name in lower case.
    """

    name: str
    parameters: dict[str, str]

    @classmethod
    def of(cls, value: str) -> "MediaType":
        """Read one as a header has it.

        Raises
        ------
        UnclearError
            If it is none, or too long to be looked at.
        """
        if len(value) > LONGEST_TYPE:
            raise UnclearError(f"Content-Type has more than {LONGEST_TYPE} characters")
        message = Message()
        try:
            message["Content-Type"] = value
            pairs = message.get_params(failobj=[])
            parameters = {str(name).lower(): str(text) for name, text in pairs[1:]}
            return cls(str(pairs[0][0]).strip().lower(), parameters)
        except Exception as error:  # the library says nowhere what it raises at bad ones
            raise UnclearError("Content-Type cannot be understood") from error

    @property
    def boundary(self) -> str | None:
        """What divides the parts of a body; None where it tells nothing that can."""
        boundary = self.parameters.get("boundary", "")
        return boundary if _BOUNDARY.fullmatch(boundary) else None


@dataclass(frozen=True)
class Headers:
    """A part begins.

    Parameters
    ----------
    fields : mapping of str to str
        By name in lower case; of one that comes again, the last.
    """

    fields: Mapping[str, str]


@dataclass(frozen=True)
class Piece:
    """Some of a part's content.

    Parameters
    ----------
    content : bytes
    """

    content: bytes


@dataclass(frozen=True)
class End:
    """A part has ended."""


Event = Headers | Piece | End


class _At(Enum):
    """Where in the body the next byte stands."""

    PREAMBLE = "before the first part"
    BOUNDARY = "behind a boundary"
    HEADERS = "in the headers of a part"
    CONTENT = "in the content of a part"
    EPILOGUE = "behind the last part"


class Multipart:
    """Takes a body apart.

    Parameters
    ----------
    boundary : str
    """

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        # The first delimiter may stand at the very beginning, without its CRLF.
        self._held = bytearray(b"\r\n")
        self._at = _At.PREAMBLE
        self._outside = 0
        self._lead = 0  # what is held before the content of a part

    @property
    def is_whole(self) -> bool:
        """Whether the last part has ended."""
        return self._at is _At.EPILOGUE

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take the next bytes of the body.

        Raises
        ------
        MalformedError
            If it cannot go on like this.
        """
        self._held += data
        while True:
            at = self._at
            if at is _At.PREAMBLE:
                is_on = self._skip_preamble()
            elif at is _At.BOUNDARY:
                is_on = self._pass_boundary()
            elif at is _At.HEADERS:
                headers = self._read_headers()
                is_on = headers is not None
                if headers is not None:
                    yield headers
            elif at is _At.CONTENT:
                piece, is_on = self._read_content()
                if piece:
                    yield Piece(piece)
                if is_on:
                    yield End()
            else:
                self._skip(len(self._held))
                is_on = False
            if not is_on:
                return

    def end(self) -> None:
        """See that nothing is missing.

        Raises
        ------
        MalformedError
            If the last part has not ended.
        """
        if not self.is_whole:
            raise MalformedError(f"it ends {self._at.value}")

    def _skip(self, size: int) -> None:
        self._outside += size
        del self._held[:size]
        if self._outside > LONGEST_HEADERS:
            raise MalformedError(f"there is too much {self._at.value}")

    def _find(self) -> tuple[int, bool]:
        """Where a delimiter begins or may begin, and whether all of one is there.

        A line that only begins like one is content: whoever writes an image may not know what
        divides it from others.
        """
        start = 0
        while (found := self._held.find(self._delimiter, start)) >= 0:
            after = found + len(self._delimiter)
            follows = bytes(self._held[after : after + 2])
            if len(follows) < 2:
                return found, False
            if follows in (b"--", b"\r\n") or follows[:1] in (b" ", b"\t"):
                return found, True
            start = found + 1
        return max(len(self._held) - len(self._delimiter) + 1, 0), False

    def _skip_preamble(self) -> bool:
        found, is_one = self._find()
        self._skip(found)
        if is_one:
            del self._held[: len(self._delimiter)]
            self._at = _At.BOUNDARY
        return is_one

    def _pass_boundary(self) -> bool:
        """Tell the boundary before a part from the one behind the last."""
        if self._held[:2] == b"--":
            del self._held[:2]
            self._at, self._outside = _At.EPILOGUE, 0
            return True
        line = self._held.find(b"\r\n", 0, LONGEST_PADDING + 2)
        if line < 0:
            if len(self._held) > LONGEST_PADDING:
                raise MalformedError("a boundary has no end")
            return False
        if self._held[:line].strip(b" \t"):
            raise MalformedError("something else than a new line stands behind a boundary")
        del self._held[:line]  # not its CRLF: where there are no headers it begins what ends them
        self._at = _At.HEADERS
        return True

    def _read_headers(self) -> Headers | None:
        if self._held.startswith(self._delimiter):
            raise MalformedError("a boundary follows a boundary")
        end = self._held.find(b"\r\n\r\n", 0, LONGEST_HEADERS + 4)
        if end < 0:
            if len(self._held) > LONGEST_HEADERS:
                raise MalformedError("the headers of a part have no end")
            return None
        headers = _parsed(bytes(self._held[2:end]))
        del self._held[
            : end + 2
        ]  # not the last CRLF: where a part is empty it may be a delimiter's
        self._lead = 2
        self._at = _At.CONTENT
        return headers

    def _read_content(self) -> tuple[bytes, bool]:
        """What is there of a part, and whether that is its last."""
        found, is_one = self._find()
        if not is_one and found <= self._lead:
            return b"", False
        piece = bytes(memoryview(self._held)[self._lead : found])
        self._lead = 0
        del self._held[:found]
        if is_one:
            del self._held[: len(self._delimiter)]
            self._at = _At.BOUNDARY
        return piece, is_one


def _parsed(text: bytes) -> Headers:
    fields = {}
    unfolded = text.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").decode("latin-1")
    for line in filter(None, unfolded.split("\r\n")):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise MalformedError("a line among the headers of a part is none")
        fields[name.strip().lower()] = value.strip()
    return Headers(fields)


def put_together(contents: Sequence[bytes]) -> tuple[bytes, str]:
    """Make one body of DICOM files.

    Returns
    -------
    tuple
        The body and its Content-Type. No text of an image can hold the line between the parts:
        it is drawn anew each time.
    """
    boundary = secrets.token_hex(24)
    body = []
    for content in contents:
        body += [f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode(), content, b"\r\n"]
    body.append(f"--{boundary}--\r\n".encode())
    return b"".join(body), f'{RELATED}; type="{DICOM}"; boundary={boundary}'


def take_apart(pieces: Iterable[bytes], boundary: str, most: int) -> Iterator[bytes | None]:
    """Read parts one by one: no more than one is ever in memory.

    Parameters
    ----------
    pieces : iterable of bytes
        A body as it comes; what stands behind its last part is not asked for.
    boundary : str
    most : int
        Of a part, bytes.

    Yields
    ------
    bytes or None
        The content of each part; None for one that is larger.

    Raises
    ------
    MalformedError
        If it is not made of parts, or ends before its end: what came last is not whole.
    """
    multipart = Multipart(boundary)
    part: list[bytes] = []
    size = 0
    for piece in pieces:
        for event in multipart.feed(piece):
            if isinstance(event, Piece):
                size += len(event.content)
                part.append(event.content)
                if size > most:
                    part.clear()
            elif isinstance(event, End):
                yield _joined(part) if size <= most else None
                size = 0
        if multipart.is_whole:
            return
    multipart.end()


def _joined(part: list[bytes]) -> bytes:
    """A whole part; its pieces are held no longer."""
    whole = b"".join(part)
    part.clear()
    return whole
