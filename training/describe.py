"""Run stage 1 over series and keep its descriptors for stage 2.

Stage 2 learns from descriptors of slices that stage 1 had not seen: those of
slices that it was trained on are over-confident, as those of a new patient
never are. Of a store that was trained on, each series is therefore described by
the fold's model that was trained without its patient; any other store by the
model on everything.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from ml.describe import Described, Describer, build_backbone
from ml.detector import choose_device
from training import cli
from training.errors import TrainingError
from training.stage1.checkpoint import Recipe, load_stage1, stage1_path
from training.stage2.descriptors import IN_SAMPLE, Descriptors, How
from training.stage2.fuse import digest
from training.store import Series, Store, load_store
from training.store.folds import folds


def choose_how(data: Store, recipe: Recipe, wanted: How | None = None) -> How:
    """How a store is described: out of fold if it was trained on, unless asked otherwise.

    Raises
    ------
    TrainingError
        If it cannot be described so.
    """
    seen = recipe.source == data.source
    if seen and recipe.series not in ("", data.digest):
        raise TrainingError(
            f"this store ({data.source}) no longer holds the series that stage 1 was trained on, "
            "so nobody can tell which it has seen: train again, or prepare the old series"
        )
    how = wanted or (How.OUT_OF_FOLD if seen else How.HELD_OUT)
    if how is How.HELD_OUT and seen:
        raise TrainingError(
            f"stage 1 was trained on this store ({data.source}): it is not held out; "
            "describe it out-of-fold"
        )
    if how is not How.HELD_OUT and not seen:
        raise TrainingError(
            f"stage 1 was trained on {recipe.source!r}, this store is {data.source!r}: it can "
            "only be described held-out"
        )
    if how is How.OUT_OF_FOLD and recipe.folds < 2:
        raise TrainingError(
            "no fold models were trained, and out-of-fold descriptors need them: run "
            "training.train_slices with --folds 5, or compare with --how in-sample"
        )
    return how


def describe(
    data: Store,
    models: Path,
    *,
    how: How | None = None,
    features: bool = False,
    flip: bool = False,
    device: torch.device | None = None,
    batch_size: int = 16,
    command: str = "",
) -> Descriptors:
    """Describe every series of a store.

    Parameters
    ----------
    data : Store
    models : pathlib.Path
        Folder made by `training.train_slices`.
    how : How, optional
        By which models; see `choose_how`.
    features : bool
        Keep what the last linear layer is given, too.
    flip : bool
        Take the mean over each slice and its mirror image.
    device : torch.device, optional
        The CPU if not given.
    batch_size : int
        Slices that go through the backbone together.
    command : str
        What was typed.

    Raises
    ------
    TrainingError
        If a checkpoint is missing or another's, or gives what is not a number.
    """
    state, recipe = load_stage1(stage1_path(models, -1))
    how = choose_how(data, recipe, how)
    out_of_fold = how is How.OUT_OF_FOLD
    dealt = folds(data.series, recipe.folds, recipe.seed) if out_of_fold else {}
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    with ExitStack() as stack:
        advance = stack.enter_context(cli.progress(f"describe {how}", data.slices))
        for fold in range(recipe.folds) if out_of_fold else [-1]:
            describer = _describer(
                stage1_path(models, fold),
                recipe,
                device or torch.device("cpu"),
                batch_size=batch_size,
                flip=flip,
                features=features,
            )
            for one in data.series:
                if fold < 0 or dealt[one.name] == fold:
                    found[one.name] = _checked(describer.describe(one.hu()), one)
                    advance(len(one))
    logits, pooled = (
        np.concatenate(c) for c in zip(*(found[s.name] for s in data.series), strict=True)
    )
    commands = dict.fromkeys((*data.commands, *recipe.commands, command))
    return Descriptors.of(
        data.series,
        logits,
        pooled,
        data.source,
        filter(None, commands),
        stage1=digest(state),
        how=how,
        flip=flip,
    )


def _checked(described: Described, one: Series) -> tuple[np.ndarray, np.ndarray]:
    logits = described.logits.cpu().numpy()
    pooled = described.features.cpu().numpy().astype(np.float16)
    for name, values in (("logits", logits), ("features", pooled)):
        if not np.isfinite(values).all():
            raise TrainingError(
                f"series {one.name}: stage 1 gave {name} that are not finite; "
                "look at its history, and train it again with a lower learning rate"
            )
    return logits, pooled


def _describer(
    path: Path, like: Recipe, device: torch.device, *, batch_size: int, flip: bool, features: bool
) -> Describer:
    state, recipe = load_stage1(path)
    family = [(one.backbone, one.input_size, one.source, one.folds) for one in (recipe, like)]
    if family[0] != family[1]:
        raise TrainingError(
            f"{path} is of another recipe ({recipe.backbone}, {recipe.input_size} pixels, "
            f"{recipe.folds} folds, {recipe.source}) than the model on everything beside it "
            f"({like.backbone}, {like.input_size} pixels, {like.folds} folds, {like.source})"
        )
    backbone = build_backbone(recipe.backbone)
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise TrainingError(f"{path} holds no weights of {recipe.backbone}") from error
    return Describer(
        recipe.preprocess(),
        backbone.eval(),
        device,
        batch_size=batch_size,
        flip=flip,
        features=features,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.describe``."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = cli.parser("describe", "Describe series by stage 1, for stage 2 and for evaluation.")
    parser.add_argument("data", type=cli.existing, help="folder made by training.prepare")
    parser.add_argument("models", type=cli.existing, help="folder made by training.train_slices")
    parser.add_argument("out", type=Path, help="descriptors to write (*.npz)")
    parser.add_argument(
        "--how",
        choices=[how.value for how in How],
        help="by which models; if not given, out-of-fold by patient for the store that was "
        "trained on, held-out for any other",
    )
    parser.add_argument(
        "--features",
        action="store_true",
        help="keep the features of each slice too, for train_fusion --kind sequence",
    )
    parser.add_argument(
        "--flip",
        action="store_true",
        help="mean over each slice and its mirror image; twice the time. Beyond the paper: public "
        "solutions of the RSNA 2019 challenge did so",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--batch-size", type=cli.positive, default=16, help="slices at a time")
    args = parser.parse_args(typed)

    def step() -> None:
        descriptors = describe(
            load_store(args.data),
            args.models,
            how=How(args.how) if args.how else None,
            features=args.features,
            flip=args.flip,
            device=choose_device(args.device),
            batch_size=args.batch_size,
            command=cli.command_line("describe", typed),
        )
        descriptors.save(args.out)
        series, slices = len(descriptors.lengths), len(descriptors.logits)
        print(f"{args.out}: {series} series, {slices} slices, {descriptors.how}")
        if descriptors.how is How.IN_SAMPLE:
            print(f"warning: {args.out}: {IN_SAMPLE}", file=sys.stderr)

    return cli.run(step)


if __name__ == "__main__":
    sys.exit(main())
