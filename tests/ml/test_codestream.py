"""What a compressed frame says of its own size."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import get_frame
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from ml.codestream import declared_size, is_cut_short
from tests import ct

CJPEG = Path("/usr/bin/dcmcjpeg")


@pytest.mark.parametrize(
    ("syntax", "size"),
    [(JPEG2000Lossless, (40, 64)), (JPEGLSLossless, (40, 64)), (RLELossless, None)],
)
def test_rows_and_columns_are_read(syntax: str, size: tuple[int, int] | None) -> None:
    out = ct.image(hu=ct.ramp(0, 40, 64))
    out.compress(syntax, generate_instance_uid=False)
    assert declared_size(get_frame(out.PixelData, 0, number_of_frames=1)) == size


@pytest.mark.skipif(not CJPEG.exists(), reason=f"not installed: {CJPEG}")
@pytest.mark.parametrize("process", ["+e1", "+eb", "+ep"])
def test_rows_and_columns_of_jpeg_are_read(tmp_path: Path, process: str) -> None:
    hu = np.arange(40 * 64).reshape(40, 64) % 256
    path = ct.write(ct.stored(ct.image(), hu, bits=8, signed=False), tmp_path / "1.dcm")
    subprocess.run([CJPEG, process, path, tmp_path / "2.dcm"], check=True)
    shutil.copy(tmp_path / "2.dcm", path)
    assert declared_size(get_frame(dcmread(path).PixelData, 0, number_of_frames=1)) == (40, 64)


@pytest.mark.parametrize("padding", [b"", b"\0", b"\xff", bytes(200_000)])
def test_a_frame_with_its_end_is_whole_however_it_is_padded(padding: bytes) -> None:
    out = ct.image(hu=ct.ramp(0, 40, 64))
    out.compress(JPEGLSLossless, generate_instance_uid=False)
    frame = get_frame(out.PixelData, 0, number_of_frames=1).rstrip(b"\0")
    assert not is_cut_short(frame + padding)
    assert is_cut_short(frame[:-1])
    assert is_cut_short(frame[: len(frame) // 2])


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\xff\xd8\x00\x00\x00\x00",
        b"\xff\x4f\xff\x51\x00",
        b"\xff\xd8" + b"\xff" * 40,
        b"\xff\xd8" + b"\xff\xe0\x00\x00" * 9,
    ],
)
def test_a_broken_codestream_says_nothing(frame: bytes) -> None:
    assert declared_size(frame) is None
