"""How fast a series of files becomes what the network sees."""

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import torch
from pydicom.uid import JPEG2000Lossless

from ml.describe import Preprocess, build_backbone
from ml.labels import Label
from ml.phantom import make_phantom, write_dicom
from ml.series import load_volume
from ml.windows import PAPER_WINDOWS
from node.headers import read_headers_beside
from node.spool import Spool, digest_of
from tests.bench.row import Comparison, Figure, LeftOut, Row
from tests.bench.turns import in_turns, seconds

SIZE = 512
SLICES = 40
BATCH = 4
PASSED = 4
"""Slices that go through the network in a turn."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def rows(folder: Path) -> Iterator[Row | LeftOut]:
    """Digest, headers, pixels, windows, beside pydicom alone and ResNet-50's forward pass."""
    cores = torch.get_num_threads()
    preprocess = Preprocess(PAPER_WINDOWS, SIZE, MEAN, STD)
    network = build_backbone("resnet50").eval().to(memory_format=torch.channels_last)
    noise = torch.rand(PASSED, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward() -> float:
        return PASSED / seconds(lambda: network(noise))

    for kind, files in _kinds(folder):
        if isinstance(files, LeftOut):
            yield files
            continue
        digests = [digest_of(file.read_bytes()) for file in files]
        found = in_turns(
            {
                "ichnode": lambda f=files, d=digests: (
                    len(f) / seconds(lambda: _ours(folder, f, d, preprocess))
                ),
                "pydicom": lambda f=files: len(f) / seconds(lambda: _plain(f, preprocess)),
                "network": forward,
            }
        )
        yield Row(
            f"{SLICES} files to windowed slices of {SIZE} x {SIZE}, {kind}",
            Figure("ichnode", found["ichnode"], "slices/s"),
            [
                Comparison(
                    Figure("a loop over pydicom on one core", found["pydicom"], "slices/s"),
                    1.6 if cores > 1 else None,
                ),
                Comparison(
                    Figure(
                        f"ResNet-50's forward pass, {cores} threads", found["network"], "slices/s"
                    ),
                    10,
                ),
            ],
            note="the node's figure has in it that every file is hashed and its header "
            "read within limits",
        )


def _ours(home: Path, files: list[Path], digests: list[str], preprocess: Preprocess) -> None:
    spool = Spool(home)
    paths = [file.relative_to(spool.folder) for file in files]
    series, held = read_headers_beside(files, lambda: all(map(spool.holds, paths, digests)))
    assert held
    assert series.arrangement is not None
    hu = load_volume(series.arrangement).hu
    for start in range(0, len(hu), BATCH):
        preprocess.window(torch.tensor(hu[start : start + BATCH]))


def _plain(files: list[Path], preprocess: Preprocess) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for file in files:
            image = pydicom.dcmread(file)
            stored = image.pixel_array.astype(np.float32)
            hu = stored * float(image.RescaleSlope) + float(image.RescaleIntercept)
            preprocess.window(torch.from_numpy(hu)[None])
    finally:
        torch.set_num_threads(threads)


def _kinds(folder: Path) -> Iterator[tuple[str, list[Path] | LeftOut]]:
    home = folder / "spool"
    plain = _series(home / "plain")
    yield "uncompressed", plain
    try:
        lossless = _each(
            plain,
            home / "lossless",
            lambda file, out: subprocess.run(["dcmcjpeg", "+e1", file, out], check=True),
        )
        yield "JPEG lossless", lossless
    except FileNotFoundError:
        yield "", LeftOut("JPEG lossless to windowed slices", "DCMTK's dcmcjpeg is not installed")
    yield "JPEG 2000", _each(plain, home / "2000", _to_jpeg_2000)


def _series(folder: Path) -> list[Path]:
    """A phantom's slices, again further up until there are enough."""
    phantom = make_phantom(8, size=SIZE, findings=[Label.INTRAPARENCHYMAL])
    drawn = write_dicom(phantom, folder / "drawn")
    height_mm = phantom.spacing_mm * len(drawn)
    files = []
    for number, file in zip(range(SLICES), itertools.cycle(drawn), strict=False):
        image = pydicom.dcmread(file)
        image.SOPInstanceUID = f"{image.SOPInstanceUID[:50]}.{number}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.InstanceNumber = number + 1
        image.ImagePositionPatient[2] += height_mm * (number // len(drawn))
        files.append(folder / f"{number:04d}.dcm")
        image.save_as(files[-1])
    return files


def _each(files: list[Path], folder: Path, convert: Callable[[Path, Path], object]) -> list[Path]:
    folder.mkdir()
    for file in files:
        convert(file, folder / file.name)
    return sorted(folder.iterdir())


def _to_jpeg_2000(file: Path, out: Path) -> None:
    image = pydicom.dcmread(file)
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    image.save_as(out)
