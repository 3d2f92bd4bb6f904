"""Several processes that receive on one port."""

import os
import signal
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, JPEG2000Lossless
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from ml.phantom import make_phantom, write_dicom
from node.broker import free_port
from node.dicom import IMPLEMENTATION_CLASS_UID
from node.errors import ConfigError
from node.intake import file_content
from node.ledger import open_ledger
from node.listener import c_store_rsp, fragments_of
from node.port import open_port
from node.settings import Settings, load_settings
from node.up import receivers
from tests.e2e.peers import ICHNODE, Node, storescu, wait_for

UIDS = st.lists(st.integers(0, 10**12).map(str), min_size=1, max_size=9).map(".".join)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_dicom(make_phantom(5, size=64), tmp_path_factory.mktemp("phantom"))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """`ichnode receive` alone, with three processes."""
    config = tmp_path / "ichnode.toml"
    config.write_text(
        f'home = "{tmp_path / "home"}"\n[dicom]\nport = {free_port()}\nprocesses = 3\n'
        '[assemble]\ngrace_s = 3600\nquiet_s = 3600\n[broker]\nurl = "redis://127.0.0.1:1"\n'
    )
    settings, log = load_settings(config), tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*ICHNODE, "receive", "--config", str(config)], stdout=output, stderr=output
        )
    ledger = open_ledger(settings.ledger_url)
    running = Node(config, settings, process, ledger, log)
    try:
        wait_for(lambda: log.read_text().count("listening on") == 3, 60, "three processes")
        yield running
    finally:
        process.terminate()
        assert process.wait(30) == 0
        ledger.close()


def test_the_first_of_them_assembles_and_all_have_names_of_their_own() -> None:
    parts = receivers(Settings(dicom={"processes": 3}))

    assert len(parts) == 3
    assert [command for command in parts.values() if "--further" not in command] == [["receive"]]


def test_a_port_that_another_one_holds_is_told(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, dicom={"port": free_port()})
    with open_port(settings), pytest.raises(ConfigError, match=r"cannot listen.*in use.*port"):
        open_port(settings)


def test_images_over_many_associations_are_one_series(node: Node, files: list[Path]) -> None:
    senders = [
        subprocess.Popen(
            ["/usr/bin/storescu", "-aec", "ICHNODE", "127.0.0.1", str(node.port), *map(str, some)]
        )
        for some in (files[0::4], files[1::4], files[2::4], files[3::4])
    ]

    assert [sender.wait(60) for sender in senders] == [0, 0, 0, 0]
    [revision] = node.ledger.recent(10)
    assert revision.instances == len(files)


def test_a_process_that_is_killed_turns_nobody_away(node: Node, files: list[Path]) -> None:
    pids = node.children()["receive"]
    assert len(pids) == 3

    for index, file in enumerate(files[:9]):
        if index < 2:
            os.kill(pids[index], signal.SIGKILL)
        assert storescu(node.port, [file]).returncode == 0

    wait_for(lambda: len(node.children()["receive"]) == 3, 60, "three processes again")


def test_while_none_is_left_connections_wait(node: Node, files: list[Path]) -> None:
    node.kill("receive")

    assert storescu(node.port, files[:3]).returncode == 0
    [revision] = node.ledger.recent(10)
    assert revision.instances == 3


# -- what is encoded by hand, against the library ----------------------------------


@given(sop_class=UIDS, instance=UIDS, status=st.integers(0, 0xFFFF), number=st.integers(0, 0xFFFF))
def test_the_answer_to_a_c_store_is_what_the_library_makes_of_it(
    sop_class: str, instance: str, status: int, number: int
) -> None:
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo, answer.Status = number, status
    answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID = sop_class[:64], instance[:64]
    message = C_STORE_RSP()
    message.primitive_to_message(answer)

    encoded = c_store_rsp(answer)

    assert encoded == encode(message.command_set, True, True)
    assert decode(BytesIO(encoded), True, True).Status == status


@given(instance=UIDS, dataset=st.binary(max_size=64))
def test_an_instance_becomes_a_file_with_meta_information(instance: str, dataset: bytes) -> None:
    content = file_content(str(CTImageStorage), instance, str(JPEG2000Lossless), dataset)
    meta = pydicom.dcmread(BytesIO(content[: len(content) - len(dataset)])).file_meta

    assert content.endswith(dataset)
    assert meta.MediaStorageSOPClassUID == CTImageStorage
    assert meta.MediaStorageSOPInstanceUID == instance
    assert meta.TransferSyntaxUID == JPEG2000Lossless
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.FileMetaInformationVersion == b"\x00\x01"
    assert len(content) - len(dataset) == 132 + 12 + meta.FileMetaInformationGroupLength


def test_what_is_written_is_what_was_sent(node: Node, files: list[Path]) -> None:
    assert storescu(node.port, files[:1]).returncode == 0

    [stored] = (node.settings.home / "spool").rglob("*.dcm")
    assert pydicom.dcmread(stored) == pydicom.dcmread(files[0])


@given(
    st.lists(st.tuples(st.integers(1, 255), st.binary(min_size=1, max_size=40)), max_size=4),
    st.integers(0, 60),
)
def test_a_pdu_of_data_is_decoded_as_the_library_does_it(
    values: list[tuple[int, bytes]], cut: int
) -> None:
    primitive = P_DATA()
    primitive.presentation_data_value_list.extend(values)
    whole = P_DATA_TF(primitive).encode()

    assert fragments_of(memoryview(whole)[6:]) == values
    if values and 0 < cut <= 5 + len(values[-1][1]) - 1:
        with pytest.raises(ValueError, match=r"of a PDU|in a PDU"):
            fragments_of(memoryview(whole)[6:-cut])
