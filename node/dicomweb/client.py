"""The services of a server: searched, retrieved from, stored to, asked for a look."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from dicomweb_client.web import DICOMwebClient

from node.dicomweb.answer import Match, StoreAnswer, WorkitemAnswer, read_store_answer
from node.dicomweb.errors import DICOMwebError, complaint
from node.dicomweb.session import Upload, open_session
from node.multipart import (
    DICOM,
    RELATED,
    MalformedError,
    MediaType,
    UnclearError,
    put_together,
    take_apart,
)
from node.settings import Called

DICOM_JSON = "application/dicom+json"

PAGE = 100
"""Matches that are asked for at a time, at least."""

MOST_MATCHES = 10_000
"""A search that has found so many is too wide, or its server never ends."""


class Web:
    """A server, as a context: its connection is kept meanwhile. Of one thread at a time.

    Parameters
    ----------
    server : Called
        One with a URL.
    timeout_s : float
        For each step of an answer.

    Raises
    ------
    ConfigError
        If its certificates cannot be used.
    """

    def __init__(self, server: Called, timeout_s: float) -> None:
        assert server.url is not None
        self._url = server.url
        self._timeout_s = timeout_s
        self._session = open_session(server, timeout_s)
        self._client = DICOMwebClient(server.url, self._session)
        self._client.set_http_retry_params(retry=False)  # who calls knows when to try again

    def __enter__(self) -> "Web":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def studies(self, wanted: Mapping[str, str], fields: Sequence[str] = ()) -> Iterator[Match]:
        """Search for studies, each once.

        Parameters
        ----------
        wanted : mapping
            Keyword to value that has to match.
        fields : sequence of str
            Keywords of what is to be told besides.

        Raises
        ------
        DICOMwebError
            If it does not answer, or not to the end.
        """
        return self._pages("StudyInstanceUID", self._client.search_for_studies, wanted, fields)

    def series(
        self, study: str, wanted: Mapping[str, str], fields: Sequence[str] = ()
    ) -> Iterator[Match]:
        """Search for series of a study, each once; as `studies`."""

        def search(**named: Any) -> list[Any]:
            return self._client.search_for_series(study, **named)

        return self._pages("SeriesInstanceUID", search, wanted, fields)

    def instances(
        self, study: str, series: str, wanted: Mapping[str, str] | None = None
    ) -> Iterator[Match]:
        """Search for instances of a series, each once; as `studies`."""

        def search(**named: Any) -> list[Any]:
            return self._client.search_for_instances(study, series, **named)

        return self._pages("SOPInstanceUID", search, wanted or {}, ())

    def probe(self) -> None:
        """See whether it answers a search.

        Raises
        ------
        DICOMwebError
            If not.
        """
        with self._telling():
            found = self._client.search_for_studies(limit=1)
        _check(found)

    def retrieve(
        self, study: str, series: str, most: int, instance: str | None = None
    ) -> Iterator[bytes | None]:
        """Retrieve the instances of a series as they are stored there, one by one.

        Parameters
        ----------
        study, series : str
            UIDs.
        most : int
            Bytes that one may have.
        instance : str, optional
            UID of the only one that is wanted.

        Yields
        ------
        bytes or None
            What should be a DICOM file; None for one that is larger.

        Raises
        ------
        DICOMwebError
            If it does not answer, or not to the end.
        """
        accept = f'{RELATED}; type="{DICOM}"; transfer-syntax=*'
        url = f"{self._url}/studies/{study}/series/{series}"
        if instance is not None:
            url = f"{url}/instances/{instance}"
        with (
            self._telling(),
            self._session.get(url, headers={"Accept": accept}, stream=True) as response,
        ):
            if response.status_code == requests.codes.no_content:
                return
            boundary = _boundary(response.headers.get("Content-Type", ""))
            yield from take_apart(response.iter_content(None), boundary, most)

    def store(self, contents: Sequence[bytes]) -> StoreAnswer:
        """Store objects, in one request.

        Parameters
        ----------
        contents : sequence of bytes
            DICOM files.

        Raises
        ------
        DICOMwebError
            If it does not say which it has stored and which not.
        """
        body, content_type = put_together(contents)
        headers = {"Content-Type": content_type, "Accept": DICOM_JSON}
        with self._telling():
            sent = Upload(body, self._timeout_s)
            response = self._session.post(f"{self._url}/studies", data=sent, headers=headers)
        return read_store_answer(response.status_code, response.content)

    def create_workitem(self, uid: str, item: Mapping[str, Any]) -> WorkitemAnswer:
        """Have a workitem created.

        Parameters
        ----------
        uid : str
        item : mapping
            In DICOM JSON.

        Raises
        ------
        DICOMwebError
            If it does not say that it has it.
        """
        # Servers read PS3.18, 11.4.1.1 in two ways: they take the UID for the value of a
        # parameter called workitem, or for the query. Each passes over what it does not know.
        response = self._post(f"workitems?{uid}&workitem={uid}", item)
        return WorkitemAnswer(response.status_code, "Warning" in response.headers)

    def cancel_workitem(self, uid: str, why: Mapping[str, Any]) -> int:
        """Ask for a workitem to be canceled; the status says whether that is passed on.

        Raises
        ------
        DICOMwebError
            If the answer is none of success, nor that it cannot be.
        """
        return self._post(f"workitems/{uid}/cancelrequest", why).status_code

    def _post(self, resource: str, content: Mapping[str, Any]) -> requests.Response:
        headers = {"Content-Type": DICOM_JSON, "Accept": DICOM_JSON}
        with self._telling():
            return self._session.post(
                f"{self._url}/{resource}", data=json.dumps(content).encode(), headers=headers
            )

    def _pages(
        self, uid: str, search: Any, wanted: Mapping[str, str], fields: Sequence[str]
    ) -> Iterator[Match]:
        """Ask for page after page, until one brings nothing new.

        A page that is short is no end: servers give fewer than they are asked for. One that
        repeats itself is: servers leave offset unread, or limit.
        """
        seen: set[str] = set()
        asked = 0
        while len(seen) <= MOST_MATCHES:
            page = self._page(search, wanted, fields, asked)
            asked += len(page)
            new = 0
            for match in page:
                if (found := match.text(uid)) not in seen:
                    seen.add(found)
                    new += 1
                    yield match
            if not new:
                return
        raise DICOMwebError(f"its search finds more than {MOST_MATCHES}", "ask for less at a time")

    def _page(
        self, search: Any, wanted: Mapping[str, str], fields: Sequence[str], offset: int
    ) -> list[Match]:
        with self._telling():
            found = search(
                limit=offset + PAGE,  # Orthanc counts what it skips
                offset=offset or None,
                fields=list(fields) or None,
                search_filters=dict(wanted),
            )
        return [Match(item) for item in _check(found)]

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Let what goes wrong be told as one kind of error."""
        try:
            yield
        except (requests.exceptions.InvalidJSONError, RecursionError):
            raise _no_json() from None
        except MalformedError as error:
            raise DICOMwebError(f"its answer cannot be taken apart: {error}") from None
        except (requests.RequestException, OSError) as error:
            raise complaint(error, self._timeout_s) from None
        except ValueError:  # a number without end is no JSON to Python
            raise _no_json() from None


def _boundary(content_type: str) -> str:
    """What divides the parts of an answer to WADO-RS."""
    try:
        kind = MediaType.of(content_type)
        if kind.name == RELATED and kind.boundary is not None:
            return kind.boundary
    except UnclearError:
        pass
    raise DICOMwebError(
        f"its answer to WADO-RS is not {RELATED}", "is the path of url that of DICOMweb?"
    )


def _check(found: Any) -> Iterable[Any]:
    if not isinstance(found, list):
        raise _no_json()
    return found


def _no_json() -> DICOMwebError:
    return DICOMwebError("its answer is not DICOM JSON", "is the path of url that of DICOMweb?")
