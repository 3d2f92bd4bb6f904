"""Instances that come by STOW-RS are stored as by C-STORE, and what is not is said."""

import asyncio
import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    generate_uid,
)
from pynetdicom import AE

from node.audit import Auditor, Peer
from node.errors import SpoolError
from node.intake import Batch, Intake
from node.ledger import State, open_ledger
from node.listener import Memory
from node.passwords import hash_password
from node.spool import Spool
from node.stow import serve, store
from node.stow.answer import Reason
from node.stow.door import ANYBODY, token_hash
from tests.certificates import Authority
from tests.ct import STUDY, image, ramp, uid
from tests.e2e.peers import wait_for
from tests.listening import listening
from tests.stowing import (
    BOUNDARY,
    DICOM_PARTS,
    FAILED,
    OTHERS,
    PART,
    STORED,
    Service,
    multipart,
    reasons,
    taking,
    uids,
)

OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000


def encoded(dataset: pydicom.Dataset) -> bytes:
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def slices(count: int, **changes: Any) -> list[bytes]:
    """Images of a series, as files."""
    found = []
    for number in range(1, count + 1):
        one = image(number, 5.0 * number)
        for keyword, value in changes.items():
            setattr(one, keyword, value)
        found.append(encoded(one))
    return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for the tests that look at answers alone."""
    with taking(tmp_path_factory.mktemp("stow")) as service:
        yield service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with taking(tmp_path / "home") as running:
        yield running


# -- what is stored ------------------------------------------------------------------


def test_all_instances_of_a_request_are_stored_and_named(service: Service) -> None:
    response = service.post(multipart(slices(3)))

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/dicom+json"
    assert uids(response, STORED) == [uid(1), uid(2), uid(3)]
    assert FAILED not in response.json() and OTHERS not in response.json()
    (revision,) = service.ledger.find(STUDY)
    assert revision.state is State.RECEIVING
    senders = {i.sender for i in service.ledger.instances(revision)}
    assert senders == {ANYBODY}
    assert len(service.stored()) == 3


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_file_is_the_same_bytes_by_c_store_and_by_stow(tmp_path: Path, syntax: str) -> None:
    one = image(syntax=syntax)
    # Nothing of the file meta information of the sender is kept, as it is on an association.
    one.file_meta.SourceApplicationEntityTitle = "SOMEBODY"
    one.file_meta.PrivateInformationCreatorUID = "1.2.3"
    one.file_meta.PrivateInformation = b"12"
    with taking(tmp_path / "stow") as service:
        assert service.post(multipart([encoded(one)])).status_code == 200
        by_stow = [(path.name, path.read_bytes()) for path in service.stored()]
    with listening(tmp_path / "store") as receiver:
        ae = AE()
        ae.add_requested_context(CTImageStorage, syntax)
        association = ae.associate(
            "127.0.0.1", receiver.settings.dicom.port, ae_title=receiver.settings.dicom.ae_title
        )
        assert association.send_c_store(one).Status == 0
        association.release()
        spool = Spool(receiver.settings.home).folder
        by_store = [(path.name, path.read_bytes()) for path in spool.rglob("*.dcm")]

    assert by_stow == by_store


def test_the_same_again_is_a_success_and_happens_once(service: Service) -> None:
    body = multipart(slices(2))

    for _ in range(2):
        response = service.post(body)
        assert response.status_code == 200
        assert uids(response, STORED) == [uid(1), uid(2)]
    assert len(service.stored()) == 2
    assert len(service.ledger.find(STUDY)) == 1


def test_the_series_is_looked_at_as_soon_as_the_request_has_ended(service: Service) -> None:
    service.post(multipart(slices(2)))

    (revision,) = service.ledger.find(STUDY)
    assert revision.released_at is not None


def test_a_single_file_is_a_request_too(service: Service) -> None:
    response = service.post(slices(1)[0], "application/dicom")

    assert response.status_code == 200
    assert uids(response, STORED) == [uid(1)]


@pytest.mark.parametrize(
    "content_type",
    [
        f"multipart/related; type=application/dicom; boundary={BOUNDARY}",
        f'Multipart/Related; Boundary="{BOUNDARY}"; TYPE="Application/DICOM"',
        f'multipart/related;boundary="{BOUNDARY}";type="application/dicom";start="<a@b>"; x=y',
        f"multipart/related; boundary={BOUNDARY}",
    ],
)
def test_content_types_may_be_written_in_every_way(shared: Service, content_type: str) -> None:
    body = b"preamble\r\n" + multipart(slices(1)) + b"epilogue"

    assert shared.post(body, content_type).status_code == 200


def test_parts_may_have_any_headers_and_come_in_chunks(shared: Service) -> None:
    headers = (
        b"Content-Length: 7\r\ncontent-type:  Application/DICOM; transfer-syntax=1.2\r\nX-Y: z"
    )
    body = multipart(slices(2), headers)

    response = shared.post(body[start : start + 100] for start in range(0, len(body), 100))

    assert response.status_code == 200
    assert len(uids(response, STORED)) == 2


def test_an_answer_is_xml_where_that_is_asked_for(shared: Service) -> None:
    body = multipart([*slices(1), encoded_mr(), b"no file"])
    response = shared.post(body, headers={"Accept": "application/dicom+xml"})

    assert response.status_code == 202
    assert response.headers["Content-Type"] == "application/dicom+xml"
    root = ElementTree.fromstring(response.content)
    ns = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
    assert root.tag == f"{ns}NativeDicomModel"
    stored = root.find(f"{ns}DicomAttribute[@keyword='ReferencedSOPSequence']/{ns}Item")
    assert stored is not None
    values = {a.get("keyword"): a.findtext(f"{ns}Value") for a in stored}
    assert values["ReferencedSOPInstanceUID"] == uid(1)
    assert values["RetrieveURL"] is None
    failed = root.find(f"{ns}DicomAttribute[@tag='00081198']/{ns}Item")
    assert failed is not None
    assert failed.findtext(f"{ns}DicomAttribute[@keyword='FailureReason']/{ns}Value") == "290"


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("*/*", "application/dicom+json"),
        ("application/json", "application/json"),
        ("application/dicom+xml;q=0.5, application/dicom+json", "application/dicom+json"),
        ("application/*;q=0.1, application/dicom+xml", "application/dicom+xml"),
        ("text/html", None),
        ("application/dicom+json;q=0", None),
    ],
)
def test_answers_are_of_the_kind_that_is_liked_best(
    shared: Service, accept: str, given: str | None
) -> None:
    response = shared.post(multipart(slices(1)), headers={"Accept": accept})

    if given is None:
        assert response.status_code == 406
    else:
        assert (response.status_code, response.headers["Content-Type"]) == (200, given)


# -- what is not ---------------------------------------------------------------------


def encoded_mr() -> bytes:
    one = image()
    one.SOPClassUID = MRImageStorage
    one.SOPInstanceUID = uid(99)
    return encoded(one)


def test_another_sop_class_or_transfer_syntax_is_refused_and_not_kept(service: Service) -> None:
    unknown = image(2)
    unknown.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    body = encoded(unknown).replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.9\x00")

    response = service.post(multipart([*slices(1), encoded_mr(), body]))

    assert response.status_code == 202
    assert uids(response, STORED) == [uid(1)]
    assert uids(response, FAILED) == [uid(99), uid(2)]
    assert reasons(response) == [
        Reason.SOP_CLASS_NOT_SUPPORTED,
        Reason.TRANSFER_SYNTAX_NOT_SUPPORTED,
    ]
    assert service.quarantined() == []


def test_only_the_study_of_the_address_is_taken(service: Service) -> None:
    other = generate_uid()
    body = multipart([*slices(1), encoded_of(StudyInstanceUID=other)])

    response = service.post(body, study=other)

    assert response.status_code == 202
    assert uids(response, STORED) == [uid(7)]
    assert (uids(response, FAILED), reasons(response)) == ([uid(1)], [DOES_NOT_MATCH])
    assert len(service.quarantined()) == 1
    assert service.ledger.find(STUDY) == []


def encoded_of(**changes: Any) -> bytes:
    one = image(7)
    for keyword, value in changes.items():
        setattr(one, keyword, value)
    return encoded(one)


def test_what_is_no_instance_is_refused_and_put_aside(service: Service) -> None:
    named_otherwise = image(1)
    content = encoded(named_otherwise)
    at = content.index(uid(1).encode())  # in the file meta information
    content = content[:at] + uid(2).encode() + content[at + len(uid(2)) :]
    no_study = image(3)
    del no_study.StudyInstanceUID

    response = service.post(multipart([b"no file", content, encoded(no_study), b""]))

    assert response.status_code == 409
    assert reasons(response) == [DOES_NOT_MATCH, CANNOT_UNDERSTAND]
    assert uids(response, FAILED) == [uid(2), uid(3)]
    assert reasons(response, OTHERS) == [CANNOT_UNDERSTAND, CANNOT_UNDERSTAND]
    assert sorted(reason.partition(": ")[2] for reason in service.quarantined()) == [
        f"SOPInstanceUID is {uid(1)} in the dataset and '{uid(2)}' in the command\n",
        "StudyInstanceUID is missing\n",
        "it is not a DICOM file: no DICM at byte 128\n",
    ]
    assert service.stored() == []


def test_one_bad_part_among_good_ones_costs_only_itself(service: Service) -> None:
    first, second, third = slices(3)
    other = b"Content-Type: image/jpeg"
    jpeg = b"--" + BOUNDARY.encode() + b"\r\n" + other + b"\r\n\r\n" + second
    body = multipart([first, second[:300], third]).replace(
        b"--b0undary--", jpeg + b"\r\n--b0undary--"
    )

    response = service.post(body)

    assert response.status_code == 202
    assert uids(response, STORED) == [uid(1), uid(3)]
    assert len(reasons(response, OTHERS)) + len(reasons(response, FAILED)) == 2


@pytest.mark.parametrize(
    ("content_type", "status", "said"),
    [
        ('multipart/related; type="application/dicom+json"; boundary=b', 415, "metadata"),
        ('multipart/related; type="application/dicom+xml"; boundary=b', 415, "metadata"),
        ("application/dicom+json", 415, "takes multipart/related"),
        ("text/plain", 415, "takes multipart/related"),
        ("", 415, "takes multipart/related"),
        ('multipart/related; type="application/dicom"', 400, "boundary"),
        (f"multipart/related; boundary={'b' * 201}", 400, "boundary"),
        ('multipart/related; boundary="a\\"b"', 400, "boundary"),
        ("multipart/related; boundary*0*=%", 400, "boundary"),
    ],
)
def test_a_body_of_another_kind_is_refused_and_told_what_is_taken(
    shared: Service, content_type: str, status: int, said: str
) -> None:
    response = shared.post(multipart(slices(1)), content_type)

    assert response.status_code == status
    assert said in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "ends before the first part"),
        (b"--b0undary--\r\n", "no instances"),
        (b"--other\r\n\r\nabc\r\n--other--", "ends before the first part"),
    ],
)
def test_a_body_without_instances_is_a_bad_request(shared: Service, body: bytes, said: str) -> None:
    response = shared.post(body)

    assert response.status_code == 400
    assert said in response.json()["detail"]


def test_a_body_that_breaks_off_loses_nothing_of_what_was_whole(service: Service) -> None:
    response = service.post(multipart(slices(2))[:-300])

    assert response.status_code == 202
    assert uids(response, STORED) == [uid(1)]
    assert reasons(response, OTHERS) == [CANNOT_UNDERSTAND]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/dicom-web/studies", 405),
        ("DELETE", f"/dicom-web/studies/{STUDY}", 405),
        ("GET", f"/dicom-web/studies/{STUDY}/series", 404),
        ("POST", "/dicom-web/workitems", 404),
        ("GET", "/", 404),
        ("GET", "/metrics", 404),
        ("POST", "/health/live", 405),
        ("POST", "/dicom-web/studies/no-uid", 400),
        ("POST", "/dicom-web/studies/..%2F..", 404),
    ],
)
def test_everything_else_is_told_in_json(
    shared: Service, method: str, path: str, status: int
) -> None:
    connection = http.client.HTTPConnection(shared.url.removeprefix("http://"), timeout=20)
    connection.request(method, path, headers={"Content-Type": DICOM_PARTS})
    response = connection.getresponse()

    assert response.status == status
    assert list(json.loads(response.read())) == ["detail"]
    if status == 405:
        assert response.headers["Allow"]
    assert response.headers["Access-Control-Allow-Origin"] is None
    connection.close()


def test_what_can_be_done_here_can_be_asked(shared: Service) -> None:
    response = requests.options(f"{shared.url}/dicom-web/", timeout=20)

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/vnd.sun.wadl+xml"
    root = ElementTree.fromstring(response.content)
    wadl = "{http://wadl.dev.java.net/2009/02}"
    assert [method.get("id") for method in root.iter(f"{wadl}method")] == ["StoreInstances", None]


# -- room and limits -----------------------------------------------------------------


def test_health_says_whether_instances_can_be_taken(tmp_path: Path) -> None:
    with taking(tmp_path / "home") as service:
        live, ready = (
            requests.get(f"{service.url}/health/{what}", timeout=20) for what in ("live", "ready")
        )
        assert (live.status_code, ready.status_code) == (200, 200)
    with taking(tmp_path / "home", {"min_free_gb": 10**9}) as service:
        ready = requests.get(f"{service.url}/health/ready", timeout=20)
        assert (ready.status_code, ready.text) == (503, "ledger: well\nspool: ill\n")


def test_without_room_nothing_is_taken_and_one_may_come_again(tmp_path: Path) -> None:
    with taking(tmp_path / "home", {"min_free_gb": 10**9}) as service:
        response = service.post(multipart(slices(1)))

        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert service.stored() == []


def test_a_disk_that_fills_in_the_middle_is_told_of_each_instance(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, kept = Intake._write, []

    def write(self: Intake, instance: Any, content: bytes) -> None:
        if len(kept) == 1:
            raise SpoolError("the disk is full")
        kept.append(instance)
        real(self, instance, content)

    monkeypatch.setattr(Intake, "_write", write)
    response = service.post(multipart(slices(2)))
    assert response.status_code == 202
    assert uids(response, STORED) == [uid(1)]
    assert (uids(response, FAILED), reasons(response)) == ([uid(2)], [OUT_OF_RESOURCES])

    response = service.post(multipart(slices(2, PatientID="T2")))
    assert response.status_code == 503
    assert response.headers["Retry-After"]


def large(number: int, megabytes: float) -> bytes:
    one = image(number)
    one.PixelData = bytes(int(megabytes * 1024**2) // 2 * 2)
    return encoded(one)


def test_an_instance_over_the_limit_is_named_and_the_others_are_stored(tmp_path: Path) -> None:
    with taking(tmp_path / "home", {"max_instance_mb": 1}) as service:
        response = service.post(multipart([large(8, 1.5), *slices(1)]))

        assert response.status_code == 202
        assert uids(response, STORED) == [uid(1)]
        assert (uids(response, FAILED), reasons(response)) == ([uid(8)], [Reason.TOO_LARGE])
        assert service.post(multipart([large(8, 1.5)])).status_code == 413
        assert service.post(large(8, 1.5), "application/dicom").status_code == 413
        assert service.quarantined() == []


def test_a_part_without_end_is_answered_and_not_listened_to_for_long(tmp_path: Path) -> None:
    def endless() -> Iterator[bytes]:
        yield multipart(slices(1)).removesuffix(b"--\r\n") + b"\r\n" + PART + b"\r\n\r\n"
        while True:
            yield bytes(2**16)

    with taking(tmp_path / "home", {"max_instance_mb": 1, "idle_s": 1}) as service:
        begun = time.monotonic()
        response = service.post(endless())

        assert time.monotonic() - begun < 10
        assert response.status_code == 202
        assert uids(response, STORED) == [uid(1)]
        assert len(service.stored()) == 1


def test_what_comes_at_the_same_time_has_one_limit(tmp_path: Path) -> None:
    held = threading.Event()

    def slowly(content: bytes) -> Iterator[bytes]:
        body = multipart([content])
        yield body[:-2000]
        held.wait(20)
        yield body[-2000:]

    with taking(tmp_path / "home", {"max_instance_mb": 3, "max_receiving_mb": 3}) as service:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(service.post(slowly(large(1, 2.5))).status_code)
        )
        thread.start()
        time.sleep(0.5)
        response = service.post(multipart([large(2, 2.5)]))
        held.set()
        thread.join(20)

        assert response.status_code == 503
        assert reasons(response) == [OUT_OF_RESOURCES]
        assert answers == [200]
        assert service.post(multipart([large(2, 2.5)])).status_code == 200  # given back


def test_thousands_of_empty_parts_are_answered_and_leave_nothing(service: Service) -> None:
    response = service.post(multipart([b""] * 15_000))

    assert response.status_code == 409
    assert len(reasons(response, OTHERS)) == 15_000
    assert service.quarantined() == []


def test_a_request_has_no_more_parts_than_the_largest_study(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.MOST_PARTS > 10_000
    monkeypatch.setattr(store, "MOST_PARTS", 100)
    response = service.post(multipart([*slices(1), *[b""] * 200]))

    assert response.status_code == 202
    assert uids(response, STORED) == [uid(1)]
    assert len(reasons(response, OTHERS)) == 100  # 99 that are empty, and what was not read


def raw(service: Service) -> socket.socket:
    assert service.settings.dicomweb.port is not None
    return socket.create_connection(("127.0.0.1", service.settings.dicomweb.port), timeout=20)


def heard(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1000)
    except ConnectionError:
        return b""


def test_who_does_not_ask_does_not_stay(tmp_path: Path) -> None:
    with taking(tmp_path / "home", {"idle_s": 0.5}) as service:
        silent, slow = raw(service), raw(service)
        slow.sendall(b"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nX-")
        begun = time.monotonic()
        assert heard(silent) == b""
        with suppress(OSError):
            while time.monotonic() - begun < 5:
                slow.sendall(b"a")
                time.sleep(0.2)
        assert heard(slow) == b""
        assert time.monotonic() - begun < 4


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    with taking(tmp_path / "home", {"idle_s": 0.5}) as service:
        body = multipart(slices(2))
        head = (
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: {DICOM_PARTS}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        with raw(service) as connection:
            connection.sendall(head + body[:-300])
            answer = heard(connection)
        assert answer.startswith(b"HTTP/1.1 202")
        with raw(service) as connection:
            connection.sendall(head)
            for _ in range(8):  # enough to be no silence, too little to come to an end
                connection.sendall(b"a")
                time.sleep(0.2)
            assert heard(connection).startswith(b"HTTP/1.1 408")


def test_one_address_cannot_take_all_connections(tmp_path: Path) -> None:
    with taking(tmp_path / "home", {"max_associations_per_address": 2}) as service:
        connections = [raw(service) for _ in range(4)]
        time.sleep(0.2)
        with raw(service) as fifth:
            assert heard(fifth) == b""
        for connection in connections:
            connection.close()
        time.sleep(0.2)
        assert service.post(multipart(slices(1))).status_code == 200


def test_too_many_requests_at_once_may_come_again(tmp_path: Path) -> None:
    held = threading.Event()

    def slowly() -> Iterator[bytes]:
        body = multipart(slices(1))
        yield body[:300]
        held.wait(20)
        yield body[300:]

    with taking(tmp_path / "home", {"max_associations_per_address": 1}) as service:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(service.post(slowly())))
        thread.start()
        time.sleep(0.5)
        response = service.post(multipart(slices(1)))
        held.set()
        thread.join(20)

        assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
        assert answers[0].status_code == 200


def test_a_sender_that_goes_away_in_the_middle_leaves_what_was_whole(service: Service) -> None:
    body = multipart(slices(3))
    with raw(service) as connection:
        connection.sendall(
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: {DICOM_PARTS}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        connection.sendall(body[:-300])
        for _ in range(100):
            if len(service.stored()) == 2:
                break
            time.sleep(0.05)
    time.sleep(0.3)

    (revision,) = service.ledger.find(STUDY)
    assert len(service.ledger.instances(revision)) == 2
    assert revision.released_at is not None  # its batch was ended: it is looked at soon
    assert service.post(body).status_code == 200


def test_a_request_that_is_under_way_at_the_end_keeps_what_was_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "STOPPING_S", 1)
    body = multipart(slices(3))
    with taking(tmp_path / "home") as service:
        connection = raw(service)
        connection.sendall(
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: {DICOM_PARTS}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        connection.sendall(body[:-300])
        wait_for(lambda: len(service.stored()) == 2, 10)
        settings = service.settings
    connection.close()

    (revision,) = open_ledger(settings.ledger_url).find(STUDY)
    assert revision.released_at is not None
    kinds = [record.find("EventIdentification/EventID") for record in records(service)]
    codes = [kind.get("csd-code") for kind in kinds if kind is not None]
    assert codes == ["110100", "110104", "110100"]  # started, instances transferred, stopped


def test_a_request_that_is_ended_twice_still_does_one_thing_after_the_other(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on, done = threading.Event(), []
    real = Intake._write

    def write(self: Intake, instance: Any, content: bytes) -> None:
        may_go_on.wait(20)
        real(self, instance, content)
        done.append("stored")

    monkeypatch.setattr(Intake, "_write", write)
    monkeypatch.setattr(Batch, "end", lambda _: done.append("ended"))
    desk = store.Desk(
        intake=Intake(service.settings, service.spool, service.ledger, Auditor.silent()),
        memory=Memory(10**9),
        longest=10**9,
        syntaxes=frozenset({ExplicitVRLittleEndian}),
        threads=ThreadPoolExecutor(4),
    )

    async def body() -> AsyncIterator[bytes]:
        yield multipart(slices(1))

    async def run() -> None:
        task = asyncio.ensure_future(
            store.Store(desk, Peer("A", "A", "127.0.0.1"), None).run(body(), BOUNDARY)
        )
        await asyncio.sleep(0.1)
        for _ in range(3):  # as at the end of the process: uvicorn once, asyncio again
            task.cancel()
            await asyncio.sleep(0.05)
        may_go_on.set()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert done == ["stored", "ended"]


# -- who may send --------------------------------------------------------------------

PASSWORD = "correct horse battery"
USERS = {"pacs": hash_password(PASSWORD)}
TOKENS = {"router": token_hash("a-token")}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with taking(tmp_path_factory.mktemp("locked"), users=USERS, tokens=TOKENS) as running:
        yield running


def records(service: Service) -> list[ElementTree.Element]:
    log = service.settings.home / "audit.log"
    return [
        ElementTree.fromstring(line[line.index("<AuditMessage") :])
        for line in log.read_text().splitlines()
    ]


def sender_of(service: Service, study: str) -> str:
    (revision,) = service.ledger.find(study)
    return service.ledger.instances(revision)[0].sender


def test_who_has_a_password_or_a_token_is_the_sender(locked: Service) -> None:
    for study, how in (
        ("1.2.3.1", {"auth": ("pacs", PASSWORD)}),
        ("1.2.3.2", {"headers": {"Authorization": "bearer a-token"}}),
    ):
        body = multipart([encoded_of(StudyInstanceUID=study, SeriesInstanceUID=study)])
        assert locked.post(body, **how).status_code == 200
    assert sender_of(locked, "1.2.3.1") == "pacs"
    assert sender_of(locked, "1.2.3.2") == "router"


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer other", "Bearer", "Basic", "Basic !!", "Basic cGFjczpvdGhlcg==", "Digest x"],
)
def test_who_has_neither_is_asked(locked: Service, authorization: str) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    response = locked.post(multipart(slices(1)), headers=headers)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert "Bearer realm=" in response.headers["WWW-Authenticate"]
    assert requests.get(f"{locked.url}/dicom-web/", timeout=20).status_code == 401


def test_names_that_are_not_looked_at_fill_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with taking(tmp_path / "home", tokens=TOKENS) as service:
        for number in range(20):
            response = service.post(b"", auth=(f"name{number}", PASSWORD))
            assert response.status_code == 401
    assert len([line for line in caplog.messages if "was not let in" in line]) == 1


def test_a_failed_login_is_recorded_and_patients_are_in_no_answer(tmp_path: Path) -> None:
    with taking(tmp_path / "home", users=USERS) as service:
        service.post(multipart(slices(1)), auth=("pacs", "something else"))
        service.post(multipart(slices(1)), auth=("pacs", PASSWORD))
    failed = [
        record
        for record in records(service)
        if record.find("EventIdentification[@EventOutcomeIndicator='4']") is not None
    ]
    assert len(failed) == 1
    assert failed[0].find("ActiveParticipant[@UserID='pacs']") is not None
    transferred = [
        r
        for r in records(service)
        if r.find("EventIdentification/EventID[@csd-code='110104']") is not None
    ]
    assert len(transferred) == 1
    assert transferred[0].find("ActiveParticipant[@UserID='pacs']") is not None


def test_who_tries_passwords_waits_and_the_sender_does_not(tmp_path: Path) -> None:
    with taking(tmp_path / "home", users=USERS) as service:
        assert service.post(multipart(slices(1)), auth=("pacs", PASSWORD)).status_code == 200
        for _ in range(5):
            assert service.post(b"", auth=("pacs", "wrong")).status_code == 401
        response = service.post(b"", auth=("pacs", "wrong"))
        assert response.status_code == 429
        assert int(response.headers["Retry-After"]) > 60
        assert service.post(multipart(slices(1)), auth=("pacs", PASSWORD)).status_code == 200


def test_only_known_networks_may_send(tmp_path: Path) -> None:
    with taking(tmp_path / "home", networks=["10.0.0.0/8"]) as service:
        assert service.post(multipart(slices(1))).status_code == 403
        assert service.stored() == []
    with taking(tmp_path / "home", networks=["127.0.0.0/8"]) as service:
        assert service.post(multipart(slices(1))).status_code == 200


def test_a_browser_cannot_be_made_to_send(shared: Service) -> None:
    response = shared.post(multipart(slices(1)), headers={"Origin": shared.url})

    assert response.status_code == 403


def test_senders_come_with_tls_and_with_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    node, sender = authority.issue("node"), authority.issue("sender")
    tls = {
        "certificate": node.certificate,
        "key": node.key,
        "ca": authority.certificate,
        "client_certificates": "required",
    }
    own = (str(sender.certificate), str(sender.key))
    with taking(tmp_path / "home", scheme="https", tls=tls) as service:
        ca = str(authority.certificate)
        body = multipart(slices(1))
        assert service.post(body, verify=ca, cert=own).status_code == 200
        with pytest.raises(requests.ConnectionError):
            service.post(body, verify=ca)
        # Who speaks without TLS, or an old one, hears nothing.
        with raw(service) as plain:
            plain.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"alive" not in heard(plain)
        old = ["openssl", "s_client", "-tls1_1", "-connect", service.url.removeprefix("https://")]
        done = subprocess.run(old, input=b"", capture_output=True, timeout=20, check=False)
        assert done.returncode != 0


# -- other senders -------------------------------------------------------------------


def test_curl_is_told_before_it_sends_what_is_not_wanted(locked: Service, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(bytes(8 * 1024**2))
    command = ["curl", "-s", "-o", "-", "-w", "%{http_code} %{size_upload}", "--data-binary"]
    command += [f"@{file}", "-H", f"Content-Type: {DICOM_PARTS}", "-H", "Expect: 100-continue"]
    done = subprocess.run([*command, locked.studies], capture_output=True, timeout=30, check=True)

    assert done.stdout.decode().endswith("401 0")


def test_dicomweb_client_stores_and_understands_the_answer(service: Service) -> None:
    client = DICOMwebClient(f"{service.url}/dicom-web")
    datasets = [pydicom.dcmread(BytesIO(content)) for content in slices(3)]
    answer = client.store_instances(datasets)

    assert [str(item.ReferencedSOPInstanceUID) for item in answer.ReferencedSOPSequence] == [
        uid(1),
        uid(2),
        uid(3),
    ]
    assert "FailedSOPSequence" not in answer


def test_a_compressed_instance_stays_compressed(service: Service) -> None:
    compressed = image(hu=ramp(1, 64, 64))
    compressed.compress(JPEG2000Lossless)
    compressed.SOPInstanceUID = uid(1)

    assert service.post(multipart([encoded(compressed)])).status_code == 200
    found = pydicom.dcmread(service.stored()[0])
    assert found.file_meta.TransferSyntaxUID == JPEG2000Lossless
