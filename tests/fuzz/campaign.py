"""Many bad inputs, counted; what broke is kept."""

import itertools
import json
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.pdus import attack, session
from tests.fuzz.port import IDLE_S, Port, Use, running_port, running_stow
from tests.fuzz.requests import send, store_request

Progress = Callable[[int], None]
"""Gets how many more inputs are done."""


@dataclass
class Result:
    """What came of a campaign.

    Parameters
    ----------
    outcomes : collections.Counter of str
        How many inputs ended how.
    findings : list of str
        What crashed, hung or took too much memory, with where the input is kept.
    most_mib : int
        The most memory that a process took.
    """

    outcomes: "Counter[str]" = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    most_mib: int = 0


def fuzz_files(
    seed: str, count: int, jobs: int, findings: Path, work: Path, progress: Progress
) -> Result:
    """Read bad files in processes that may break.

    Parameters
    ----------
    seed : str
    count : int
        Inputs.
    jobs : int
        Processes at the same time.
    findings : pathlib.Path
        Folder for files that broke one.
    work : pathlib.Path
        Empty folder.
    progress : callable
    """
    result = Result()
    lock = threading.Lock()
    bounds = [count * job // jobs for job in range(jobs + 1)]
    with ThreadPoolExecutor(jobs) as pool:
        shares = [
            pool.submit(
                _share,
                seed,
                range(first, end),
                findings,
                work / str(job),
                result,
                lock,
                progress,
            )
            for job, (first, end) in enumerate(itertools.pairwise(bounds))
        ]
        for share in shares:
            share.result()
    return result


def _share(
    seed: str,
    numbers: range,
    findings: Path,
    work: Path,
    result: Result,
    lock: threading.Lock,
    progress: Progress,
) -> None:
    """Read some of the files, with a new process after each that broke one."""
    first = numbers.start
    while first < numbers.stop:
        work.mkdir(parents=True, exist_ok=True)
        complaints = work / "stderr.txt"
        with complaints.open("wb") as stderr:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.fuzz.files",
                    seed,
                    str(first),
                    str(numbers.stop - first),
                    work,
                ],
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
            assert process.stdout is not None
            for line in process.stdout:
                said = json.loads(line)
                with lock:
                    result.outcomes[said["outcome"]] += 1
                    result.most_mib = max(result.most_mib, said["most_mib"])
                    progress(1)
            process.wait()
        left = next(work.glob("*.dcm"), None)
        if process.returncode == 0:
            return
        if left is None:
            raise RuntimeError(complaints.read_text()[-2000:])
        number = int(left.stem)
        findings.mkdir(parents=True, exist_ok=True)
        kept = findings / f"{seed}-{number}.dcm"
        shutil.move(left, kept)
        lines = complaints.read_text(errors="replace").strip().splitlines() or ["no word"]
        shutil.move(complaints, kept.with_suffix(".txt"))
        with lock:
            result.outcomes["broken"] += 1
            result.findings.append(f"{kept}: exit status {process.returncode}: {lines[-1][:200]}")
            progress(1)
        first = number + 1


# -- associations --------------------------------------------------------------

MOST_GROWTH_MIB = 300
"""What the receiver may have more of after a campaign than before."""

_SETTLES_S = 60.0


def fuzz_port(seed: str, count: int, jobs: int, work: Path, progress: Progress) -> Result:
    """Hold bad sessions with a receiver, and see whether it is well afterwards.

    Parameters
    ----------
    seed : str
    count : int
        Sessions.
    jobs : int
        At the same time.
    work : pathlib.Path
        Empty folder.
    progress : callable
    """

    def hold(number: int, port: Port, stay: list[socket.socket]) -> str:
        return attack(port.number, session(random.Random(f"session {seed} {number}")), stay)

    return _fuzz(running_port(work), hold, count, jobs, progress)


def fuzz_stow(seed: str, count: int, jobs: int, work: Path, progress: Progress) -> Result:
    """Send bad store requests, and see whether who takes them is well afterwards.

    Parameters
    ----------
    seed : str
    count : int
        Requests.
    jobs : int
        At the same time.
    work : pathlib.Path
        Empty folder.
    progress : callable
    """

    def hold(number: int, port: Port, stay: list[socket.socket]) -> str:
        return send(port.number, store_request(random.Random(f"request {seed} {number}")), stay)

    return _fuzz(running_stow(work), hold, count, jobs, progress)


Hold = Callable[[int, Port, "list[socket.socket]"], str]
"""One attack by its number; it says what was heard, and gives the connection that stays."""


def _fuzz(
    running: AbstractContextManager[Port], hold: Hold, count: int, jobs: int, progress: Progress
) -> Result:
    result = Result()
    with running as port:
        before = port.use()
        with ThreadPoolExecutor(jobs) as pool:
            for outcome in pool.map(lambda n: _hold(hold, n, port, progress), range(count)):
                result.outcomes[f"last heard: {outcome}"] += 1
        result.most_mib = port.use().mib if port.process.poll() is None else 0
        if illness := port.illness():
            result.findings.append(f"the receiver is ill right after: {illness}")
        elif leak := _leak(port, before):
            result.findings.append(leak)
        said = port.log.read_text(errors="replace")
        if (crashes := said.count("Traceback")) > 0:
            result.findings.append(f"{crashes} tracebacks in {port.log}")
    return result


def _hold(hold: Hold, number: int, port: Port, progress: Progress) -> str:
    stay: list[socket.socket] = []
    try:
        return hold(number, port, stay)
    except OSError as error:
        return f"no connection ({error.strerror})"
    finally:
        progress(1)
        for connection in stay:
            connection.settimeout(2 * IDLE_S)  # by then the node has to have left it
            with suppress(OSError):
                while connection.recv(65536):
                    pass
            connection.close()


def _leak(port: Port, before: Use) -> str | None:
    """What is not given back after a while."""
    deadline = time.monotonic() + _SETTLES_S
    while True:
        now = port.use()
        if now.threads <= before.threads + port.spare and now.open <= before.open + port.spare:
            break
        if time.monotonic() > deadline:
            return f"not given back: {now} after, {before} before"
        time.sleep(0.5)
    if now.mib > before.mib + MOST_GROWTH_MIB:
        return f"not given back: {now} after, {before} before"
    return None
