"""What a network of stage 2 is given at a time, and how far off it was."""

from abc import ABC, abstractmethod

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ml.fusion import neighbourhoods
from training.loss import WEIGHTS, slice_losses
from training.stage2.descriptors import Descriptors

LOSS_WEIGHTS = torch.from_numpy(WEIGHTS).float()
"""Share of each label in the loss."""


class Samples(ABC):
    """What a kind of network is given at a time."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def slices(self) -> int:
        """Slices of all samples."""

    @abstractmethod
    def loss(self, network: nn.Module, chosen: torch.Tensor, noise: float | None) -> torch.Tensor:
        """Weighted log loss of every slice of some samples, shape (m,).

        `noise` is None where nothing is changed at random.
        """


class Neighbourhoods(Samples):
    """A slice with its neighbours, for `ml.fusion.AxialFusion`."""

    def __init__(self, descriptors: Descriptors, neighbours: int) -> None:
        series = map(torch.from_numpy, descriptors.split(descriptors.logits))
        self.around = torch.cat([neighbourhoods(one, neighbours) for one in series])
        self.labels = torch.from_numpy(descriptors.labels).float()

    def __len__(self) -> int:
        return len(self.around)

    def slices(self) -> int:
        """Slices of all samples."""
        return len(self.around)

    def loss(self, network: nn.Module, chosen: torch.Tensor, noise: float | None) -> torch.Tensor:
        """Weighted log loss of every slice of some samples, shape (m,)."""
        around = self.around[chosen]
        if noise is not None:
            # Which end is up says little of a bleed: both ways are learned.
            upside_down = torch.rand(len(around), 1, 1) < 0.5
            around = torch.where(upside_down, around.flip(1), around)
            around = around + noise * torch.randn_like(around)
        return _loss(network(around), self.labels[chosen])


class Stacks(Samples):
    """A whole series, for `ml.fusion.SequenceFusion`."""

    def __init__(self, descriptors: Descriptors) -> None:
        columns = (
            torch.from_numpy(descriptors.logits),
            torch.from_numpy(descriptors.features),
            torch.from_numpy(descriptors.labels).float(),
        )
        lengths = descriptors.lengths.tolist()
        self.series = list(zip(*(column.split(lengths) for column in columns), strict=True))
        self.total = len(descriptors.logits)

    def __len__(self) -> int:
        return len(self.series)

    def slices(self) -> int:
        """Slices of all samples."""
        return self.total

    def loss(self, network: nn.Module, chosen: torch.Tensor, noise: float | None) -> torch.Tensor:
        """Weighted log loss of every slice of some samples, shape (m,)."""
        picked = [self.series[i] for i in chosen.tolist()]
        if noise is not None:
            turns = (torch.rand(len(picked)) < 0.5).tolist()
            picked = [
                tuple(x.flip(0) for x in one) if turn else one
                for one, turn in zip(picked, turns, strict=True)
            ]
        lengths = torch.tensor([len(one[0]) for one in picked])
        logits, features, labels = (
            pad_sequence(list(column), batch_first=True).float()
            for column in zip(*picked, strict=True)
        )
        if noise is not None:
            logits = logits + noise * torch.randn_like(logits)
        there = torch.arange(logits.shape[1])[None] < lengths[:, None]
        return _loss(network(logits, features, lengths)[there], labels[there])


def _loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return slice_losses(logits, labels, LOSS_WEIGHTS)
