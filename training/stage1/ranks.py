"""One process for each GPU, as ``torchrun`` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class Rank:
    """Which process this is.

    Parameters
    ----------
    index, count : int
        Of all; 0 of 1 where there is only one.
    device : torch.device
        That it trains on.
    """

    index: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.index == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            distributed.barrier()

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sums over all processes."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values


@contextmanager
def joined() -> Iterator[Rank]:
    """Join the other processes, if ``torchrun`` started some."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if not torch.cuda.is_available():
        device = torch.device("cpu")
    else:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if count == 1:
        yield Rank(0, 1, device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Rank(distributed.get_rank(), count, device)
    finally:
        distributed.destroy_process_group()
