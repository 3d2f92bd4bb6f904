"""Media types: what a request is, and what its answer may be: pure.

References
----------
Media types and Accept: RFC 9110, 8.3 and 12.5.1; as DICOM has them: PS3.18, 8.7.
"""

from collections.abc import Iterable

from node.multipart import DICOM, RELATED, MediaType, UnclearError
from node.stow.answer import WRITERS


class UnsupportedError(Exception):
    """A body of a kind that is not taken, with what is taken."""


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
    if found.name != RELATED:
        raise UnsupportedError(f'takes {RELATED}; type="{DICOM}"')
    of_parts = found.parameters.get("type", DICOM).strip().lower()
    if of_parts != DICOM:
        raise UnsupportedError(
            f'takes parts of type="{DICOM}", whole files: not metadata with bulk data beside it'
        )
    if found.boundary is None:
        raise UnclearError(f"{RELATED} takes a boundary of 1 to 200 characters")
    return found.boundary


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
