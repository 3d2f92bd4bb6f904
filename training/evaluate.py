"""Score predictions, and measure both stages on held-out patients.

Three commands: ``cq500`` prints the paper's Table 1 beside a run, ``rsna`` scores a
submission as Kaggle did, ``stages`` compares both stages with stage 1 alone.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import rich.console

from training import cli
from training.datasets import cq500, rsna
from training.errors import TrainingError
from training.measures import table1
from training.measures.bootstrap import RESAMPLES
from training.measures.calibrate import Split, calibrate, check_apart, halves
from training.measures.measure import measure, measure_losses
from training.measures.plots import reliability, roc_curves
from training.measures.report import as_json, markdown, tables, write_report
from training.measures.stages import Comparison, Run, pictures
from training.measures.submission import align, score
from training.measures.tables import Table
from training.stage2.descriptors import Descriptors, How
from training.stage2.fuse import fuse, load_fusion
from training.store import load_store

_WIDTH = 140  # of tables where there is no terminal


def score_cq500(args: argparse.Namespace, command: str) -> None:
    """Print Table 1 with a run beside it."""
    reads = cq500.read_reads(args.reads)
    commands: tuple[str, ...] = (command,)
    alone = None
    if args.predictions:
        predictions = cq500.read_predictions(args.predictions)
        source = args.predictions.name
    else:
        descriptors = _held_out(args.descriptors)
        fusion = load_fusion(args.fusion)
        predictions = table1.of_studies(descriptors, fuse(fusion, descriptors), reads)
        alone = table1.of_studies(descriptors, descriptors.logits, reads)
        source = f"{args.descriptors.name}, {args.fusion.name}"
        commands = (*fusion.commands, *descriptors.commands, command)
    found = table1.compare(reads, predictions, alone, args.resamples, args.seed)
    wrong = (*found.left_out, *found.unread)
    if args.predictions and wrong:
        raise TrainingError(
            f"{args.predictions}: {len(found.left_out)} scans of {args.reads} have no prediction, "
            f"{len(found.unread)} of the file were not read ({wrong[0]}, ...)"
        )
    document = {
        "source": source,
        "scans": len(found.scans),
        "rows": found.rows,
        "mean": found.mean,
        "stage1_mean": found.stage1_mean,
        "left_out": found.left_out,
        "unread": found.unread,
        "commands": tuple(dict.fromkeys(commands)),
    }
    _say(args, document, [found.table()])
    if args.out:
        draw = partial(roc_curves, panels={source: (found.truth, found.run)})
        text = (f"Predictions: {source}.\n", found.table().markdown(2), _typed(commands))
        drawn = {"roc.png": ("ROC curves of studies", draw)}
        write_report(args.out, "CQ500", text, drawn, document)
        _written(args)


def score_rsna(args: argparse.Namespace, command: str) -> None:
    """Print the score of a submission."""
    labels = rsna.read_labels(*args.labels)
    slices, truth, probability = align(labels, rsna.read_predictions(args.predictions))
    patients = _patients(args.store, slices) if args.store else None
    found = score(truth, probability, patients, args.resamples, args.seed)
    document = {"predictions": args.predictions.name, "score": found, "commands": (command,)}
    _say(args, document, [found.table()], str(found))
    if args.out:
        name = args.predictions.name
        drawn = {
            "roc.png": ("ROC curves", partial(roc_curves, panels={name: (truth, probability)})),
            "reliability.png": (
                "Reliability",
                partial(reliability, truth=truth, stages={name: probability}),
            ),
        }
        text = (f"{found}\n", found.table().markdown(2), _typed((command,)))
        write_report(args.out, "RSNA 2019", text, drawn, document)
        _written(args)


def _patients(store: Path, slices: Sequence[str]) -> np.ndarray:
    patient = {
        uid: one.patient for one in load_store(store).series for uid in one.sop_instance_uids
    }
    missing = [name for name in slices if name not in patient]
    if missing:
        raise TrainingError(
            f"{store} lacks {len(missing)} of {len(slices)} slices ({missing[0]}, ...), so their "
            "patients are not known; leave --store out"
        )
    return np.array([patient[name] for name in slices])


@dataclass(frozen=True)
class _Measured:
    """A run with what it was measured on, what stage 2 made of that, and what was typed."""

    run: Run
    test: Descriptors
    logits: np.ndarray
    commands: tuple[str, ...]


def _measured(args: argparse.Namespace, advance: Callable[..., None]) -> list[_Measured]:
    """Measure every network on the descriptors that it goes with."""
    found: list[_Measured] = []
    calibrate_on = args.calibrate_on or [None] * len(args.descriptors)
    for path, other, fusions in zip(args.descriptors, calibrate_on, args.fusion, strict=True):
        split = _split(path, other, args.seed)
        test = split.test
        if found and not np.array_equal(test.sop_instance_uids, found[0].test.sop_instance_uids):
            raise TrainingError(
                f"{path} and {args.descriptors[0]} are of different slices; "
                "compare runs on the same store"
            )
        for file in fusions:
            fusion = load_fusion(file)
            calibration = calibrate(split.calibration, fuse(fusion, split.calibration))
            logits = fuse(fusion, test)
            losses = measure_losses(test, logits, calibration, args.resamples, args.seed)
            run = Run(path.name, file.name, calibration, losses)
            found.append(_Measured(run, test, logits, (*fusion.commands, *test.commands)))
            advance()
    return found


def compare_stages(args: argparse.Namespace, command: str) -> None:
    """Print and report how both stages do against stage 1 alone."""
    with cli.progress("measuring", sum(map(len, args.fusion)) + 1) as advance:
        measured = _measured(args, advance)
        runs, first = tuple(one.run for one in measured), measured[0]
        figures = measure(first.test, first.logits, runs[0].calibration, args.resamples, args.seed)
        advance()
    found = Comparison(runs, figures)
    commands = (*(line for one in measured for line in one.commands), command)
    document = {
        "verdict": found.verdict(),
        "mean": found.means(),
        "runs": found.runs,
        "figures": figures,
        "commands": tuple(dict.fromkeys(commands)),
    }
    _say(args, document, [found.table(), *tables(figures)], found.verdict())
    if args.out:
        text = (
            f"**{found.verdict()}**\n",
            found.table().markdown(2),
            f"## The first run: {runs[0].descriptors}, {runs[0].fusion}\n",
            markdown(figures),
            _typed(commands),
        )
        drawn = pictures(found, first.test, first.logits)
        write_report(args.out, "Both stages on held-out patients", text, drawn, document)
        _written(args)


def _split(path: Path, other: Path | None, seed: int) -> Split:
    test = _held_out(path)
    test = replace(test, source=f"{test.source} ({path.name})")
    return halves(test, seed) if other is None else check_apart(_held_out(other), test)


def _held_out(path: Path) -> Descriptors:
    """Read descriptors of patients that neither stage has learned from."""
    found = Descriptors.load(path)
    if found.how is not How.HELD_OUT:
        raise TrainingError(
            f"{path} is of patients that the stages learned from ({found.how}); measure on "
            "patients kept out of training: prepare a store of them and describe it"
        )
    return found


def _typed(commands: Iterable[str]) -> str:
    lines = (f"    {line}" for line in dict.fromkeys(commands))
    return "\n".join(("## Commands\n", *lines, ""))


def _say(
    args: argparse.Namespace,
    document: dict[str, object],
    shown: Iterable[Table],
    last: str = "",
) -> None:
    if args.json:
        print(as_json(document))
        return
    console = rich.console.Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    for table in shown:
        console.print(table.rich())
    if last:
        console.print(last, soft_wrap=True)


def _written(args: argparse.Namespace) -> None:
    print(f"report: {args.out / 'report.md'}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("evaluate", "Score predictions; measure both stages on held-out patients.")
    what = parser.add_subparsers(required=True, metavar="WHAT")
    show = argparse.ArgumentDefaultsHelpFormatter
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=Path, help="folder for report.md, pictures, figures.json")
    common.add_argument("--json", action="store_true", help="print one JSON document instead")
    common.add_argument(
        "--resamples", type=cli.positive, default=RESAMPLES, help="draws of patients per interval"
    )
    common.add_argument(
        "--seed", type=cli.not_negative, default=0, help="of draws and of the split"
    )

    one = what.add_parser(
        "cq500",
        parents=[common],
        formatter_class=show,
        help="the paper's Table 1 with a run beside it",
        description="Area under the ROC curve of CQ500's studies, beside the published ones.",
    )
    one.add_argument("--reads", type=cli.existing, required=True, help="reads.csv of CQ500")
    one.add_argument(
        "--predictions",
        type=cli.existing,
        help="CSV of probabilities: name,ICH,IPH,IVH,SAH,SDH,EDH",
    )
    one.add_argument("--descriptors", type=cli.existing, help="of CQ500, by training.describe")
    one.add_argument("--fusion", type=cli.existing, help="made by training.train_fusion")
    one.set_defaults(step=score_cq500)

    one = what.add_parser(
        "rsna",
        parents=[common],
        formatter_class=show,
        help="weighted log loss of a submission",
        description="Score a submission to the RSNA 2019 challenge as Kaggle did.",
    )
    one.add_argument(
        "--labels", type=cli.existing, nargs="+", required=True, help="CSV of truth: ID,Label"
    )
    one.add_argument(
        "--predictions", type=cli.existing, required=True, help="CSV of probabilities: ID,Label"
    )
    one.add_argument(
        "--store", type=cli.existing, help="made by training.prepare; names patients for intervals"
    )
    one.set_defaults(step=score_rsna)

    one = what.add_parser(
        "stages",
        parents=[common],
        formatter_class=show,
        help="both stages against stage 1 alone",
        description="Measure both stages on held-out patients. Temperature, smoothing and "
        "operating points are chosen on one half of the patients, and everything is measured on "
        "the other half; with --calibrate-on they are chosen on that file's patients instead. For "
        "several seeds of stage 2 give several files to --fusion; for several of stage 1 repeat "
        "--descriptors and --fusion in the same order.",
    )
    one.add_argument(
        "--descriptors",
        type=cli.existing,
        action="append",
        required=True,
        help="of held-out series, by training.describe",
    )
    one.add_argument(
        "--fusion",
        type=cli.existing,
        action="append",
        nargs="+",
        required=True,
        help="made by training.train_fusion; one for each seed",
    )
    one.add_argument(
        "--calibrate-on",
        type=cli.existing,
        action="append",
        help="descriptors of other held-out patients; one for each --descriptors",
    )
    one.set_defaults(step=compare_stages)
    return parser


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.step is score_cq500:
        own = args.descriptors is not None and args.fusion is not None
        part = args.descriptors is not None or args.fusion is not None
        if own == (args.predictions is not None) or part != own:
            parser.error("cq500 takes either --predictions, or --descriptors and --fusion")
    if args.step is compare_stages:
        if len(args.fusion) != len(args.descriptors):
            parser.error("stages takes one --fusion (of one or more files) for each --descriptors")
        if args.calibrate_on and len(args.calibrate_on) != len(args.descriptors):
            parser.error("stages takes one --calibrate-on for each --descriptors, or none")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.evaluate``."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    args = parser.parse_args(typed)
    _check(parser, args)
    return cli.run(lambda: args.step(args, cli.command_line("evaluate", typed)))


if __name__ == "__main__":
    sys.exit(main())
