"""Turn a data set into a store that trains fast; run again, it does only what is missing.

The way of a data set through this step::

    store/headers.py         every file's header, read once            (RSNA)
    datasets/rsna_series.py  files into labelled series                (RSNA)
    datasets/cq500_scans.py  folders or zips of scans                  (CQ500)
    datasets/cq500_series.py the series of a scan to judge             (CQ500)
    store/bake.py            one series to one array of HU
    store/bake_all.py        all of them, resumable
    store/tables.py          the tables that say what the arrays are
    store/account.py         what came in, what did not, and why

Series are read, ordered and turned into HU by `ml.series`, as the node does it.
"""

import argparse
import shutil
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ml.labels import LABELS
from training import cli
from training.datasets.cq500 import read_reads
from training.datasets.cq500_scans import UNPACKED, bake_scan, find_scans
from training.datasets.rsna import read_labels
from training.datasets.rsna_series import Sorted, sort_series
from training.errors import TrainingError
from training.store import ARRAYS, UNKNOWN, Series, load_store
from training.store.account import check, close
from training.store.bake import Baked, bake
from training.store.bake_all import bake_all, begin, done
from training.store.folds import is_held_out
from training.store.headers import TABLE, Skipped, read_headers
from training.store.origin import Origin


@dataclass(frozen=True)
class Options:
    """What holds for every data set.

    Parameters
    ----------
    out : pathlib.Path
        The store.
    jobs : int
        Processes.
    size : int
        Longest side of a slice in pixels; 0 keeps them as they are.
    strict : bool
        Whether a missing image or label is an error.
    verify : bool
        Whether arrays that are there are read again.
    command : str
        What was typed.
    hold_out : float
        Share of patients that goes to a store of their own.
    """

    out: Path
    jobs: int = 1
    size: int = 0
    strict: bool = False
    verify: bool = False
    command: str = ""
    hold_out: float = 0.0

    @property
    def held_out(self) -> Path:
        """The store of the patients that are set apart."""
        return self.out.with_name(f"{self.out.name}-held-out")


def prepare_rsna(images: Path, labels: Sequence[Path], options: Options) -> None:
    """Make a store of RSNA's images, or of any that are laid out and labelled as they are.

    Raises
    ------
    TrainingError
        If labels are wrong, none has an image, or the disk is full.
    """
    truth = read_labels(*labels)
    with begin(options.out, "rsna", options.size) as journal:
        headers, skipped = read_headers(images, options.out / TABLE, options.jobs)
        found = sort_series(headers, images, truth)
        skipped += [*found.skipped, *found.unlabelled]
        unused = [Skipped("label", key, "no image") for key in truth if key not in found.keys]
        if not found.keys:
            raise _nothing_matches(truth, images, labels, skipped)
        if options.strict and (found.unlabelled or unused):
            raise TrainingError(f"--strict: {_told([*found.unlabelled, *unused])}")
        _check_room(found, done(journal, options.out).values(), options)
        baked, lost = bake_all(
            found.tasks,
            partial(bake, store=options.out, size=options.size),
            journal,
            options.out,
            jobs=options.jobs,
            verify=options.verify,
        )
    named = ", ".join(path.name for path in labels)
    origin = Origin.of(images, f"RSNA 2019 head CT ({named})")
    commands = (*origin.commands, options.command)
    learned = [one for one in baked if not is_held_out(one.patient, options.hold_out)]
    held = [one for one in baked if is_held_out(one.patient, options.hold_out)]
    apart = f", {options.hold_out:.0%} of patients held out" if options.hold_out else ""
    told = close(
        options.out,
        origin.source + apart,
        commands,
        [_labelled(one, options.out, truth) for one in learned],
        learned,
        [*skipped, *lost, *unused],
    )
    if options.hold_out:
        if not held:
            raise TrainingError(
                f"--hold-out {options.hold_out:g}: none of {len(learned)} series is held out; "
                "hold out a larger share"
            )
        _share_arrays(options.out, options.held_out)
        told += close(
            options.held_out,
            f"{origin.source}, the {options.hold_out:.0%} of patients held out",
            commands,
            [_labelled(one, options.held_out, truth) for one in held],
            held,
            [],
        )
    print("\n".join(told))


def _labelled(one: Baked, store: Path, truth: Mapping[str, np.ndarray]) -> Series:
    rows = np.stack([truth[key] for key in one.sop_instance_uids])
    return one.labelled(store, rows, rows.max(axis=0))


def _share_arrays(store: Path, other: Path) -> None:
    """Let another store have the same arrays, without a copy."""
    other.mkdir(parents=True, exist_ok=True)
    link = other / ARRAYS
    if not link.is_symlink():
        link.symlink_to(Path("..") / store.name / ARRAYS)


