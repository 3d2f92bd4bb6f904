"""How fast stage 1 runs its backbone: the node's runtime beside PyTorch as it comes."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ml.bundle import load_bundle
from ml.describe import Describer, Preprocess, build_backbone
from ml.phantom import make_phantom
from ml.windows import PAPER_WINDOWS
from tests.bench.row import Comparison, Figure, LeftOut, Row
from tests.bench.turns import in_turns, seconds

CPU = torch.device("cpu")
GOAL_CPU = 2.0
GOAL_GPU = 0.95
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SERIES, SLICES, BATCH = 16, 64, 16


def rows(_folder: Path) -> Iterator[Row | LeftOut]:
    """The paper's backbone, the one that is shipped, and series after series on a GPU."""
    preprocess, backbone = paper()
    yield on_cpu("ResNet-50 at 512 pixels", preprocess, backbone, 8, times=3)
    shipped = load_bundle("phantom")
    yield on_cpu("the shipped model's stage 1", shipped.preprocess, shipped.backbone, 16, times=7)
    work = f"stage 1 on a GPU, {SERIES} series of {SLICES} slices, ResNet-50 at 512 pixels"
    yield on_gpu(work) if torch.cuda.is_available() else LeftOut(work, "no GPU")


def paper() -> tuple[Preprocess, nn.Module]:
    """The paper's stage 1, with random weights."""
    torch.manual_seed(1)
    backbone = build_backbone("resnet50")
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    preprocess = Preprocess(PAPER_WINDOWS, 512, *IMAGENET)
    with torch.no_grad():  # statistics of what it will see; else it says nothing of anything
        backbone.train()(preprocess(torch.from_numpy(head(512)[::8])))
    return preprocess, backbone.eval()


def head(size: int) -> np.ndarray:
    """A phantom's slices, int16 HU."""
    return make_phantom(8, size=size, findings=[]).hu


def on_cpu(
    work: str, preprocess: Preprocess, backbone: nn.Module, slices: int, *, times: int
) -> Row:
    """The same batch through the node's describer and through PyTorch in float32, two ways."""
    backbone.requires_grad_(False)
    eager = copy.deepcopy(backbone).to(memory_format=torch.contiguous_format)
    last = copy.deepcopy(backbone).to(memory_format=torch.channels_last)
    describer = Describer(preprocess, backbone, CPU, runtime="auto")
    size = preprocess.input_size
    windowed = describer.window(head(max(size, 256))[:slices])
    batch = preprocess.normalise(windowed).contiguous()
    repeat = max(1, 512 // size) ** 2

    def rate(run: Callable[[], object]) -> Callable[[], float]:
        def measure() -> float:
            with torch.inference_mode():
                return slices * repeat / seconds(lambda: [run() for _ in range(repeat)])

        return measure

    found = in_turns(
        {
            "node": rate(lambda: describer.describe_windowed(windowed)),
            "eager": rate(lambda: eager(batch)),
            "last": rate(lambda: last(preprocess.normalise(windowed))),
        },
        times,
    )
    with torch.inference_mode():
        ours, theirs = describer.describe_windowed(windowed).logits, eager(batch)
    apart = float((ours.sigmoid() - theirs.sigmoid()).abs().max())
    return Row(
        f"{work}, batches of {slices} on {torch.get_num_threads()} threads of the CPU",
        Figure(f"ichnode by {describer.runtime}", found["node"], "slices/s"),
        [
            Comparison(
                Figure(f"PyTorch {torch.__version__} eager", found["eager"], "slices/s"), GOAL_CPU
            ),
            Comparison(Figure("the same in channels-last order", found["last"], "slices/s")),
        ],
        note=f"by {describer.runtime}; probabilities are at most {apart:.1e} apart",
    )


def on_gpu(work: str) -> Row:
    """Series from int16 HU in memory to logits, and the forward pass alone."""
    device = torch.device("cuda")
    preprocess, backbone = paper()
    backbone.requires_grad_(False)
    full = copy.deepcopy(backbone).to(device)
    describer = Describer(preprocess, backbone, device, batch_size=BATCH)
    hu = np.resize(head(512), (SLICES, 512, 512))
    ready = preprocess.normalise(describer.window(hu[:BATCH]))

    def describe() -> float:
        def work() -> None:
            said = [describer.describe(hu).logits for _ in range(SERIES)]
            torch.cat(said).cpu()

        return SERIES * SLICES / seconds(work)

    def forward() -> float:
        def work() -> None:
            with torch.inference_mode(), torch.autocast("cuda", torch.float16):
                said = [backbone(ready) for _ in range(SERIES * SLICES // BATCH)]
            torch.cat(said).cpu()

        return SERIES * SLICES / seconds(work)

    found = in_turns({"node": describe, "bare": forward}, 5)
    with torch.inference_mode():
        apart = (describer.describe(hu[:BATCH]).logits.sigmoid() - full(ready).sigmoid()).abs()
    return Row(
        work,
        Figure("ichnode", found["node"], "slices/s"),
        [Comparison(Figure("the forward pass alone", found["bare"], "slices/s"), GOAL_GPU)],
        note=f"{torch.cuda.get_device_name(device)}; probabilities are at most "
        f"{float(apart.max()):.1e} from those in float32",
    )
