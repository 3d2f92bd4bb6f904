"""Many bad inputs, counted; what broke is kept."""

import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

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
        said = work / "stderr.txt"
        with said.open("wb") as stderr:
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
            last = _follow(process, result, lock, progress)
        left = next(work.glob("*.dcm"), None)
        if process.returncode == 0:
            return
        if left is None:
            raise RuntimeError(said.read_text()[-2000:])
        number = int(left.stem)
        findings.mkdir(parents=True, exist_ok=True)
        kept = findings / f"{seed}-{number}.dcm"
        shutil.move(left, kept)
        lines = said.read_text(errors="replace").strip().splitlines() or ["no word"]
        shutil.move(said, kept.with_suffix(".txt"))
        with lock:
            result.outcomes["broken"] += 1
            result.findings.append(f"{kept}: exit status {process.returncode}: {lines[-1][:200]}")
            progress(number + 1 - first - last)
        first = number + 1


def _follow(
    process: "subprocess.Popen[bytes]", result: Result, lock: threading.Lock, progress: Progress
) -> int:
    """Add up what a process reports; gives how many inputs it spoke of."""
    assert process.stdout is not None
    done, counted = 0, Counter[str]()
    for line in process.stdout:
        said = json.loads(line)
        with lock:
            result.outcomes += Counter(said["outcomes"]) - counted
            result.most_mib = max(result.most_mib, said["most_mib"])
            progress(said["done"] - done)
        done, counted = said["done"], Counter(said["outcomes"])
    process.wait()
    return done
