"""How fast stage 1 trains here, and what holds it up.

Three rates of one process, in this order and again in the opposite one:

- with the loader: as `training.train_slices` does it, from the files on;
- on the device: the same, from slices that are there already;
- bare: the network alone, on a batch that is ready, without changes to slices.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, cycle, islice, repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from training import cli
from training.stage1 import presets
from training.stage1.blocks import Batch
from training.stage1.checkpoint import Recipe
from training.stage1.ranks import joined
from training.stage1.weights import NOTHING
from training.store import load_store
from training.train_slices import Setting, Training, read


@dataclass(frozen=True)
class Throughput:
    """Rates of training, images/s.

    Parameters
    ----------
    device : str
        What it was measured on.
    backbone : str
    input_size : int
    batch : int
        Slices of a step.
    loader, on_device, bare : float
        See the module.
    loader_share : float
        `loader` over `on_device`: 1 if files are no bottleneck.
    changes_share : float
        `on_device` over `bare`: 1 if changing slices costs nothing.
    series : int
        Of an RSNA to train on.
    hours : float
        That all epochs would take with the loader, one model.
    """

    device: str
    backbone: str
    input_size: int
    batch: int
    loader: float
    on_device: float
    bare: float
    loader_share: float
    changes_share: float
    series: int
    hours: float


def endless(training: Training) -> Iterator[Batch]:
    """Batches of epoch after epoch."""

    def epoch(number: int) -> Iterator[Batch]:
        training.deal(number)
        return read(training.batches)

    return chain.from_iterable(map(epoch, range(sys.maxsize)))


def rate(step: Callable[[Batch], object], batches: Iterator[Batch], steps: int) -> float:
    """Slices per second of some steps, from a still device to a still device."""
    _still()
    started = time.perf_counter()
    slices = 0
    for batch in islice(batches, steps):
        step(batch)
        slices += len(batch)
    _still()
    return slices / (time.perf_counter() - started)


def _still() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(training: Training, steps: int, warm_up: int, series: int) -> Throughput:
    """Measure the three rates.

    Parameters
    ----------
    training : Training
        Whose weights are spoiled by it.
    steps : int
        Of each rate, twice.
    warm_up : int
        Steps before.
    series : int
        To tell the time for.
    """
    recipe, device = training.recipe, training.rank.device
    generator = torch.Generator(device).manual_seed(0)
    training.model.train()
    files = endless(training)

    def from_files(batch: Batch) -> None:
        training.step(batch.to(device), generator)

    def unread() -> Iterator[Batch]:
        # What workers read ahead while something else was measured does not count.
        reader = training.batches
        for _ in islice(files, reader.num_workers * (reader.prefetch_factor or 0)):
            pass
        return files

    def there(batch: Batch) -> None:
        training.step(batch, generator)

    # As many as differ, but no more than a small GPU holds.
    kept = [batch.to(device) for batch in islice(files, 4)]
    slices, labels = training.augment(
        kept[0].groups, kept[0].labels, training.preprocess, generator
    )

    def bare(_: Batch) -> None:
        training.learn(slices, labels)

    for _ in range(warm_up):
        from_files(next(files))
        bare(kept[0])
    ways = (
        (from_files, unread),
        (there, lambda: cycle(kept)),
        (bare, lambda: repeat(kept[0])),
    )
    once = [rate(step, source(), steps) for step, source in ways]
    again = [rate(step, source(), steps) for step, source in reversed(ways)][::-1]
    loader, on_device, alone = ((a + b) / 2 for a, b in zip(once, again, strict=True))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    images = recipe.epochs * series * recipe.blocks_per_series * recipe.block
    return Throughput(
        device=name,
        backbone=recipe.backbone,
        input_size=recipe.input_size,
        batch=len(kept[0]),
        loader=loader,
        on_device=on_device,
        bare=alone,
        loader_share=loader / on_device,
        changes_share=on_device / alone,
        series=series,
        hours=images / loader / 3600,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.throughput``."""
    parser = cli.parser("throughput", "Measure how fast stage 1 trains on this machine.")
    parser.add_argument("data", type=cli.existing, help="folder made by training.prepare")
    parser.add_argument("--steps", type=cli.positive, default=50, help="of each rate, twice")
    parser.add_argument("--warm-up", type=cli.positive, default=5, help="steps before")
    parser.add_argument(
        "--series",
        type=cli.positive,
        default=21744,
        help="to tell the time for; RSNA 2019 has these",
    )
    parser.add_argument("--workers", type=cli.not_negative, help="processes that read")
    parser.add_argument("--threads", type=cli.not_negative, default=0, help="0 leaves it to torch")
    parser.add_argument("--compile", action="store_true", help="compile the network")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    presets.add_options(parser)
    args = parser.parse_args(arguments)

    def step() -> None:
        knobs = presets.chosen(args)
        data = load_store(args.data)
        if args.threads:
            torch.set_num_threads(args.threads)
        given = asdict(knobs) | {"weights": NOTHING}  # what they are does not change the speed
        recipe = Recipe(
            **given, seed=0, folds=1, fold=-1, source=data.source, commands=data.commands
        )
        workers = -1 if args.workers is None else args.workers
        with TemporaryDirectory() as out, joined() as rank:
            setting = Setting(Path(out), NOTHING, workers=workers, compile=args.compile)
            training = Training(data.series, [], recipe, setting, rank)
            found = measure(training, args.steps, args.warm_up, args.series)
        if args.json:
            print(json.dumps(asdict(found), indent=2))
            return
        print(
            f"{found.backbone} at {found.input_size} pixels, {found.batch} slices a step, "
            f"on {found.device}, images/s:\n"
            f"  with the loader  {found.loader:8.1f}  {found.loader_share:.3f} of the next\n"
            f"  on the device    {found.on_device:8.1f}  {found.changes_share:.3f} of the next\n"
            f"  bare network     {found.bare:8.1f}\n"
            f"{recipe.epochs} epochs of {found.series} series: {found.hours:.2f} h"
        )

    return cli.run(step)


if __name__ == "__main__":
    sys.exit(main())
