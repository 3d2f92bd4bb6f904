"""Train stage 2: seven neighbouring descriptors re-calibrate the middle one."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from ml.fusion import AxialFusion, neighbourhoods
from training import cli
from training.checkpoint import save
from training.describe import Descriptors
from training.metrics import WEIGHTS


def train(
    descriptors: Descriptors, epochs: int, batch_size: int, learning_rate: float, seed: int
) -> AxialFusion:
    """Train a fusion network on descriptors that stage 1 gave of unseen slices.

    Series are also taken upside down and descriptors shifted a little, both of
    which leave the labels true.
    """
    torch.manual_seed(seed)
    model = AxialFusion()
    around = torch.cat(
        [
            neighbourhoods(torch.from_numpy(series), model.neighbours)
            for series in descriptors.split(descriptors.logits)
        ]
    )
    labels = torch.from_numpy(descriptors.labels).float()
    weights = torch.from_numpy(WEIGHTS).float() * len(WEIGHTS)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=1e-5)
    steps = epochs * -(-len(around) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(around)).split(batch_size):
            batch = around[chosen]
            upside_down = torch.rand(len(batch), 1, 1) < 0.5
            batch = torch.where(upside_down, batch.flip(1), batch)
            batch = batch + 0.2 * torch.randn_like(batch)
            loss = binary_cross_entropy_with_logits(model(batch), labels[chosen], weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        if (epoch + 1) % 10 == 0 or epoch + 1 == epochs:
            print(f"epoch {epoch + 1}/{epochs}, loss {total / len(around):.4f}", flush=True)
    return model.eval()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.train_fusion``."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = cli.parser("train_fusion", "Train stage 2 on out-of-fold descriptors.")
    parser.add_argument("descriptors", type=cli.existing, help="made by training.describe")
    parser.add_argument("out", type=Path, help="checkpoint to write (*.safetensors)")
    parser.add_argument("--epochs", type=cli.positive, default=40, help="rounds over all slices")
    parser.add_argument("--batch-size", type=cli.positive, default=128, help="per step")
    parser.add_argument("--lr", type=float, default=1e-3, help="initial learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order")
    args = parser.parse_args(typed)

    def step() -> None:
        descriptors = Descriptors.load(args.descriptors)
        model = train(descriptors, args.epochs, args.batch_size, args.lr, args.seed)
        commands = [descriptors.command, cli.command_line("train_fusion", typed)]
        told = {"commands": "\n".join(commands), "source": descriptors.source}
        save(args.out, model.state_dict(), told)

    return cli.run(step)


if __name__ == "__main__":
    sys.exit(main())
