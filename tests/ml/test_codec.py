"""Compressed frames are decoded in a process that may hang or crash."""

import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

import ml.codec
import ml.frames
from ml.codec import Codec, Codecs
from ml.errors import PixelError
from ml.frames import Frame, decode_frames, read_frames, read_header
from ml.series import arrange, load_volume
from ml.stored import stored_frame
from tests import ct

SYNTAXES = [JPEG2000Lossless, JPEGLSLossless, RLELossless]


@pytest.fixture
def codec() -> Iterator[Codec]:
    one = Codec()
    yield one
    one.close()


def compressed(syntax: str = JPEG2000Lossless) -> Dataset:
    out = ct.image(hu=ct.ramp(0, 64, 64))
    out.compress(syntax, generate_instance_uid=False)
    return out


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_frame_decodes_to_the_same_values_apart(
    tmp_path: Path, codec: Codec, syntax: str
) -> None:
    path = ct.write(compressed(syntax), tmp_path / "1.dcm")
    apart = codec.decode(path, 0)
    assert (apart == ct.ramp(0, 64, 64) + 1024).all()
    assert apart.dtype == stored_frame(path, 0).dtype


def test_an_error_of_the_decoder_is_told_and_the_process_goes_on(
    tmp_path: Path, codec: Codec
) -> None:
    broken = compressed()
    broken.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(100)])
    good = ct.write(compressed(), tmp_path / "2.dcm")
    codec.decode(good, 0)
    process = codec._process
    with pytest.raises(PixelError):
        codec.decode(ct.write(broken, tmp_path / "1.dcm"), 0)
    codec.decode(good, 0)
    assert codec._process is process


def test_a_decoder_that_panics_does_not_take_the_worker_with_it(
    tmp_path: Path, codec: Codec
) -> None:
    """The RLE decoder's panic over a frame that is too long is no Exception of Python."""
    out = compressed(RLELossless)
    out.Rows = 32
    with pytest.raises(PixelError, match="cannot be decoded"):
        codec.decode(ct.write(out, tmp_path / "1.dcm"), 0)


def endless(folder: Path) -> Path:
    """A box of length zero in front of a JPEG 2000 codestream: pydicom looks at it for ever."""
    out = compressed()
    out.PixelData = encapsulate([b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(8)])
    return ct.write(out, folder / "endless.dcm")


def test_a_frame_that_hangs_its_reader_is_given_up(tmp_path: Path) -> None:
    codec = Codec(seconds=0.5)
    try:
        with pytest.raises(PixelError, match=r"cannot be decoded within 0\.5 s"):
            codec.decode(endless(tmp_path), 0)
        assert codec.decode(ct.write(compressed(), tmp_path / "2.dcm"), 0).shape == (64, 64)
    finally:
        codec.close()


def test_a_decoder_that_crashes_over_a_frame_costs_that_frame(tmp_path: Path, codec: Codec) -> None:
    path = ct.write(compressed(), tmp_path / "1.dcm")
    codec.decode(path, 0)
    assert codec._process is not None
    crash = threading.Timer(0.3, os.kill, (codec._process.pid, signal.SIGSEGV))
    crash.start()
    with pytest.raises(PixelError, match="the decoder crashed: SIGSEGV"):
        codec.decode(endless(tmp_path), 0)
    assert codec.decode(path, 0).shape == (64, 64)


def test_a_decoder_that_was_killed_while_idle_costs_no_frame(tmp_path: Path, codec: Codec) -> None:
    path = ct.write(compressed(), tmp_path / "1.dcm")
    codec.decode(path, 0)
    assert codec._process is not None
    codec._process.kill()
    codec._process.wait()
    assert codec.decode(path, 0).shape == (64, 64)


