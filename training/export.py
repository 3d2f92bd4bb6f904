"""Put both stages into a bundle, with figures and thresholds from held-out patients.

Everything that the bundle says about itself is computed here; nothing is
written by hand. Temperature and operating points are chosen on some of the
held-out patients, and the figures are measured on the others.
"""

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml.bundle import MANIFEST, load_bundle, save_bundle
from training import cli
from training.card import CARD, Origin, intended_use, model_card
from training.errors import TrainingError
from training.files import PART, writing
from training.measures.bootstrap import RESAMPLES
from training.measures.calibrate import Split, calibrate, check_apart, halves
from training.measures.figures import Figures
from training.measures.measure import measure
from training.stage1.checkpoint import load_stage1, stage1_path
from training.stage2.descriptors import Descriptors, How
from training.stage2.fuse import digest, fuse, load_fusion


@dataclass(frozen=True)
class About:
    """What is said of a bundle by whoever exports it.

    Parameters
    ----------
    name, version : str
    use : str
        What it may be used for, after "Not for clinical use."; a cautious sentence
        if empty.
    notes : str
        More sections for the model card, Markdown.
    """

    name: str
    version: str
    use: str = ""
    notes: str = ""


def export(
    models: Path,
    fusion_path: Path,
    split: Split,
    out: Path,
    about: About,
    *,
    command: str = "",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Figures:
    """Write a bundle with its model card.

    Parameters
    ----------
    models : pathlib.Path
        Folder made by `training.train_slices`.
    fusion_path : pathlib.Path
        Made by `training.train_fusion`.
    split : Split
        Held-out patients to choose on and to measure on.
    out : pathlib.Path
        Folder of the bundle; an older one is replaced when the new one is whole.
    about : About
    command : str
        What was typed.
    resamples, seed : int
        Of the draws of patients behind the intervals.

    Raises
    ------
    TrainingError
        If the parts are not of one model, or patients are not held out.
    """
    check_replaceable(out)
    state, recipe = load_stage1(stage1_path(models, -1))
    fusion = load_fusion(fusion_path)
    stage1 = digest(state)
    for what, told in (
        (str(fusion_path), fusion.stage1),
        (split.calibration.source, split.calibration.stage1),
        (split.test.source, split.test.stage1),
    ):
        if told and told != stage1:
            raise TrainingError(
                f"{what} is of another stage 1 than {stage1_path(models, -1)}; describe again "
                "with these models, then train stage 2 again"
            )
    for part in (split.calibration, split.test):
        if part.how is not How.HELD_OUT:
            raise TrainingError(
                f"descriptors of {part.source} are {part.how}: stage 1 learned from these "
                "patients; describe patients that it has never seen"
            )
    calibration = calibrate(split.calibration, fuse(fusion, split.calibration))
    figures = measure(split.test, fuse(fusion, split.test), calibration, resamples, seed)
    commands = in_order(
        recipe.commands,
        fusion.commands,
        split.calibration.commands,
        split.test.commands,
        (command,),
    )
    part = out.with_name(out.name + PART)
    with writing(out):
        shutil.rmtree(part, ignore_errors=True)
        try:
            manifest = save_bundle(
                part,
                state,
                fusion.network.state_dict(),
                name=about.name,
                version=about.version,
                description=f"Two-stage model with {recipe.backbone} at {recipe.input_size} "
                f"pixels. {figures}.",
                trained_on=f"{recipe.source}; by: {'; '.join(commands)}",
                intended_use=intended_use(recipe.source, about.use),
                backbone=recipe.backbone,
                input_size=recipe.input_size,
                fusion=fusion.spec,
                flip=fusion.flip,
                temperature=calibration.temperature,
                operating_points=calibration.points(),
            )
            origin = Origin(recipe, fusion.how, fusion.source, commands)
            card = model_card(manifest, origin, figures, about.notes)
            (part / CARD).write_text(card, encoding="utf-8")
            load_bundle(part)  # whoever gets it can load it
            _put(part, out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return figures


def in_order(*chains: Iterable[str]) -> tuple[str, ...]:
    """Commands of several files as one list: none twice, each after those it needed."""
    return tuple(dict.fromkeys(command for chain in chains for command in chain if command))


def check_replaceable(out: Path) -> None:
    """See that writing a bundle here destroys nothing else.

    Raises
    ------
    TrainingError
        If there is something that is not a bundle.
    """
    if out.is_dir() and (not any(out.iterdir()) or (out / MANIFEST).is_file()):
        return
    if out.exists():
        raise TrainingError(f"{out} is there and is no bundle; give another folder to write to")


def _put(part: Path, out: Path) -> None:
    """Give a folder its name; what had it is removed after that."""
    old = out.with_name(out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.replace(old)
    part.replace(out)
    shutil.rmtree(old, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.export``."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = cli.parser("export", "Put both stages into a bundle, calibrate and measure it.")
    parser.add_argument("models", type=cli.existing, help="folder made by training.train_slices")
    parser.add_argument("fusion", type=cli.existing, help="made by training.train_fusion")
    parser.add_argument(
        "held_out", type=cli.existing, help="descriptors of held-out series (*.npz)"
    )
    parser.add_argument("out", type=Path, help="folder to write the bundle to")
    parser.add_argument("--name", default="phantom", help="name of the model")
    parser.add_argument("--model-version", default="1.0", help="its version")
    parser.add_argument(
        "--calibrate-on",
        type=cli.existing,
        help="descriptors of other held-out patients to choose temperature and operating points "
        "on; if not given, half of the held-out patients",
    )
    parser.add_argument(
        "--intended-use",
        default="",
        help='what the model may be used for; "Not for clinical use." always comes first',
    )
    parser.add_argument(
        "--notes", type=cli.existing, help="Markdown file with more sections for the model card"
    )
    parser.add_argument(
        "--resamples", type=cli.positive, default=RESAMPLES, help="draws of patients per interval"
    )
    parser.add_argument("--seed", type=int, default=0, help="of draws and of the halves")
    args = parser.parse_args(typed)

    def step() -> None:
        held_out = Descriptors.load(args.held_out)
        split = (
            check_apart(Descriptors.load(args.calibrate_on), held_out)
            if args.calibrate_on
            else halves(held_out, args.seed)
        )
        about = About(
            args.name,
            args.model_version,
            args.intended_use,
            args.notes.read_text(encoding="utf-8") if args.notes else "",
        )
        figures = export(
            args.models,
            args.fusion,
            split,
            args.out,
            about,
            command=cli.command_line("export", typed),
            resamples=args.resamples,
            seed=args.seed,
        )
        print(figures)

    return cli.run(step)


if __name__ == "__main__":
    sys.exit(main())
