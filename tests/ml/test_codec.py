"""Compressed frames are decoded in a process that may hang or crash."""

import os
import signal
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from ml.codec import Codec
from ml.errors import PixelError
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
