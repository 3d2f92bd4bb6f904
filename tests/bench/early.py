"""``python -m tests.bench.early``: what it would bring to run stage 1 while a series comes in.

The node does not do so. Its way is measured, from the last slice stored to the report in the
archive, and the forward pass alone, on the same machine while the node is idle: a node
that had done all of it before the last slice came would need that much less, at best.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import pydicom
import torch
import typer
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from rich.console import Console

from ml.describe import build_backbone
from ml.labels import Label
from ml.phantom import make_phantom, write_dicom
from ml.series import load_series
from node.analyze import Analyzer
from node.settings import load_settings
from tests.bench.latency import CONFIG, GRACE_S, _way
from tests.bench.row import Comparison, Figure, Report, Row
from tests.bench.turns import seconds
from tests.e2e.peers import Node, running_node, running_orthanc
from tests.models import write_bundle

SCANNER_S = 0.25
"""From slice to slice of a scanner that sends what it has just reconstructed."""

MODELS = {"phantom": "the shipped bundle", "resnet50": "ResNet-50 at 512 pixels"}


class Scanner(Node):
    """A node to which the slices go at a scanner's pace, over one association."""

    def send(self, files: Sequence[Path], *_options: str) -> None:
        ae = AE("SCANNER")
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", self.port, ae_title="ICHNODE")
        due = time.monotonic()
        for file in files:
            time.sleep(max(0, due - time.monotonic()))
            assert association.send_c_store(pydicom.dcmread(file)).Status == 0
            due += SCANNER_S
        association.release()


def rows(folder: Path, model: str, times: int) -> Iterator[Row]:
    """One model, as fast as DCMTK sends and at a scanner's pace."""
    phantom = make_phantom(6, size=512, findings=(Label.INTRAPARENCHYMAL,))
    files = write_dicom(phantom, folder / "series")
    config = CONFIG
    if model == "resnet50":
        state = dict(build_backbone("resnet50").state_dict())
        write_bundle(folder / "resnet50", state, backbone="resnet50", input_size=512)
        config += f'[model]\nbundle = "{folder / "resnet50"}"\n'
    with (
        running_orthanc(folder / "orthanc") as orthanc,
        running_node(folder, [("orthanc", "ORTHANC", orthanc.port)], config, verbose=False) as node,
    ):
        _way(files, node, orthanc)  # the first is slower
        paces: dict[str, Node] = {
            "sent by DCMTK without a pause": node,
            f"sent at one slice in {SCANNER_S:g} s": Scanner(**vars(node)),
        }
        took = {
            pace: GRACE_S
            + statistics.median(_way(files, to, orthanc)["in all"] for _ in range(times))
            for pace, to in paces.items()
        }
        forward_s = _forward(files, folder)
    for pace, found in took.items():
        yield Row(
            f"last of {len(files)} slices to its report in Orthanc, {MODELS[model]}, {pace}",
            Figure("ichnode", found, "s"),
            [Comparison(Figure("with the forward pass done before", found - forward_s, "s"))],
            note=f"{GRACE_S:g} s of it are grace; the forward pass alone takes {forward_s:.2f} s",
        )


def _forward(files: Sequence[Path], folder: Path) -> float:
    analyzer = Analyzer.load(load_settings(folder / "ichnode.toml"))
    torch.set_num_threads(os.cpu_count() or 1)  # as many as the worker has
    volume = load_series(files)
    return statistics.median(seconds(lambda: analyzer.detector.detect(volume)) for _ in range(3))


def main(
    model: Annotated[str, typer.Argument(help=f"One of {', '.join(MODELS)}.")],
    times: Annotated[int, typer.Option(help="Series for each figure.")] = 3,
) -> None:
    """Measure the node's way and what of it is the forward pass."""
    since = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ichnode-early-") as folder:
        found = list(rows(Path(folder), model, times))
    Report(found, [], time.monotonic() - since).show(Console())
    for row in found:
        Console().print(f"{row.work}: {row.note}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
