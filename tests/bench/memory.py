"""How much memory the parts of a node take at most: what they hold is bounded."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from ml.labels import Label
from ml.phantom import make_phantom, write_dicom
from node.ledger import State
from tests.bench.receive import send_all
from tests.bench.row import Comparison, Figure, LeftOut, Row
from tests.e2e.peers import ICHNODE, Node, dcmtk, running_node

ASSOCIATIONS = 8
SLICES = 1000
SIZE = 128
LARGE_SLICES, LARGE_SIZE = 50, 512
MOST_RECEIVER_MIB = 256
MOST_GROWTH = 1.1
"""A second round may find the peak this much higher: what is held does not add up."""

THIN_SLICES = 2000
THIN_STEP_MM = 0.1
MOST_WORKER_MIB = 4096
MIB = "MiB"

CONFIG = f"""
[assemble]
grace_s = 1
quiet_s = 5
[eligibility]
min_slices = {THIN_SLICES}
"""
"""Series are assembled, by headers that are all read, and then skipped: no model is measured."""


def rows(folder: Path) -> Iterator[Row | LeftOut]:
    """The receivers under many long series, then a worker under one very long one."""
    if Path(dcmtk("storescu")).exists():
        yield from _receivers(folder)
    else:
        yield LeftOut("memory of the receivers", "not installed: storescu")
    yield _worker(folder / "thin")


def _receivers(folder: Path) -> Iterator[Row]:
    work = f"{ASSOCIATIONS} associations of {SLICES} slices of {SIZE} x {SIZE}"
    with running_node(folder, more=CONFIG, verbose=False) as node:
        processes = node.children()["receive"]
        idle, first, second = (
            max(map(peak_mib, processes)),
            _round(folder, node, SIZE, SLICES),
            _round(folder, node, SIZE, SLICES),
        )
        large = _round(folder, node, LARGE_SIZE, LARGE_SLICES)
        assert node.children()["receive"] == processes, "a receiver was started again"
    yield Row(
        f"memory of a receiver at most, {work}, twice",
        Figure("ichnode", second, MIB),
        [Comparison(Figure("after the first round", first, MIB), 1 / MOST_GROWTH)],
        most=MOST_RECEIVER_MIB,
        note=f"the larger of {len(processes)} processes; idle {idle:.0f} MiB; then with "
        f"{ASSOCIATIONS} x {LARGE_SLICES} slices of {LARGE_SIZE} x {LARGE_SIZE} {large:.0f} MiB",
    )


def _round(folder: Path, node: Node, size: int, slices: int) -> float:
    """Send new series, one an association, until all are assembled; the receivers' peak, MiB."""
    series = [_series(folder / f"series{n}", size, slices) for n in range(ASSOCIATIONS)]
    send_all([folder / f"series{n}" for n in range(ASSOCIATIONS)], node.port)
    for uid in series:
        node.wait_for(uid, State.SKIPPED)
    return max(map(peak_mib, node.children()["receive"]))


@cache
def _template(folder: Path, size: int) -> Path:
    """An image to make others of: to draw a phantom of 512 x 512 takes seconds."""
    return write_dicom(make_phantom(3, size=size), folder / f"phantom{size}")[0]


def _series(folder: Path, size: int, slices: int) -> str:
    """Write one image as many, of a new series; its Series Instance UID."""
    template = _template(folder.parent, size)
    header = pydicom.dcmread(template, stop_before_pixels=True)
    study, series, image = (
        str(header[keyword].value).encode()
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    )
    uid = _new(series)
    content = template.read_bytes().replace(study, _new(study)).replace(series, uid)
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for number in range(slices):
        (folder / f"{number:04}.dcm").write_bytes(content.replace(image, _new(image)))
    return uid.decode()


def _new(old: bytes) -> bytes:
    """A UID of the same length."""
    return (generate_uid().encode() + b"1" * len(old))[: len(old)]


def _worker(folder: Path) -> Row:
    """What a worker does, files to results, in a process of its own."""
    files = write_dicom(
        make_phantom(6, size=512, findings=(Label.INTRAPARENCHYMAL,)), folder / "phantom"
    )
    _thin(files, folder / "series")
    since = time.monotonic()
    with (folder / "said.json").open("wb") as said:
        process = subprocess.Popen(
            [*ICHNODE, "analyze", "--json", "--out", str(folder / "out"), str(folder / "series")],
            stdout=said,
        )
        peak = 0.0
        try:
            while process.poll() is None:
                peak = max(peak, peak_mib(process.pid))
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, (folder / "said.json").read_text()[-2000:]
    results = sum(1 for path in (folder / "out").rglob("*.dcm"))
    return Row(
        f"memory of a worker at most, {THIN_SLICES} slices of 512 x 512",
        Figure("ichnode", peak, MIB),
        most=MOST_WORKER_MIB,
        note=f"as `ichnode analyze` with {results} results, in {time.monotonic() - since:.0f} s; "
        f"the slices alone are {THIN_SLICES * 512 * 512 * 2 / 2**20:.0f} MiB of HU",
    )


def _thin(files: Sequence[Path], folder: Path) -> None:
    """Write a stack of slices so close that there are very many, each image again and again."""
    folder.mkdir()
    images = [pydicom.dcmread(file) for file in files]
    left, back, foot = images[0].ImagePositionPatient
    for number in range(THIN_SLICES):
        image = images[number * len(images) // THIN_SLICES]
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.InstanceNumber = number + 1
        image.SliceThickness = THIN_STEP_MM
        image.SliceLocation = foot + number * THIN_STEP_MM
        image.ImagePositionPatient = [left, back, image.SliceLocation]
        image.save_as(folder / f"{number:04}.dcm")


def peak_mib(process_id: int) -> float:
    """The most memory that a process has held; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) / 1024 if found else 0.0
