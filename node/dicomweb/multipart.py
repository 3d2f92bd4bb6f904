"""Many objects in one body: multipart/related (RFC 2387) as DICOMweb uses it (PS3.18, 8.7.3).

dicomweb-client has both ways, too. It is not used for them: it reads an object by pydicom and
writes it again, takes a body that was cut off for a whole one, has no bound on a part, and
divides what it sends by a line that whoever writes text into an image knows beforehand.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from email.message import Message

from node.dicomweb.errors import DICOMwebError

DICOM = "application/dicom"

_LONGEST_HEADERS = 16 * 1024
_LONGEST_BOUNDARY = 200  # RFC 2046, 5.1.1, allows 70; Orthanc makes some of 73


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
    return b"".join(body), f'multipart/related; type="{DICOM}"; boundary={boundary}'


def kind_and_boundary(content_type: str) -> tuple[str, bytes | None]:
    """Read the head line of a body.

    Returns
    -------
    tuple
        Its media type, and what divides its parts.
    """
    message = Message()
    message["Content-Type"] = content_type.replace("\r", " ").replace("\n", " ")
    boundary = message.get_param("boundary")
    is_one = isinstance(boundary, str) and boundary.isascii() and boundary
    if not is_one or len(str(boundary)) > _LONGEST_BOUNDARY:
        return message.get_content_type(), None
    return message.get_content_type(), str(boundary).encode()


def take_apart(pieces: Iterable[bytes], boundary: bytes, most: int) -> Iterator[bytes | None]:
    """Read parts one by one: no more than one is ever in memory.

    Parameters
    ----------
    pieces : iterable of bytes
        A body as it comes.
    boundary : bytes
    most : int
        Of a part, bytes.

    Yields
    ------
    bytes or None
        The content of each part; None for one that is larger.

    Raises
    ------
    DICOMwebError
        If it ends before its end: what came last is not whole.
    """
    delimiter = b"\r\n--" + boundary
    most += _LONGEST_HEADERS
    held = bytearray(b"\r\n")  # the first delimiter may stand at the very beginning
    looked = 0
    is_preamble, is_larger = True, False
    for piece in pieces:
        held += piece
        while (found := _next(held, delimiter, looked)) is not None:
            part = None if is_preamble or is_larger or found > most else _content(held, found)
            after = found + len(delimiter)
            is_last = held[after : after + 2] == b"--"
            del held[:after]  # before whoever takes the part makes something of it
            if not is_preamble:
                yield part
            if is_last:
                return
            looked, is_preamble, is_larger = 0, False, False
        # A delimiter may have come in half, or without the two bytes that tell what it is.
        looked = max(len(held) - len(delimiter) - 2, 0)
        if len(held) > most:
            is_larger = True
            del held[:looked]
            looked = 0
    raise DICOMwebError("it breaks off in the middle of its answer")


def _next(held: bytearray, delimiter: bytes, start: int) -> int | None:
    """Where the next delimiter begins; None as long as none is there as a whole."""
    while (found := held.find(delimiter, start)) >= 0:
        follows = bytes(held[found + len(delimiter) : found + len(delimiter) + 2])
        if len(follows) < 2:
            return None
        if follows == b"--" or follows[:1] in b"\r \t":
            return found
        start = found + 1
    return None


def _content(held: bytearray, end: int) -> bytes:
    """A part without its headers; they tell nothing that the file does not."""
    headers = held.find(b"\r\n\r\n", 0, min(end, _LONGEST_HEADERS))
    return bytes(memoryview(held)[headers + 4 : end]) if headers >= 0 else b""
