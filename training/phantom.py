"""Write synthetic head CT series as DICOM, with a label file as RSNA 2019 has it.

The folder looks like one of real data, so that all later steps are the same::

    out/
      labels.csv              ID,Label
      about.json              what was made, and the command that made it
      images/<seed>/0001.dcm  one series each
      drawn.jsonl             the phantoms that are done, to begin again from
"""

import shutil
import sys
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

import ml.phantom
from ml.phantom import make_phantom, phantom_uid, write_dicom
from training import cli
from training.datasets.rsna import write_labels
from training.files import PART, Journal, writing
from training.jobs import mapped
from training.store.origin import Origin


def write_phantom(seed: int, folder: Path, size: int) -> tuple[int, dict[str, list[int]]]:
    """Draw and write one phantom; its folder gets its name when it is whole.

    Returns
    -------
    int
        The seed.
    dict of str to list of int
        From SOP Instance UID to the six labels.

    Raises
    ------
    TrainingError
        If the disk is full.
    """
    phantom = make_phantom(seed, size=size)
    target = series_folder(folder, seed)
    part = target.with_name(target.name + PART)
    try:
        with writing(target):
            for old in (part, target):
                if old.exists():
                    shutil.rmtree(old)
            write_dicom(phantom, part)
            part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return seed, {
        phantom_uid(phantom, f"image/{index + 1}"): labels.tolist()
        for index, labels in enumerate(phantom.labels)
    }


def series_folder(folder: Path, seed: int) -> Path:
    """Where the images of a phantom lie."""
    return folder / "images" / f"{seed:06d}"


def write_phantoms(
    folder: Path, count: int, first_seed: int, size: int, jobs: int, command: str = ""
) -> None:
    """Write `count` phantoms, of the seeds from `first_seed` on; those that are there stay.

    Raises
    ------
    TrainingError
        If the folder has phantoms of another size or drawn by other code, or the
        disk is full.
    """
    seeds = range(first_seed, first_seed + count)
    with Journal(folder / "drawn.jsonl", {"--size": size, "code": _code()}) as journal:
        drawn = {
            one["seed"]: one["labels"]
            for one in journal.entries
            if series_folder(folder, one["seed"]).is_dir()
        }
        missing = [seed for seed in seeds if seed not in drawn]
        if len(missing) < count:
            print(f"{count - len(missing)} of {count} phantoms are there already")
        draw = partial(write_phantom, folder=folder, size=size)
        with cli.progress("Phantoms", len(missing)) as advance:
            for seed, labels in mapped(draw, missing, jobs=jobs):
                journal.append({"seed": seed, "labels": labels})
                drawn[seed] = labels
                advance()
    truth = {uid: np.array(row) for seed in seeds for uid, row in drawn[seed].items()}
    write_labels(folder / "labels.csv", truth)
    positive = sum(int(row[-1]) for row in truth.values())
    source = (
        f"{count} synthetic phantoms (ml.phantom, seeds {first_seed} to {seeds[-1]}, "
        f"{size} x {size}), {len(truth)} slices, {positive} with a bleed"
    )
    Origin(source, (command,)).write(folder / "images")
    print(f"{folder}: {source}")


def _code() -> str:
    """A digest of the code that draws: a phantom is the same bytes only by the same code."""
    files = sorted(Path(ml.phantom.__file__).parent.glob("*.py"))
    return f"{zlib.crc32(b''.join(path.read_bytes() for path in files)):08x}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.phantom``."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = cli.parser(
        "phantom",
        "Write synthetic head CT series and their labels; run again, only missing ones are drawn.",
    )
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--count", type=cli.positive, default=150, help="number of phantoms")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first one")
    parser.add_argument("--size", type=cli.positive, default=256, help="rows and columns")
    parser.add_argument("--jobs", type=cli.positive, default=1, help="processes")
    args = parser.parse_args(typed)
    if args.first_seed < 0 or not 32 <= args.size <= 1024:
        parser.error("--first-seed must be 0 or more and --size 32 to 1024")
    command = cli.command_line("phantom", typed)
    return cli.run(
        lambda: write_phantoms(args.out, args.count, args.first_seed, args.size, args.jobs, command)
    )


if __name__ == "__main__":
    sys.exit(main())
