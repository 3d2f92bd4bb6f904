"""Train stage 1: one slice becomes six logits.

One model is trained for each fold, on the other folds, so that stage 2 can
learn from descriptors of slices that stage 1 had not seen; and one on
everything, which is the one to ship::

    out/
      stage1.safetensors          trained on everything
      stage1-fold0.safetensors    trained without fold 0, and so on
      all/, fold0/, ...           each with history.csv and curves.png, and
        last.safetensors          where it stands, until it is done

Killed at any time, the same command goes on after the last whole epoch and ends
with the same weights: all that is random is a function of seed, fold, epoch,
step and process. On several GPUs of a machine: ``torchrun --nproc-per-node 4 -m
training.train_slices ...``.

References
----------
"Slice-level Detection of Intracranial Hemorrhage on CT Using Deep Descriptors
of Adjacent Slices": blocks of 7 neighbours, 16 of them a step, Adam from 5e-4,
cosine annealing, 20 epochs, binary cross entropy on six labels. RSNA 2019 gives
``any`` twice the weight of the others.
"""

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from ml.describe import Describer
from training import cli
from training.errors import TrainingError
from training.files import writing
from training.jobs import mapped
from training.loss import WEIGHTS, slice_losses
from training.measures.metrics import weighted_log_loss
from training.stage1 import presets
from training.stage1.augment import AUGMENTATIONS, Augmentation
from training.stage1.blocks import Batch, deal, loader, steps_of
from training.stage1.checkpoint import Recipe, load_stage1, save_stage1, stage1_path
from training.stage1.history import Epoch, write_history
from training.stage1.ranks import Rank, joined
from training.stage1.resume import LAST, load_progress, same_recipe, save_progress
from training.stage1.weights import initial_backbone
from training.store import Series, Store, load_store
from training.store.folds import folds

LOOK_EVERY = 16
"""Steps between looks at the loss on a GPU: each look waits for it."""


@dataclass(frozen=True)
class Setting:
    """What does not change how a model comes out, apart from rounding.

    Parameters
    ----------
    out : pathlib.Path
        Where checkpoints go.
    weights : str
        As typed; the recipe keeps the last name only.
    workers : int
        Processes that read; -1 for as many as suit the device.
    threads : int
        Of a process; 0 leaves it to torch.
    validate : float
        Share of the held-out fold's series to look at after each epoch.
    compile : bool
        Let torch make kernels of the network.
    restart : bool
        Forget what was trained before.
    bar : bool
        Show a bar.
    """

    out: Path
    weights: str
    workers: int = -1
    threads: int = 0
    validate: float = 0.0
    compile: bool = False
    restart: bool = False
    bar: bool = True


# -- what a run is made of ---------------------------------------------------


def seed_of(*key: int) -> int:
    """One seed for torch out of several numbers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def create_model(recipe: Recipe, weights: str, device: torch.device) -> nn.Module:
    """The backbone as it begins."""
    torch.manual_seed(seed_of(recipe.seed, recipe.fold + 1))
    model = initial_backbone(recipe.backbone, weights)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # some backbones have 0.01, too slow for a short training
    return model.to(device).to(memory_format=torch.channels_last)


def create_optimizer(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.AdamW:
    """Adam, with decoupled decay on all but norms and biases where decay is asked for."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=device.type == "cuda")


def create_average(model: nn.Module, decay: float) -> AveragedModel | None:
    """The moving mean of weights and batch statistics; none with a decay of 0."""
    if not decay:
        return None

    def follow(
        kept: Sequence[torch.Tensor], current: Sequence[torch.Tensor], _: torch.Tensor | int
    ) -> None:
        if kept[0].is_floating_point():
            steps = int(average.n_averaged)  # on the CPU: the one given is not, and would wait
            torch._foreach_lerp_(kept, current, 1 - min(decay, (1 + steps) / (10 + steps)))
        else:
            torch._foreach_copy_(kept, current)

    average = AveragedModel(model, multi_avg_fn=follow, use_buffers=True)
    return average


