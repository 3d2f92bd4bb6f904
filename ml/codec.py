"""Decode compressed frames in a process of their own.

The decoders are C, C++ and Rust libraries that were written for speed. One that
hangs, crashes or takes all memory over a broken frame takes a process with it
that holds nothing else; the kernel ends it (`RLIMIT_AS`, a timer of processor
time), and the next frame gets a new one. It costs a copy of the frame through a
pipe, a hundredth of what decoding takes.

Run as a program it is that process: a line of JSON comes for each frame, a line
of JSON and the values go back.
"""

import atexit
import json
import os
import resource
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

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Memory for threads that a decoder does not use would count."""


class Codec:
    """Decodes frames, one after the other, in a process that is started when needed.

    Parameters
    ----------
    seconds : float
        Processor time that a frame may take.
    """

    def __init__(self, seconds: float = MOST_CODEC_SECONDS) -> None:
        self.seconds = seconds
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
            process = self._running()
            try:
                return _ask(process, path, index)
            except (BrokenPipeError, EOFError):
                self._process = None
                raise PixelError(self._why_it_ended(process)) from None

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            if self._process is not None and self._owner == os.getpid():
                _end(self._process)
            self._process = None

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._owner == os.getpid() and self._process is not None and self._process.poll():
            _end(self._process)  # the system took it while it was idle
            self._process = None
        if self._process is None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ml.codec", str(self.seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # libraries print what a frame holds
                env={**os.environ, **_ONE_THREAD},
                start_new_session=True,  # Ctrl-C is for the worker
            )
        return self._process

    def _why_it_ended(self, process: "subprocess.Popen[bytes]") -> str:
        process.wait()  # its pipes are closed: it has ended, or is about to
        status = -_end(process)
        if status == signal.SIGPROF:
            return f"pixel data cannot be decoded within {self.seconds:g} s"
        name = signal.Signals(status).name if status > 0 else f"exit status {-status}"
        return f"pixel data cannot be decoded (the decoder crashed: {name})"


def _end(process: "subprocess.Popen[bytes]") -> int:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # a request that it did not read
                pipe.close()
    process.kill()
    return process.wait()


def _ask(process: "subprocess.Popen[bytes]", path: Path, index: int) -> np.ndarray:
    assert process.stdin is not None and process.stdout is not None
    request = json.dumps({"path": str(path.absolute()), "index": index})
    process.stdin.write(request.encode() + b"\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline() or _gone())
    if "error" in answer:
        raise PixelError(answer["error"])
    dtype, shape = np.dtype(answer["dtype"]), tuple(answer["shape"])
    values = process.stdout.read(answer["bytes"])
    if len(values) < answer["bytes"]:
        _gone()
    return np.frombuffer(values, dtype).reshape(shape)


def _gone() -> bytes:
    raise EOFError


_codec = Codec()
atexit.register(_codec.close)


def decode_apart(path: Path, index: int) -> np.ndarray:
    """Read one frame in this process's decoder: `Codec.decode`."""
    return _codec.decode(path, index)


# -- the process ------------------------------------------------------------------


def _serve(requests: IO[bytes], answers: IO[bytes], seconds: float) -> None:
    for line in requests:
        request = json.loads(line)
        # The timer ends the process: a handler in Python would wait for the decoder.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer, values = _answer(Path(request["path"]), request["index"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(json.dumps(answer).encode() + b"\n" + values)
        answers.flush()


def _answer(path: Path, index: int) -> tuple[dict[str, Any], bytes]:
    try:
        stored = stored_frame(path, index)
    except PixelError as error:
        return {"error": str(error)}, b""
    except BaseException as error:  # a panic of Rust is no Exception
        return {"error": f"pixel data cannot be decoded ({first_line(error)})"}, b""
    values = stored.tobytes()
    about = {"dtype": stored.dtype.str, "shape": stored.shape, "bytes": len(values)}
    return about, values


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_CODEC_MEMORY, MOST_CODEC_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold a patient's image
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    _serve(sys.stdin.buffer, answers, float(sys.argv[1]))


if __name__ == "__main__":
    _main()
