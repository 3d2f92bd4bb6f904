"""Write synthetic head CT series as DICOM, with a label file as RSNA 2019 has it.

The folder looks like one of real data, so that all later steps are the same::

    out/
      labels.csv              ID,Label
      source.txt              one line on what was made
      images/<seed>/0001.dcm  one series each
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ml.phantom import make_phantom, phantom_uid, write_dicom
from training import cli
from training.data import SOURCE, write_labels
from training.jobs import mapped


def write_phantom(seed: int, folder: Path, size: int) -> dict[str, np.ndarray]:
    """Draw and write one phantom.

    Returns
    -------
    dict of str to numpy.ndarray
        From SOP Instance UID to labels, uint8, shape (6,).
    """
    phantom = make_phantom(seed, size=size)
    write_dicom(phantom, folder / "images" / f"{seed:06d}")
    return {
        phantom_uid(phantom, f"image/{index + 1}"): labels
        for index, labels in enumerate(phantom.labels)
    }


def write_phantoms(folder: Path, count: int, first_seed: int, size: int, jobs: int) -> None:
    """Write `count` phantoms, of the seeds from `first_seed` on."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = range(first_seed, first_seed + count)
    labels: dict[str, np.ndarray] = {}
    make = partial(write_phantom, folder=folder, size=size)
    for done, one in enumerate(mapped(make, seeds, jobs=jobs, chunk=4), start=1):
        labels.update(one)
        if done % 25 == 0 or done == count:
            print(f"{done} of {count} phantoms, {len(labels)} slices", flush=True)
    write_labels(folder / "labels.csv", labels)
    positive = np.array(list(labels.values())).sum(axis=0)
    (folder / SOURCE).write_text(
        f"{count} synthetic phantoms (ml.phantom, seeds {first_seed} to {seeds[-1]}, "
        f"{size} x {size}), {len(labels)} slices, {int(positive[-1])} with a bleed\n",
        encoding="utf-8",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.phantom``."""
    parser = cli.parser("phantom", "Write synthetic head CT series and their labels.")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--count", type=cli.positive, default=150, help="number of phantoms")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first one")
    parser.add_argument("--size", type=cli.positive, default=256, help="rows and columns")
    parser.add_argument("--jobs", type=cli.positive, default=1, help="processes")
    args = parser.parse_args(arguments)
    if args.first_seed < 0 or not 32 <= args.size <= 1024:
        parser.error("--first-seed must be 0 or more and --size 32 to 1024")
    return cli.run(
        lambda: write_phantoms(args.out, args.count, args.first_seed, args.size, args.jobs)
    )


if __name__ == "__main__":
    sys.exit(main())
