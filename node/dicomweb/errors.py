"""What goes wrong between the node and a DICOMweb server, and what to do about it."""

import ssl
from collections.abc import Iterator
from http import HTTPStatus

import requests
from urllib3.exceptions import NewConnectionError

from ml.errors import IchnodeError


class DICOMwebError(IchnodeError):
    """A server does not answer, or not as it should.

    Parameters
    ----------
    trouble : str
        What is wrong, in one line.
    cure : str
        What to do about it; empty where that is for the server.
    status : int, optional
        Of its answer (RFC 9110, 15).
    after_s : float
        It wants to be left alone for so long, seconds.
    has_broken_off : bool
        It was reached, and then said nothing or went away: perhaps for what it was asked.
    """

    def __init__(
        self,
        trouble: str,
        cure: str = "",
        status: int | None = None,
        after_s: float = 0,
        *,
        has_broken_off: bool = False,
    ) -> None:
        super().__init__(f"{trouble}: {cure}" if cure else trouble)
        self.trouble = trouble
        self.cure = cure
        self.status = status
        self.after_s = after_s
        self.has_broken_off = has_broken_off


_CURES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "see user and password_file, or token_file",
    HTTPStatus.FORBIDDEN: "its user, or who the token is for, needs the right",
    HTTPStatus.NOT_FOUND: "is the path of url right?",
    HTTPStatus.METHOD_NOT_ALLOWED: "does it take that there? is the path of url right?",
    HTTPStatus.NOT_IMPLEMENTED: "does it take that there? is the path of url right?",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "a proxy lies between",
}


def refusal(response: requests.Response) -> DICOMwebError:
    """What an answer other than one of success comes to. Its body is of no interest."""
    status = response.status_code
    if 300 <= status < 400:
        trouble = f"it answers {_named(status)}: it sends the node elsewhere"
        return DICOMwebError(trouble, "set url to where it is", status)
    return DICOMwebError(
        f"it answers {_named(status)}",
        _CURES.get(status, ""),
        status,
        _seconds(response.headers.get("Retry-After", "")),
    )


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _seconds(value: str) -> float:
    """Retry-After (RFC 9110, 10.2.3) in seconds; a date counts as none."""
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0.0


def complaint(error: Exception, timeout_s: float) -> DICOMwebError:
    """What was wrong, without the address asked for: it may name the patient's examination.

    Parameters
    ----------
    error : Exception
        Of requests or of what it stands on.
    timeout_s : float
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, DICOMwebError):
            return cause
        if isinstance(cause, ssl.SSLCertVerificationError):
            return DICOMwebError(
                f"its certificate is not taken: {cause.verify_message}",
                "see tls_ca and tls_check_host",
            )
    if isinstance(error, requests.exceptions.SSLError):
        reasons = [cause.reason for cause in causes if isinstance(cause, ssl.SSLError)]
        reason = next(filter(None, reasons), "no handshake").replace("_", " ").lower()
        return DICOMwebError(f"TLS fails: {reason}", "see tls_certificate; does it take TLS there?")
    if isinstance(error, requests.ConnectTimeout):
        return DICOMwebError(f"no connection within {timeout_s:g} s")
    if isinstance(error, requests.Timeout) or any(isinstance(c, TimeoutError) for c in causes):
        return DICOMwebError(f"no answer within {timeout_s:g} s", has_broken_off=True)
    told = [c for c in causes if isinstance(c, OSError) and c.strerror]
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return DICOMwebError("it breaks off in the middle of its answer", has_broken_off=True)
    was_reached = not any(isinstance(cause, NewConnectionError) for cause in causes)
    if told:
        what = "the connection is lost" if was_reached else "no connection"
        return DICOMwebError(
            f"{what}: {str(told[-1].strerror).lower()}", has_broken_off=was_reached
        )
    if isinstance(error, requests.ConnectionError):
        return DICOMwebError("it ends the connection without an answer", has_broken_off=was_reached)
    return DICOMwebError("its answer cannot be read")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was made from: urllib3 keeps that in `reason` or in the arguments."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        found = waiting.pop(0)
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [getattr(found, "reason", None), *found.args]
        waiting += [found.__cause__, found.__context__]
