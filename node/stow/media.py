"""Media types: what a request is, and what its answer may be: pure.

References
----------
Media types and Accept: RFC 9110, 8.3 and 12.5.1; as DICOM has them: PS3.18, 8.7.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message

from node.stow.answer import WRITERS

DICOM = "application/dicom"

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,199}[0-9A-Za-z'()+_,\-./:=?]")
"""RFC 2046, 5.1.1, but for their length: of 70 at most; Orthanc's are of 73."""


class UnsupportedError(Exception):
    """A body of a kind that is not taken, with what is taken."""


class UnclearError(Exception):
    """A header that cannot be understood."""


@dataclass(frozen=True)
class MediaType:
    """A media type.

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
            If it is none.
        """
        message = Message()
        try:
            message["Content-Type"] = value
            pairs = message.get_params(failobj=[])
            parameters = {str(name).lower(): str(text) for name, text in pairs[1:]}
            return cls(str(pairs[0][0]).strip().lower(), parameters)
        except Exception as error:  # the library says nowhere what it raises at bad ones
            raise UnclearError("Content-Type cannot be understood") from error


def boundary_of(content_type: str) -> str | None:
    """What parts the body of a store request; None if it is one instance.

    Raises
    ------
    UnsupportedError
        If it holds no DICOM files.
    UnclearError
        If that cannot be told.
    """
    found = MediaType.of(content_type)
    if found.name == DICOM:
        return None
    if found.name != "multipart/related":
        raise UnsupportedError('takes multipart/related; type="application/dicom"')
    of_parts = found.parameters.get("type", DICOM).strip().lower()
    if of_parts != DICOM:
        raise UnsupportedError(
            f'takes parts of type="{DICOM}", whole files: not metadata with bulk data beside it'
        )
    boundary = found.parameters.get("boundary", "")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise UnclearError("multipart/related takes a boundary of 1 to 200 characters")
    return boundary


def is_dicom(content_type: str | None) -> bool:
    """Whether a part is a DICOM file, or does not say that it is something else."""
    try:
        return content_type is None or MediaType.of(content_type).name == DICOM
    except UnclearError:
        return False


def answer_type(accept: Iterable[str]) -> str | None:
    """Which kind of answer is liked best among those that can be given.

    Parameters
    ----------
    accept : iterable of str
        The values of Accept; without any, anything is taken.
    """
    liked: dict[str, float] = {}
    for text in ",".join(accept).split(","):
        name, *parameters = [part.strip().lower() for part in text.split(";")]
        if name:
            liked[name] = max(liked.get(name, 0), _quality(parameters))
    if not liked:
        return next(iter(WRITERS))

    def quality(kind: str) -> float:
        for pattern in (kind, "application/*", "*/*"):
            if pattern in liked:
                return liked[pattern]
        return 0

    best = max(WRITERS, key=quality)  # the first of those that are liked as much
    return best if quality(best) > 0 else None


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