def test_a_process_that_was_forked_off_uses_a_decoder_of_its_own(
    tmp_path: Path, codec: Codec
) -> None:
    path = ct.write(compressed(), tmp_path / "1.dcm")
    codec.decode(path, 0)
    assert codec._process is not None
    codec._owner += 1  # as another process sees it
    theirs = codec._process
    codec.decode(path, 0)
    assert codec._process is not theirs
    theirs.kill()
    theirs.communicate()


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize(("rows", "columns"), [(32, 64), (32, 128), (128, 128)])
def test_a_frame_of_another_size_than_its_header_says_is_refused(
    tmp_path: Path, codec: Codec, syntax: str, rows: int, columns: int
) -> None:
    """Also where the number of pixels is the same, which the decoders let pass."""
    out = compressed(syntax)
    out.Rows, out.Columns = rows, columns
    with pytest.raises(PixelError, match=f"frame is 64 x 64, the header says {rows} x {columns}"):
        codec.decode(ct.write(out, tmp_path / "1.dcm"), 0)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_codestream_that_promises_gigabytes_takes_no_memory(
    tmp_path: Path, codec: Codec, syntax: str
) -> None:
    out = compressed(syntax)
    content = bytearray(out.PixelData)
    if syntax == JPEG2000Lossless:
        struct.pack_into(">II", content, content.find(b"\xff\x4f\xff\x51") + 8, 65535, 65535)
    else:
        struct.pack_into(">HH", content, content.find(b"\xff\xf7") + 5, 65535, 65535)
    out.PixelData = bytes(content)
    with pytest.raises(PixelError, match="frame is 65535 x 65535"):
        codec.decode(ct.write(out, tmp_path / "1.dcm"), 0)


def test_the_decoder_may_not_take_more_memory_than_its_limit(codec: Codec, tmp_path: Path) -> None:
    codec.decode(ct.write(compressed(), tmp_path / "1.dcm"), 0)
    assert codec._process is not None
    limits = Path(f"/proc/{codec._process.pid}/limits").read_text().splitlines()
    assert next(line for line in limits if line.startswith("Max address")).split()[3] == str(2**31)
    assert next(line for line in limits if line.startswith("Max core")).split()[4] == "0"


def test_values_come_back_as_they_are_stored(tmp_path: Path, codec: Codec) -> None:
    """Eight bits in an image of sixteen: the decoder gives what the header allocates."""
    out = ct.stored(ct.image(), np.arange(64 * 64).reshape(64, 64) % 200, bits=8, signed=False)
    out.compress(JPEGLSLossless, generate_instance_uid=False)
    assert codec.decode(ct.write(out, tmp_path / "1.dcm"), 0).max() == 199


# -- many processes -----------------------------------------------------------------


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[Codecs]:
    """Three processes, however many cores there are."""
    codecs = Codecs(3)
    monkeypatch.setattr(ml.codec, "_codecs", codecs)
    yield codecs
    codecs.close()


def compressed_series(folder: Path, count: int) -> list[Path]:
    def change(out: Dataset) -> None:
        out.compress(RLELossless, generate_instance_uid=False)

    return ct.series(folder, [5.0 * n for n in range(count)], change)


def frames_of(paths: list[Path]) -> list[Frame]:
    return [frame for path in paths for frame in read_frames(read_header(path), path)]


def test_frames_keep_their_order_with_many_processes(tmp_path: Path, three: Codecs) -> None:
    decoded = list(decode_frames(frames_of(compressed_series(tmp_path, 40))))
    assert [hu[0, 0] for hu in decoded if isinstance(hu, np.ndarray)] == list(range(1, 41))
    assert len({codec._process.pid for codec in three._all if codec._process}) == 3


def test_a_few_frames_start_one_process(tmp_path: Path, three: Codecs) -> None:
    assert len(list(decode_frames(frames_of(compressed_series(tmp_path, 8))))) == 8
    assert len(three._all) == 1


def test_a_crash_among_many_frames_costs_one_of_them(tmp_path: Path, three: Codecs) -> None:
    paths = compressed_series(tmp_path, 40)
    frames = frames_of(paths)
    endless(tmp_path).replace(paths[20])

    def crash() -> None:
        for _ in range(600):
            for codec in three._all:
                if codec._process is not None and _processor_s(codec._process.pid) > 1.5:
                    os.kill(codec._process.pid, signal.SIGSEGV)
                    return
            time.sleep(0.05)

    killer = threading.Thread(target=crash)
    killer.start()
    volume = load_volume(arrange(frames))
    killer.join()
    assert [s.instance_number for s in volume.slices] == [n for n in range(1, 41) if n != 21]
    assert [hu[0, 0] for hu in volume.hu] == [n for n in range(1, 41) if n != 21]
    assert len(volume.left_out) == 1
    assert "the decoder crashed: SIGSEGV" in volume.left_out[0].reason


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_frame_that_hangs_does_not_hold_up_the_others(tmp_path: Path, three: Codecs) -> None:
    paths = compressed_series(tmp_path, 40)
    frames = frames_of(paths)
    endless(tmp_path).replace(paths[0])
    hanging = Codec(seconds=2)
    good = Codec()
    good.decode(paths[1], 0)  # it runs
    three._all += [hanging, good]
    three._idle += [good, hanging]
    decoded = decode_frames(frames)
    answers: list[object] = [next(decoded)]  # the hanging one
    assert isinstance(answers[0], PixelError) and "within 2 s" in str(answers[0])
    start = time.monotonic()
    ready = [next(decoded) for _ in range(6)]  # what the others did meanwhile
    assert time.monotonic() - start < 0.5
    assert all(isinstance(hu, np.ndarray) for hu in [*ready, *decoded])


