"""Stage 2: the descriptors around a slice re-calibrate what was said of it.

`AxialFusion` is the paper's network; `SequenceFusion` goes beyond it. Both are
called in one way: `judge` takes what stage 1 said of a whole series.

References
----------
"Slice-level Detection of Intracranial Hemorrhage on CT Using Deep Descriptors
of Adjacent Slices": a 7 x 6 x 1 tensor through two convolutions and one fully
connected layer. The paper leaves the layers' widths open.

RSNA Intracranial Hemorrhage Detection challenge (2019): the public solutions in
the first places run a recurrent network over the backbone's features of all
slices of a series; Hanley, "2nd place solution" (github.com/darraghdog/rsna),
does so with a bidirectional LSTM.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ml.describe import Described
from ml.labels import LABELS


class Fusion(nn.Module, ABC):
    """A network of stage 2.

    Attributes
    ----------
    features : int
        How many features of the backbone it looks at; 0 if it only takes logits.
    """

    features: int = 0

    @abstractmethod
    def judge(self, series: Described) -> torch.Tensor:
        """Judge every slice of a series.

        Returns
        -------
        torch.Tensor
            Logits, shape (n, 6).
        """


class AxialFusion(Fusion):
    """The paper's network: seven neighbouring descriptors, judged by their middle.

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

    def judge(self, series: Described) -> torch.Tensor:
        """Judge every slice of a series by its neighbourhood: logits, shape (n, 6)."""
        return self(neighbourhoods(series.logits, self.neighbours))


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


class SequenceFusion(Fusion):
    """A recurrent network over the features of a whole series, both ways.

    It adds to the logits of stage 1, and starts by adding nothing.

    Parameters
    ----------
    features : int
        Features of a slice, d.
    hidden : int
        Width of the recurrent layer, each way.
    dropout : float
        Share of features dropped in training.
    """

    def __init__(self, features: int, hidden: int = 96, dropout: float = 0.3) -> None:
        super().__init__()
        self.features = features
        self.norm = nn.LayerNorm(features)
        self.dropout = nn.Dropout(dropout)
        self.reduce = nn.Linear(features + len(LABELS), hidden)
        self.recurrent = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.last = nn.Linear(2 * hidden, len(LABELS))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self, logits: torch.Tensor, features: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Judge series of different lengths together.

        Parameters
        ----------
        logits, features : torch.Tensor
            Shapes (batch, longest, 6) and (batch, longest, d), padded at the end.
        lengths : torch.Tensor
            Slices of each, on the CPU, shape (batch,).

        Returns
        -------
        torch.Tensor
            Logits, shape (batch, longest, 6).
        """
        seen = torch.cat([self.dropout(self.norm(features)), logits], dim=-1)
        packed = pack_padded_sequence(
            self.reduce(seen).relu(), lengths, batch_first=True, enforce_sorted=False
        )
        told, _ = pad_packed_sequence(
            self.recurrent(packed)[0], batch_first=True, total_length=logits.shape[1]
        )
        return logits + self.last(told)

    def judge(self, series: Described) -> torch.Tensor:
        """Judge every slice of a series by all of them: logits, shape (n, 6)."""
        lengths = torch.tensor([len(series.logits)])
        return self(series.logits[None], series.features[None], lengths)[0]