def prepare_cq500(images: Path, reads: Path, options: Options) -> None:
    """Make a store of CQ500's scans, one series of each.

    Raises
    ------
    TrainingError
        If reads.csv is wrong, no scan in it has images, or the disk is full.
    """
    truth = read_reads(reads)
    with begin(options.out, "cq500", options.size) as journal:
        shutil.rmtree(options.out / UNPACKED, ignore_errors=True)
        found = find_scans(images)
        scans = [scan for scan in found if scan.name in truth]
        there = {scan.name for scan in scans}
        skipped = [Skipped("scan", s.name, "not read") for s in found if s.name not in truth]
        skipped += [Skipped("scan", name, "no images") for name in truth if name not in there]
        if not scans:
            raise TrainingError(
                f"{images}: none of the {len(truth)} scans of {reads} is in it; folders are called "
                "as 'CQ500CT0 CQ500CT0', zips as 'CQ500-CT-0.zip'"
            )
        if options.strict and skipped:
            raise TrainingError(f"--strict: {_told(skipped)}")
        baked, lost = bake_all(
            scans,
            partial(bake_scan, store=options.out, size=options.size),
            journal,
            options.out,
            jobs=options.jobs,
            verify=options.verify,
        )
        shutil.rmtree(options.out / UNPACKED, ignore_errors=True)
    series = [
        one.labelled(
            options.out,
            np.full((len(one.sop_instance_uids), len(LABELS)), UNKNOWN, dtype=np.uint8),
            truth[one.study].majority,
        )
        for one in baked
    ]
    origin = Origin.of(images, f"CQ500 head CT ({reads.name}, majority of 3 readers)")
    told = close(
        options.out,
        origin.source,
        (*origin.commands, options.command),
        series,
        baked,
        [*skipped, *lost],
    )
    print("\n".join(told))


# -- before and after


def _nothing_matches(
    truth: Mapping[str, np.ndarray],
    images: Path,
    labels: Sequence[Path],
    skipped: Sequence[Skipped],
) -> TrainingError:
    named = ", ".join(map(str, labels))
    return TrainingError(
        f"none of the {len(truth)} slices of {named}, as {next(iter(truth))}, has a CT image below "
        f"{images}; what is there: {_told(skipped)}"
    )


def _told(skipped: Sequence[Skipped]) -> str:
    first = skipped[0]
    more = f", and {len(skipped) - 1} more" if len(skipped) > 1 else ""
    return f"{first.kind} {first.name}: {first.reason}{more}"


def _check_room(found: Sorted, there: Iterable[Baked], options: Options) -> None:
    """Say before hours of work that the disk is too small."""
    needed = found.size - sum(one.file_size for one in there)
    free = shutil.disk_usage(options.out).free
    if needed > free and not options.size:
        raise TrainingError(
            f"{options.out}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; "
            "make room, or keep smaller slices with --size 256"
        )


# -- the command -------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("prepare", "Turn a data set into a store of arrays that trains fast.")
    sets = parser.add_subparsers(dest="dataset", required=True, metavar="rsna | cq500 | check")
    formatter = argparse.ArgumentDefaultsHelpFormatter

    rsna = sets.add_parser(
        "rsna",
        formatter_class=formatter,
        help="RSNA 2019 as Kaggle ships it, or phantoms",
        description="RSNA 2019 as Kaggle ships it: a flat folder of ID_*.dcm and a CSV of labels.",
    )
    cq500 = sets.add_parser(
        "cq500",
        formatter_class=formatter,
        help="CQ500 as qure.ai ships it",
        description="CQ500 as qure.ai ships it: folders 'CQ500CT0 CQ500CT0' or zips "
        "'CQ500-CT-0.zip', and the votes of three readers.",
    )
    for one in (rsna, cq500):
        one.add_argument(
            "--images",
            type=cli.existing,
            required=True,
            metavar="DIR",
            default=argparse.SUPPRESS,
            help="folder of the images, at any depth",
        )
        one.add_argument(
            "--out",
            type=Path,
            required=True,
            metavar="STORE",
            default=argparse.SUPPRESS,
            help="folder to write to; run again, only what is missing is done",
        )
        one.add_argument("--jobs", type=cli.positive, default=1, help="processes")
        one.add_argument(
            "--size",
            type=_size,
            default=0,
            metavar="PX",
            help="average slices to this longest side, for a small disk; windows are then "
            "applied after averaging, which blurs bone into the brain beside it; 0 keeps all",
        )
        one.add_argument(
            "--strict",
            action="store_true",
            help="an image without labels or labels without an image are an error",
        )
        one.add_argument(
            "--verify",
            action="store_true",
            help="read all arrays again, compare checksums, and mend what is damaged",
        )
    rsna.add_argument(
        "--labels",
        type=cli.existing,
        required=True,
        nargs="+",
        metavar="CSV",
        default=argparse.SUPPRESS,
        help="stage_2_train.csv; several files are joined",
    )
    rsna.add_argument(
        "--hold-out",
        type=cli.share,
        default=0.0,
        metavar="SHARE",
        help="share of patients that goes to a second store, STORE-held-out, to measure on",
    )
    cq500.add_argument(
        "--reads",
        type=cli.existing,
        required=True,
        metavar="CSV",
        default=argparse.SUPPRESS,
        help="reads.csv",
    )
    checked = sets.add_parser(
        "check", help="compare the checksums of a store", description="Read a store whole."
    )
    checked.add_argument("store", type=cli.existing, metavar="STORE", help="made by rsna or cq500")
    return parser


def _size(text: str) -> int:
    value = int(text) if text.isdecimal() else -1
    if value != 0 and not 32 <= value <= 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is neither 0 nor between 32 and 4096")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.prepare``."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    args = _parser().parse_args(typed)

    def step() -> None:
        if args.dataset == "check":
            check(load_store(args.store), verify=True)
            print(f"{args.store}: every array is as it was written")
            return
        options = Options(
            args.out,
            args.jobs,
            args.size,
            args.strict,
            args.verify,
            cli.command_line("prepare", typed),
            getattr(args, "hold_out", 0.0),
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pydicom")  # tells of each RSNA identifier
            if args.dataset == "rsna":
                prepare_rsna(args.images, args.labels, options)
            else:
                prepare_cq500(args.images, args.reads, options)

    return cli.run(step)


if __name__ == "__main__":
    sys.exit(main())
