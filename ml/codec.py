"""Decode compressed frames in processes of their own, as many as there are cores.

The decoders are C, C++ and Rust libraries that were written for speed. One that
hangs, crashes or takes all memory over a broken frame takes a process with it
that holds nothing else; the kernel ends it (`RLIMIT_AS`, a timer of processor
time), and the next frame gets a new one. It costs a copy of the frame through a
pipe, a hundredth of what decoding takes.

Run as a program it is such a process: a line of JSON comes for each frame, a line
of JSON and the values go back.
"""

import atexit
import fcntl
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from ml.errors import PixelError, first_line
from ml.limits import MOST_CODEC_MEMORY, MOST_CODEC_SECONDS
from ml.stored import stored_frame

IDLE_S = 60.0
"""A process that has had no frame for so long ends itself."""

_ENVIRONMENT = {
    # Memory for threads that a decoder does not use would count.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Memory is kept from frame to frame: to give it back and to fault it in again would
    # take a tenth of the time of a JPEG lossless frame.
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}

_PIPE = 1 << 20
"""Bytes that a process can answer before anybody reads: more than a frame of 512 x 512."""


class Codec:
    """Decodes frames, one after the other, in a process that is started when needed.

    Parameters
    ----------
    seconds : float
        Processor time that a frame may take.
    idle_s : float
        How long the process waits for a frame.
    """

    def __init__(self, seconds: float = MOST_CODEC_SECONDS, idle_s: float = IDLE_S) -> None:
        self.seconds = seconds
        self.idle_s = idle_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # a process that was forked off must not talk to this one's

    def decode(self, path: Path, index: int) -> np.ndarray:
        """Read one frame as `ml.stored.stored_frame` does.

        Raises
        ------
        PixelError
            As there, and if a decoder crashes or takes too long or too much memory.
        OSError
            If no process can be started.
        """
        with self._lock:
            try:
                try:
                    return self._try(path, index)
                except _Ended as ended:
                    if ended.status != 0:
                        raise
                    # It had waited too long and left just as the frame came.
                    return self._try(path, index)
            except _Ended as ended:
                raise PixelError(self._why_it_ended(ended.status)) from None

    def _try(self, path: Path, index: int) -> np.ndarray:
        process = self._running()
        try:
            return _ask(process, path, index)
        except PixelError:
            raise
        except (BrokenPipeError, EOFError):
            self._process = None
            process.wait()  # its pipes are closed: it has ended, or is about to
            raise _Ended(_end(process)) from None
        except BaseException:  # its answer may still come, and belongs to no other frame
            self._process = None
            _end(process)
            raise

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            if self._process is not None and self._owner == os.getpid():
                _end(self._process)
            self._process = None

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._owner != os.getpid():
            self._process = None
        if self._process is not None and self._process.poll() is not None:
            _end(self._process)  # it had been idle for long, or the system took it
            self._process = None
        if self._process is None:
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ml.codec", str(self.seconds), str(self.idle_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # libraries print what a frame holds
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,  # Ctrl-C is for the worker
            )
            assert self._process.stdout is not None
            with suppress(OSError):  # a user's pipes may take only so much in all
                fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE)
        return self._process

    def _why_it_ended(self, status: int) -> str:
        if status == -signal.SIGPROF:
            return f"pixel data cannot be decoded within {self.seconds:g} s"
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"pixel data cannot be decoded (the decoder crashed: {name})"


class _Ended(Exception):
    """The process ended before it answered."""

    def __init__(self, status: int) -> None:
        self.status = status


def _end(process: "subprocess.Popen[bytes]") -> int:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.kill()
    return process.wait()


def _ask(process: "subprocess.Popen[bytes]", path: Path, index: int) -> np.ndarray:
    assert process.stdin is not None and process.stdout is not None
    request = json.dumps({"path": str(path.absolute()), "index": index})
    # Past the buffer: what a process that is forked off finds there it would write too.
    os.write(process.stdin.fileno(), request.encode() + b"\n")
    answer = json.loads(process.stdout.readline() or _gone())
    if "error" in answer:
        raise PixelError(answer["error"])
    values = bytearray(answer["bytes"])
    if process.stdout.readinto(values) < len(values):  # type: ignore[attr-defined]
        _gone()
    return np.frombuffer(values, answer["dtype"]).reshape(answer["shape"])


def _gone() -> bytes:
    raise EOFError


class Codecs:
    """Decodes frames, several at a time; each process has one and is limited by itself.

    Parameters
    ----------
    most : int, optional
        Processes; without it as many as there are cores that this one may use. A further
        one is started only when a frame comes while all others are busy.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most or len(os.sched_getaffinity(0))
        self._places = threading.Semaphore(self.most)
        self._all: list[Codec] = []
        self._idle: list[Codec] = []

    def decode(self, path: Path, index: int) -> np.ndarray:
        """Read one frame: `Codec.decode`."""
        with self._places:
            try:
                codec = self._idle.pop()  # the latest: its process is the likeliest to run
            except IndexError:
                codec = Codec()
                self._all.append(codec)
            try:
                return codec.decode(path, index)
            finally:
                self._idle.append(codec)

    def close(self) -> None:
        """End the processes."""
        for codec in self._all:
            codec.close()


_codecs = Codecs()


@atexit.register
def _close() -> None:
    _codecs.close()


def limit_codecs(most: int | None) -> None:
    """Decode in so many processes from now on, or in as many as there are cores.

    For a process that is itself one of as many as there are cores.
    """
    global _codecs  # noqa: PLW0603  what a process has one of
    _codecs.close()
    _codecs = Codecs(most)


def _forked() -> None:
    """Begin anew: who held a place or a lock is not here, and the processes are another's."""
    global _codecs  # noqa: PLW0603
    _codecs = Codecs(_codecs.most)


os.register_at_fork(after_in_child=_forked)


def decode_apart(path: Path, index: int) -> np.ndarray:
    """Read one frame in one of this process's decoders: `Codec.decode`."""
    return _codecs.decode(path, index)


def most_codecs() -> int:
    """How many frames `decode_apart` can read at a time."""
    return _codecs.most


# -- the process ------------------------------------------------------------------


def _serve(requests: IO[bytes], answers: IO[bytes], seconds: float, idle_s: float) -> None:
    while select.select([requests], [], [], idle_s)[0]:
        line = requests.readline()
        if not line:
            return
        request = json.loads(line)
        # The timer ends the process: a handler in Python would wait for the decoder.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer, values = _answer(Path(request["path"]), request["index"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.write(values)
        answers.flush()


def _answer(path: Path, index: int) -> tuple[dict[str, Any], memoryview]:
    try:
        stored = np.ascontiguousarray(stored_frame(path, index))
    except PixelError as error:
        return {"error": str(error)}, memoryview(b"")
    except BaseException as error:  # a panic of Rust is no Exception
        return {"error": f"pixel data cannot be decoded ({first_line(error)})"}, memoryview(b"")
    about = {"dtype": stored.dtype.str, "shape": stored.shape, "bytes": stored.nbytes}
    return about, stored.data


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_CODEC_MEMORY, MOST_CODEC_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold a patient's image
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    _serve(sys.stdin.buffer, answers, float(sys.argv[1]), float(sys.argv[2]))


if __name__ == "__main__":
    _main()
