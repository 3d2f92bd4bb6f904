"""Stage 2: seven neighbouring descriptors re-calibrate the middle one.

References
----------
"Slice-level Detection of Intracranial Hemorrhage on CT Using Deep Descriptors
of Adjacent Slices": a 7 x 6 x 1 tensor through two convolutions and one fully
connected layer. The paper leaves the layers' widths open.
"""

from collections.abc import Sequence

import torch
from torch import nn

from ml.labels import LABELS


class AxialFusion(nn.Module):
    """The fusion network.

    Parameters
    ----------
    neighbours : int
        Slices in a neighbourhood, odd; the paper has 7.
    channels : sequence of 2 int
        Outputs of the two convolutions.
    """

    def __init__(self, neighbours: int = 7, channels: Sequence[int] = (16, 32)) -> None:
        super().__init__()
        first, second = channels
        self.neighbours = neighbours
        self.layers = nn.Sequential(
            nn.Conv2d(1, first, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(second * neighbours * len(LABELS), len(LABELS)),
        )

    def forward(self, descriptors: torch.Tensor) -> torch.Tensor:
        """Judge the middle slice of each neighbourhood.

        Parameters
        ----------
        descriptors : torch.Tensor
            Logits of stage 1, shape (batch, neighbours, 6).

        Returns
        -------
        torch.Tensor
            Logits, shape (batch, 6).
        """
        return self.layers(descriptors.sigmoid().unsqueeze(1))


def neighbourhoods(descriptors: torch.Tensor, neighbours: int = 7) -> torch.Tensor:
    """The neighbourhood of every slice of a series.

    Beyond the ends the edge descriptor is repeated, so that the slice that is
    judged stays in the middle.

    Parameters
    ----------
    descriptors : torch.Tensor
        Shape (n, 6), foot to head.

    Returns
    -------
    torch.Tensor
        Shape (n, neighbours, 6).
    """
    half = neighbours // 2
    padded = torch.cat(
        [descriptors[:1].expand(half, -1), descriptors, descriptors[-1:].expand(half, -1)]
    )
    return padded.unfold(0, neighbours, 1).transpose(1, 2)
