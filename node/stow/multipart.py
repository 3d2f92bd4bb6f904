"""The body of a request of many parts, taken apart as it comes: pure, and within limits.

A part is passed on in pieces as they come: nothing of it is held here but its headers, and at
most as many bytes as could be the beginning of a delimiter.

References
----------
Multipart: RFC 2046, 5.1; multipart/related: RFC 2387; headers: RFC 5322, 2.2.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

LONGEST_HEADERS = 16 * 1024
"""Of all headers of a part, bytes; and of what stands before the first part or behind the last."""

LONGEST_PADDING = 256
"""White space behind a boundary (RFC 2046, 5.1.1)."""


class MalformedError(Exception):
    """A body that is not made of parts as it says, with what is wrong."""


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

    def _skip_preamble(self) -> bool:
        found = self._held.find(self._delimiter)
        if found < 0:
            self._skip(max(len(self._held) - len(self._delimiter) + 1, 0))
            return False
        self._skip(found)
        del self._held[: len(self._delimiter)]
        self._at = _At.BOUNDARY
        return True

    def _pass_boundary(self) -> bool:
        """Tell the boundary before a part from the one behind the last."""
        if len(self._held) < 2:
            return False
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
        found = self._held.find(self._delimiter)
        until = found if found >= 0 else len(self._held) - len(self._delimiter) + 1
        if found < 0 and until <= self._lead:
            return b"", False
        piece = bytes(memoryview(self._held)[self._lead : until])
        self._lead = 0
        if found < 0:
            del self._held[:until]
            return piece, False
        del self._held[: found + len(self._delimiter)]
        self._at = _At.BOUNDARY
        return piece, True


def _parsed(text: bytes) -> Headers:
    fields = {}
    unfolded = text.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").decode("latin-1")
    for line in filter(None, unfolded.split("\r\n")):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise MalformedError("a line among the headers of a part is none")
        fields[name.strip().lower()] = value.strip()
    return Headers(fields)
