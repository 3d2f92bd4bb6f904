"""Stage 1: one slice becomes a descriptor of six logits.

References
----------
"Slice-level Detection of Intracranial Hemorrhage on CT Using Deep Descriptors
of Adjacent Slices": ResNet-50 on three windows of a slice.
"""

from collections.abc import Sequence

import torch
import torchvision
from torch import nn
from torch.nn.functional import interpolate, pad

from ml.errors import BundleError
from ml.labels import LABELS
from ml.windows import Window


def build_backbone(name: str) -> nn.Module:
    """A torchvision classifier with one output for each label.

    Parameters
    ----------
    name : str
        A name that `torchvision.models.get_model` takes; the paper's is
        ``resnet50``.

    Raises
    ------
    BundleError
        If torchvision has no such classification model.
    """
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise BundleError(f"torchvision {torchvision.__version__} has no classifier {name!r}")
    return torchvision.models.get_model(name, weights=None, num_classes=len(LABELS))


class Preprocess(nn.Module):
    """From HU to what stage 1 takes: windows, size, normalisation.

    Parameters
    ----------
    windows : sequence of Window
        One for each of the three channels.
    input_size : int
        Height and width in pixels.
    mean, std : sequence of float
        Normalisation of each channel after windowing to [0, 1].
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        windows: Sequence[Window],
        input_size: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.windows = tuple(windows)
        self.input_size = input_size
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, hu: torch.Tensor) -> torch.Tensor:
        """Turn slices into a batch.

        Windowing comes before resizing: averaged the other way round, bone
        would bleed into the brain beside it.

        Parameters
        ----------
        hu : torch.Tensor
            Integer or float, shape (n, rows, columns), HU.

        Returns
        -------
        torch.Tensor
            float32, shape (n, channels, input_size, input_size).
        """
        values = hu.float()
        channels = torch.stack([window.apply(values) for window in self.windows], dim=1)
        rows, columns = channels.shape[-2:]
        if rows != columns:
            across, down = max(rows - columns, 0), max(columns - rows, 0)
            channels = pad(
                channels, (across // 2, across - across // 2, down // 2, down - down // 2)
            )
        size = (self.input_size, self.input_size)
        if channels.shape[-2:] != size:
            channels = interpolate(
                channels, size=size, mode="bilinear", align_corners=False, antialias=True
            )
        return ((channels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
