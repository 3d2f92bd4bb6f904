"""A short run of what `make fuzz` does at length; and each finding is one."""

import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node.broker import free_port
from tests.fuzz import campaign
from tests.fuzz.campaign import fuzz_files, fuzz_port, fuzz_stow
from tests.fuzz.files import generator, read
from tests.fuzz.mutate import elements, mutated
from tests.fuzz.pdus import CONTEXTS, ECHO, RELEASE, Ending, Session, attack, request, session
from tests.fuzz.port import Port, running_port
from tests.fuzz.requests import store_request
from tests.fuzz.seeds import seeds

SEED = "short"
FILES = 1_000
SESSIONS = 80
REQUESTS = 120


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    with running_port(tmp_path_factory.mktemp("port")) as running:
        yield running


def test_bad_files_crash_nothing_hang_nothing_and_take_no_memory(tmp_path: Path) -> None:
    done: list[int] = []
    result = fuzz_files(SEED, FILES, 2, tmp_path / "findings", tmp_path / "work", done.append)

    assert result.findings == []
    assert result.outcomes.total() == sum(done) == FILES
    assert result.most_mib < 400
    # They come far enough to be worth something, and not all of them through.
    assert 0.05 < result.outcomes["taken, decoded"] / FILES < 0.5
    assert result.outcomes["taken, not decoded"] > 0.05 * FILES


def test_bad_sessions_leave_the_receiver_well_and_give_back_what_they_took(tmp_path: Path) -> None:
    done: list[int] = []
    result = fuzz_port(SEED, SESSIONS, 8, tmp_path, done.append)

    assert result.findings == []
    assert result.outcomes.total() == len(done) == SESSIONS
    for heard in ("accepted", "answered", "aborted"):
        assert result.outcomes[f"last heard: {heard}"] > 0.05 * SESSIONS, heard


def test_bad_requests_leave_the_service_well_and_give_back_what_they_took(tmp_path: Path) -> None:
    done: list[int] = []
    result = fuzz_stow(SEED, REQUESTS, 8, tmp_path, done.append)

    assert result.findings == []
    assert result.outcomes.total() == len(done) == REQUESTS
    for heard in ("200", "202", "400", "409", "415"):
        assert result.outcomes[f"last heard: {heard}"] > 0.02 * REQUESTS, heard
    assert result.outcomes["last heard: 500"] == 0


# -- the inputs ------------------------------------------------------------------


def test_an_input_is_the_same_whenever_it_is_made() -> None:
    for number in range(50):
        first, again = (mutated(generator("x", number), seeds()) for _ in range(2))
        assert first == again
        first, again = (session(random.Random(f"x {number}")) for _ in range(2))
        assert first == again
        one, other = (store_request(random.Random(f"x {number}")) for _ in range(2))
        assert one == other


def test_the_good_files_are_read_to_the_end(tmp_path: Path) -> None:
    for number, content in enumerate(seeds()):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(content)
        assert read(path).startswith("taken, decoded"), number


def test_a_good_file_is_taken_apart_to_its_last_byte() -> None:
    for content in seeds()[:2]:
        spans = elements(content)
        assert spans[-1].end == len(content)
        assert [b.start for b in spans[1:]] == [a.end for a in spans[:-1]]


def test_a_good_session_is_answered(port: Port) -> None:
    good = Session((request(*CONTEXTS), ECHO, RELEASE), Ending.CLOSE)
    assert attack(port.number, good, []) == "answered"


# -- what is found ---------------------------------------------------------------

_BROKEN = """
import tests.fuzz.files as files
real = files.read
def read(path):
    if path.stem == "3":
        {how}
    return real(path)
files.read = read
files._main()
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("import os; os.kill(os.getpid(), 11)", "exit status -11"),
        (
            "import time; files.faulthandler.dump_traceback_later(0.2, exit=True); time.sleep(9)",
            "Timeout",
        ),
    ],
)
def test_a_file_that_breaks_the_reader_is_kept_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    program = tmp_path / "broken.py"
    program.write_text(_BROKEN.format(how=how))
    real = subprocess.Popen

    def start(command: list[str], **more: object) -> object:
        return real([sys.executable, str(program), *command[3:]], **more)

    monkeypatch.setattr(campaign.subprocess, "Popen", start)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    done: list[int] = []
    result = fuzz_files(SEED, 6, 1, tmp_path / "findings", tmp_path / "work", done.append)

    (finding,) = result.findings
    kept = tmp_path / "findings" / f"{SEED}-3.dcm"
    assert str(kept) in finding
    assert said in finding + kept.with_suffix(".txt").read_text()
    assert kept.read_bytes() == mutated(generator(SEED, 3), seeds())
    assert result.outcomes["broken"] == 1
    assert result.outcomes.total() == sum(done) == 6


def test_connections_that_are_not_given_back_are_found(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = port.use()
    held = []
    for _ in range(12):
        held.append(socket.create_connection(("127.0.0.1", port.number)))
        held[-1].sendall(request(*CONTEXTS))
        held[-1].recv(1000)
    monkeypatch.setattr(campaign, "_SETTLES_S", 0.0)
    leak = campaign._leak(port, before)
    for connection in held:
        connection.close()
    assert leak is not None and "not given back" in leak


def test_a_receiver_that_does_not_answer_is_ill(port: Port) -> None:
    assert port.illness() is None
    assert replace(port, number=free_port()).illness() == "it takes no association"
