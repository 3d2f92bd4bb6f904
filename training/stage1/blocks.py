"""Blocks of neighbouring slices: what stage 1 is fed with.

Workers only copy int16 out of the files that are mapped to memory; everything
else happens to a whole batch on the device that trains.

References
----------
"Slice-level Detection of Intracranial Hemorrhage on CT Using Deep Descriptors
of Adjacent Slices": a sample is a block of 7 neighbours. At the ends of a
series the block is shifted inside, so that every slice may stand in the middle
of the draw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from training.errors import TrainingError
from training.store import UNKNOWN, Series


@dataclass(frozen=True)
class Block:
    """Neighbouring slices of a series.

    Parameters
    ----------
    series : int
        Its place among the series.
    slices : tuple of int
        Foot to head; in a series with fewer the ends are repeated.
    """

    series: int
    slices: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Slices as they are read.

    Parameters
    ----------
    groups : list of torch.Tensor
        int16, each of shape (n_i, rows_i, columns_i), HU: blocks of one size of slices.
    labels : torch.Tensor
        float32, shape (n, 6), in the order of the groups.
    """

    groups: list[torch.Tensor]
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def pin_memory(self) -> "Batch":
        """Page-locked, so that a GPU can fetch it by itself; the loader calls this."""
        return Batch([group.pin_memory() for group in self.groups], self.labels.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """On a device; the copy runs beside what the device is doing."""
        groups = [group.to(device, non_blocking=True) for group in self.groups]
        return Batch(groups, self.labels.to(device, non_blocking=True))


def block_around(middle: int, length: int, total: int) -> tuple[int, ...]:
    """The slices around one, shifted inside at the ends.

    Parameters
    ----------
    middle : int
        0 to `total` - 1.
    length : int
        Of the block.
    total : int
        Slices of the series.

    Returns
    -------
    tuple of int
        `length` indices that do not fall.
    """
    if total < length:
        start = (total - length) // 2
        return tuple(min(max(start + i, 0), total - 1) for i in range(length))
    start = min(max(middle - length // 2, 0), total - length)
    return tuple(range(start, start + length))


def deal(
    lengths: Sequence[int], block: int, per_series: int, key: Sequence[int]
) -> tuple[Block, ...]:
    """The blocks of an epoch in random order.

    Parameters
    ----------
    lengths : sequence of int
        Slices of each series.
    block : int
        Slices of a block.
    per_series : int
        Blocks of each series.
    key : sequence of int
        What the order is a function of: seed, fold, epoch.
    """
    rng = np.random.default_rng(key)
    order = rng.permutation(np.repeat(np.arange(len(lengths)), per_series))
    middles = rng.integers(np.array(lengths)[order])
    return tuple(
        Block(int(s), block_around(int(middle), block, lengths[s]))
        for s, middle in zip(order, middles, strict=True)
    )


def steps_of(
    blocks: Sequence[Block], size: int, rank: int = 0, ranks: int = 1
) -> list[list[Block]]:
    """An epoch's batches for one of several processes.

    Batches differ in size by one block at most: no block is left out, and no
    batch is so small that its statistics mean nothing.

    Parameters
    ----------
    blocks : sequence of Block
        Of the epoch.
    size : int
        Blocks of a step, of all processes together; no step has more.
    rank, ranks : int
        This process, and how many there are.

    Raises
    ------
    TrainingError
        If a process would have nothing to do.
    """
    parts = -(-len(blocks) // size) * ranks
    if len(blocks) < parts:
        raise TrainingError(
            f"{len(blocks)} blocks do not reach for {ranks} processes: start fewer, "
            "or give a larger --batch-size or --blocks-per-series"
        )
    limits = np.linspace(0, len(blocks), parts + 1).astype(int)
    return [list(blocks[limits[i] : limits[i + 1]]) for i in range(rank, parts, ranks)]


class Blocks(Dataset[Batch]):
    """Batches by the blocks in them.

    Parameters
    ----------
    series : sequence of Series

    Raises
    ------
    TrainingError
        If there is nothing to learn: no series, slices without labels, no bleed.
    """

    def __init__(self, series: Sequence[Series]) -> None:
        if not series:
            raise TrainingError("no series is left to train on; prepare more")
        for one in series:
            if (one.labels == UNKNOWN).any():
                raise TrainingError(
                    f"series {one.name} has no labels of its slices, only of its study: "
                    "stage 1 needs labels of slices, as RSNA 2019 has them"
                )
        if not any(one.labels.any() for one in series):
            raise TrainingError("no slice of what there is to train on has a bleed; prepare more")
        self.series = tuple(series)

    def __getitem__(self, blocks: Sequence[Block]) -> Batch:
        """Read a batch: blocks of one size of slices beside each other."""
        by_size: dict[tuple[int, ...], list[tuple[np.ndarray, Block]]] = {}
        for block in blocks:
            hu = self.series[block.series].hu()
            by_size.setdefault(hu.shape[1:], []).append((hu, block))
        groups, labels = [], []
        for size, read in by_size.items():
            group = torch.empty(
                (sum(len(block.slices) for _, block in read), *size), dtype=torch.int16
            )
            into, start = group.numpy(), 0
            for hu, block in read:
                stop = start + len(block.slices)
                np.take(hu, block.slices, axis=0, out=into[start:stop])
                labels.append(self.series[block.series].labels[list(block.slices)])
                start = stop
            groups.append(group)
        return Batch(groups, torch.from_numpy(np.concatenate(labels)).float())


class Order:
    """The batches of the epoch at hand, for a loader whose workers live on."""

    def __init__(self) -> None:
        self.steps: list[list[Block]] = []

    def __iter__(self) -> Iterator[list[Block]]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


def loader(series: Sequence[Series], workers: int, pin: bool) -> tuple[DataLoader[Batch], Order]:
    """What reads batches, and what to tell it of an epoch.

    Parameters
    ----------
    series : sequence of Series
    workers : int
        Processes that read; 0 reads in this one.
    pin : bool
        Into page-locked memory.
    """
    order = Order()
    ahead = {"prefetch_factor": 4, "persistent_workers": True} if workers else {}
    reader = DataLoader(
        Blocks(series),
        batch_size=None,
        sampler=order,
        num_workers=workers,
        pin_memory=pin,
        **ahead,
    )
    return reader, order