@pytest.mark.parametrize(("pixels", "most"), [(10 * 12 * 16, 7), (3 * 12 * 16, 3)])
def test_no_more_frames_are_decoded_ahead_than_memory_is_for(
    tmp_path: Path, three: Codecs, monkeypatch: pytest.MonkeyPatch, pixels: int, most: int
) -> None:
    frames = frames_of(compressed_series(tmp_path, 40))
    begun: list[Frame] = []
    decode = ml.frames.decode
    monkeypatch.setattr(ml.frames, "decode", lambda f: (begun.append(f), decode(f))[1])
    monkeypatch.setattr(ml.frames, "MOST_AHEAD", pixels)
    decoded = decode_frames(frames)
    for taken in range(1, 21):
        next(decoded)
        time.sleep(0.02)
        assert len(begun) <= taken + most
    decoded.close()
    assert len(begun) < len(frames)


def test_each_process_has_the_limits(tmp_path: Path, three: Codecs) -> None:
    list(decode_frames(frames_of(compressed_series(tmp_path, 40))))
    for codec in three._all:
        assert codec._process is not None
        limits = Path(f"/proc/{codec._process.pid}/limits").read_text()
        assert re.search(rf"Max address space +{2**31} +{2**31}", limits)


def test_a_process_without_work_ends_and_the_next_frame_does_not_notice(tmp_path: Path) -> None:
    path = ct.write(compressed(), tmp_path / "1.dcm")
    codec = Codec(idle_s=0.3)
    try:
        codec.decode(path, 0)
        process = codec._process
        assert process is not None and process.wait(10) == 0
        assert codec.decode(path, 0).shape == (64, 64)
        assert codec._process is not process
    finally:
        codec.close()


def test_a_process_that_leaves_just_as_a_frame_comes_costs_no_frame(
    tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ct.write(compressed(), tmp_path / "1.dcm")
    codec.idle_s = 0.1
    codec.decode(path, 0)
    assert codec._process is not None
    monkeypatch.setattr(codec._process, "poll", lambda: None)  # it seems to run
    time.sleep(0.5)
    assert codec.decode(path, 0).shape == (64, 64)


PARENT = """
import sys
from pathlib import Path
from ml.codec import Codec
codecs = [Codec(), Codec()]
for codec in codecs:
    codec.decode(Path(sys.argv[1]), 0)
print(*[codec._process.pid for codec in codecs], flush=True)
sys.stdin.read()
"""


def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    good = ct.write(compressed(), tmp_path / "1.dcm")
    command = [sys.executable, "-c", PARENT, good]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    deadline = time.monotonic() + 10
    while any(_is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(pids) == 2
    assert not [pid for pid in pids if _is_running(pid)]


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


FORK = """
import os, sys, threading, time
from pathlib import Path
import ml.codec
ml.codec.limit_codecs(1)
path, endless = Path(sys.argv[1]), Path(sys.argv[2])
threading.Thread(target=ml.codec.decode_apart, args=(endless, 0), daemon=True).start()
time.sleep(0.5)
if not os.fork():
    os._exit(0 if ml.codec.decode_apart(path, 0).shape == (64, 64) else 1)
os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_process_that_is_forked_off_while_a_frame_is_decoded_waits_for_nobody(
    tmp_path: Path,
) -> None:
    path = ct.write(compressed(), tmp_path / "1.dcm")
    subprocess.run([sys.executable, "-c", FORK, path, endless(tmp_path)], check=True, timeout=9)