def create_augmentation(recipe: Recipe) -> Augmentation:
    """The set of the recipe, with its knobs."""
    base = AUGMENTATIONS[recipe.augmentation]
    return replace(base, cutmix=recipe.cutmix, vertical_flip=recipe.vertical_flip)


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """Of a step, counted from 0 over all epochs: up linearly, then down a cosine to 0."""
    warm = int(recipe.warmup * steps)
    if step < warm:
        return recipe.learning_rate * (step + 1) / (warm + 1)
    along = (step - warm) / max(steps - warm, 1)
    return recipe.learning_rate * (1 + math.cos(math.pi * along)) / 2


def precision(recipe: Recipe, device: torch.device) -> torch.dtype:
    """What the network computes in."""
    if device.type != "cuda" or recipe.amp == "off":
        return torch.float32
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return (
        half[recipe.amp]
        if recipe.amp in half
        else half["bf16" if torch.cuda.is_bf16_supported() else "fp16"]
    )


def read(batches: DataLoader[Batch]) -> Iterator[Batch]:
    """Batches, with one line where a worker could not read one."""
    try:
        yield from batches
    except TrainingError as error:
        last = str(error).strip().splitlines()[-1]
        raise TrainingError(last.removeprefix("training.errors.TrainingError: ")) from error


# -- one model ---------------------------------------------------------------


class Training:
    """One model and what trains it.

    Parameters
    ----------
    series : sequence of Series
        To train on.
    held_out : sequence of Series
        To look at after each epoch; may be empty.
    recipe : Recipe
    setting : Setting
    rank : Rank
    """

    def __init__(
        self,
        series: Sequence[Series],
        held_out: Sequence[Series],
        recipe: Recipe,
        setting: Setting,
        rank: Rank,
    ) -> None:
        self.recipe, self.setting, self.rank = recipe, setting, rank
        self.held_out = held_out
        self.lengths = [len(one) for one in series]
        device = rank.device
        cuda = device.type == "cuda"
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
        workers = setting.workers
        if workers < 0:
            workers = min(8, (os.cpu_count() or 1) // rank.count) if cuda else 0
        self.batches, self.order = loader(series, workers, cuda)
        self.model = create_model(recipe, setting.weights, device)
        self.average = create_average(self.model, recipe.ema)
        self.optimizer = create_optimizer(self.model, recipe, device)
        self.dtype = precision(recipe, device)
        self.scaler = GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.augment = create_augmentation(recipe)
        self.preprocess = recipe.preprocess().to(device)
        self.weights = torch.from_numpy(WEIGHTS).float().to(device)
        network = self.model
        if rank.count > 1:
            network = DistributedDataParallel(network, device_ids=[device] if cuda else None)
        self.network: Callable[..., torch.Tensor] = (
            torch.compile(network) if setting.compile else network
        )

    @property
    def kept(self) -> nn.Module:
        """The weights to keep: the mean, if there is one."""
        return self.model if self.average is None else self.average.module

    def deal(self, epoch: int) -> int:
        """Say to the loader what an epoch is made of; the number of its steps."""
        recipe = self.recipe
        key = (recipe.seed, recipe.fold + 1, epoch)
        blocks = deal(self.lengths, recipe.block, recipe.blocks_per_series, key)
        self.order.steps = steps_of(blocks, recipe.batch_size, self.rank.index, self.rank.count)
        return len(self.order.steps)

    def step(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        """Change the slices of one batch and learn from them; the loss, still on the device."""
        with torch.no_grad():
            slices, labels = self.augment(batch.groups, batch.labels, self.preprocess, generator)
        return self.learn(slices, labels)

    def learn(self, slices: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Learn from slices as the network takes them; the loss, still on the device."""
        device = self.rank.device
        with torch.autocast(device.type, self.dtype, enabled=self.dtype is not torch.float32):
            logits = self.network(slices)
        loss = slice_losses(logits, labels, self.weights).mean()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.recipe.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return loss.detach()

    def epoch(self, epoch: int, advance: Callable[..., None]) -> Epoch:
        """Go through one epoch, counted from 0.

        Raises
        ------
        TrainingError
            If the loss is not finite.
        """
        recipe, rank = self.recipe, self.rank
        steps = self.deal(epoch)
        key = (recipe.seed, recipe.fold + 1, epoch, rank.index)
        torch.manual_seed(seed_of(*key))  # dropout and stochastic depth draw from this one
        generator = torch.Generator(rank.device)
        every = 1 if rank.device.type == "cpu" else LOOK_EVERY
        losses = torch.zeros(steps, dtype=torch.float64, device=rank.device)
        counts: list[int] = []
        self.model.train()
        started = time.monotonic()
        for step, read_batch in enumerate(read(self.batches)):
            rate = learning_rate(epoch * steps + step, recipe.epochs * steps, recipe)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            generator.manual_seed(seed_of(*key, step))
            batch = read_batch.to(rank.device)
            losses[step] = self.step(batch, generator)
            counts.append(len(batch))
            if len(counts) % every and len(counts) < steps:
                advance()
                continue
            self._check(losses[: len(counts)], epoch)
            speed = sum(counts) * rank.count / (time.monotonic() - started)
            mean = float(losses[: len(counts)].mean())
            advance(text=f"epoch {epoch + 1}, loss {mean:.4f}, {speed:.0f} images/s")
        seconds = time.monotonic() - started
        sizes = torch.tensor(counts, dtype=torch.float64, device=rank.device)
        summed, slices = rank.total(torch.stack([losses @ sizes, sizes.sum()])).tolist()
        return Epoch(
            epoch=epoch + 1,
            loss=summed / slices,
            val_loss=self.validate(),
            learning_rate=self.optimizer.param_groups[0]["lr"],
            slices=int(slices),
            seconds=seconds,
            images_per_s=slices / seconds,
        )

    def _check(self, losses: torch.Tensor, epoch: int) -> None:
        bad = (~torch.isfinite(losses)).nonzero()
        if len(bad):
            raise TrainingError(
                f"{self.recipe.name}: the loss is {losses[bad[0]].item()} at step "
                f"{int(bad[0]) + 1} of epoch {epoch + 1}; the epoch before stays: try a lower "
                "--lr, --clip 1 or --amp off"
            )

    def validate(self) -> float:
        """RSNA's loss on the series to look at; not a number where there are none."""
        loss = math.nan
        if self.held_out and self.rank.first:
            device = self.rank.device
            describer = Describer(self.preprocess, self.kept.eval(), device, batch_size=64)
            logits = torch.cat([describer.describe(one.hu()).logits for one in self.held_out])
            truth = np.concatenate([one.labels for one in self.held_out])
            loss = weighted_log_loss(truth, torch.sigmoid(logits.double()).cpu().numpy())
        self.rank.wait()
        return loss

    def run(self) -> None:
        """Train from where it stands to the end, and write the checkpoint."""
        recipe, first = self.recipe, self.rank.first
        folder = self.setting.out / recipe.name
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        history = load_progress(
            folder, recipe, self.model, self.average, self.optimizer, self.scaler
        )
        if history and first:
            print(f"{recipe.name}: goes on after epoch {len(history)}", flush=True)
        steps = self.deal(0)
        bar = cli.progress(
            recipe.name,
            recipe.epochs * steps,
            done=len(history) * steps,
            show=self.setting.bar and first,
        )
        with bar as advance:
            for number in range(len(history), recipe.epochs):
                done = self.epoch(number, advance)
                history = (*history, done)
                if first:
                    save_progress(
                        folder,
                        recipe,
                        self.model,
                        self.average,
                        self.optimizer,
                        self.scaler,
                        history,
                    )
                    write_history(folder, history)
                    print(told(recipe, done), flush=True)
                self.rank.wait()
        if first:
            write_history(folder, history)
            save_stage1(stage1_path(self.setting.out, recipe.fold), self.kept.state_dict(), recipe)
            (folder / LAST).unlink()
        self.rank.wait()


def told(recipe: Recipe, done: Epoch) -> str:
    """One line on an epoch."""
    held_out = "" if math.isnan(done.val_loss) else f", held-out {done.val_loss:.4f}"
    return (
        f"{recipe.name}: epoch {done.epoch}/{recipe.epochs}, loss {done.loss:.4f}{held_out}, "
        f"{done.images_per_s:.0f} images/s"
    )


# -- all models --------------------------------------------------------------


def forget(out: Path, recipe: Recipe, rank: Rank) -> None:
    """Delete what there is of a model."""
    if rank.first:
        stage1_path(out, recipe.fold).unlink(missing_ok=True)
        if (out / recipe.name).is_dir():
            shutil.rmtree(out / recipe.name)
    rank.wait()


def train_one(data: Store, recipe: Recipe, setting: Setting) -> None:
    """Train the model that keeps the recipe's fold out, unless it is there already.

    Raises
    ------
    TrainingError
        If one of another recipe is there, or it cannot be trained.
    """
    path = stage1_path(setting.out, recipe.fold)
    if setting.threads:
        torch.set_num_threads(setting.threads)
    kept, held_out = data.series, []
    if recipe.fold >= 0:
        dealt = folds(data.series, recipe.folds, recipe.seed)
        kept = tuple(one for one in data.series if dealt[one.name] != recipe.fold)
        held_out = [one for one in data.series if dealt[one.name] == recipe.fold]
        rng = np.random.default_rng((recipe.seed, recipe.fold))
        looked_at = rng.permutation(len(held_out))[: math.ceil(setting.validate * len(held_out))]
        held_out = [held_out[i] for i in sorted(looked_at)]
    try:
        with joined() as rank:
            if setting.restart:
                forget(setting.out, recipe, rank)
            if path.is_file():
                same_recipe(path, load_stage1(path)[1], recipe)
                if rank.first:
                    print(f"{recipe.name}: is trained already", flush=True)
                return
            Training(kept, held_out, recipe, setting, rank).run()
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"{recipe.name}: the GPU has too little memory for {recipe.batch_size} blocks of "
            f"{recipe.block} slices at {recipe.input_size} pixels; give a smaller --batch-size"
        ) from error


def train_all(data: Store, recipes: Sequence[Recipe], setting: Setting, jobs: int) -> None:
    """Train models, several at a time; those that are there already are left alone."""
    setting = replace(setting, bar=setting.bar and jobs == 1)
    for _ in mapped(train_one, repeat(data), recipes, repeat(setting), jobs=jobs):
        pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.train_slices``."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = cli.parser("train_slices", "Train stage 1, on everything and once without each fold.")
    parser.add_argument("data", type=cli.existing, help="folder made by training.prepare")
    parser.add_argument("out", type=Path, help="folder for checkpoints")
    parser.add_argument("--folds", type=cli.positive, default=5, help="1 trains no fold models")
    parser.add_argument("--only", help="train one model: all, or the number of a fold from 0")
    parser.add_argument("--seed", type=cli.not_negative, default=0, help="of all that is random")
    parser.add_argument("--jobs", type=cli.positive, default=1, help="models trained at a time")
    parser.add_argument(
        "--threads", type=cli.not_negative, default=0, help="per model; 0 leaves it to torch"
    )
    parser.add_argument(
        "--workers", type=cli.not_negative, help="processes that read; what suits the device"
    )
    parser.add_argument(
        "--validate",
        type=cli.share,
        default=0.0,
        help="share of the held-out fold to measure the loss on after each epoch",
    )
    parser.add_argument("--compile", action="store_true", help="compile the network")
    parser.add_argument("--restart", action="store_true", help="forget what was trained in OUT")
    presets.add_options(parser)
    args = parser.parse_args(typed)
    names = {"all": -1} | {str(fold): fold for fold in range(args.folds if args.folds > 1 else 0)}
    if args.only not in {None, *names}:
        parser.error(f"--only takes {', '.join(names)} with --folds {args.folds}")
    if args.jobs > 1 and "WORLD_SIZE" in os.environ:
        parser.error("--jobs is for one process; with torchrun leave it out and give --only")

    def step() -> None:
        knobs = presets.chosen(args)
        data = load_store(args.data)
        folds(data.series, args.folds, args.seed)  # tells of too few patients at once
        wanted = list(names.values()) if args.only is None else [names[args.only]]
        initial_backbone(knobs.backbone, knobs.weights)  # fetches or refuses them at once
        given = asdict(knobs) | {"weights": Path(knobs.weights).name}
        recipe = Recipe(
            **given,
            seed=args.seed,
            folds=args.folds,
            fold=-1,
            source=data.source,
            commands=(*data.commands, cli.command_line("train_slices", typed)),
            series=data.digest,
        )
        setting = Setting(
            out=args.out,
            weights=knobs.weights,
            workers=-1 if args.workers is None else args.workers,
            threads=args.threads,
            validate=args.validate,
            compile=args.compile,
            restart=args.restart,
        )
        train_all(data, [replace(recipe, fold=fold) for fold in wanted], setting, args.jobs)

    return cli.run(step)


if __name__ == "__main__":
    sys.exit(main())
