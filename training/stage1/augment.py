"""Changes to slices that leave their labels true.

All of it runs on a batch, on the device that trains: first on values in HU, then
on windowed slices, which are resampled once. Every slice is changed by values
of its own.

References
----------
"Slice-level Detection of Intracranial Hemorrhage on CT Using Deep Descriptors
of Adjacent Slices": cropping, resizing, flips, rotations, distortions, gaussian
noise, CutMix. How far is not said there.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate

from ml.describe import Preprocess


@dataclass(frozen=True)
class Augmentation:
    """How far slices are changed, each at random.

    Parameters
    ----------
    flip, vertical_flip : float
        Probability to mirror left and right, and up and down. The vertical one
        hurt in public results on RSNA 2019.
    rotation_deg : float
        Largest rotation in the plane.
    crop : tuple of 2 float
        Smallest and largest side of what is cut out and resized, as a share of
        the slice; above 1 there is air around it.
    aspect : float
        Largest stretching of one side against the other, as a share.
    shift : float
        Largest shift beyond where the crop lies, as a share of the slice.
    distortion : float
        Standard deviation of a smooth displacement, as a share of the slice.
    level_hu : float
        Largest shift of all values, HU.
    gain : float
        Largest change of contrast, as a share.
    noise_hu : float
        Largest standard deviation of gaussian noise, HU.
    texture_hu : float
        The same of noise whose grain is several pixels, as a soft kernel leaves it.
    bias_hu : float
        Largest standard deviation of a smooth field that is added, HU (cupping,
        beam hardening).
    kernel : float
        How far a slice is blurred (1: to the mean of three by three pixels) or
        sharpened (by half as much).
    tone : float
        Largest bend of a window's grey scale, each window by itself; below 1 it
        stays monotone.
    cutmix : float
        Share of slices that get a rectangle of another slice, and the other's
        labels by its area (Yun et al., "CutMix", 2019, with alpha 1).
    """

    flip: float = 0.5
    vertical_flip: float = 0.0
    rotation_deg: float = 20.0
    crop: tuple[float, float] = (0.75, 1.1)
    aspect: float = 0.1
    shift: float = 0.03
    distortion: float = 0.01
    level_hu: float = 3.0
    gain: float = 0.03
    noise_hu: float = 5.0
    texture_hu: float = 0.0
    bias_hu: float = 0.0
    kernel: float = 0.0
    tone: float = 0.0
    cutmix: float = 0.5

    def __call__(
        self,
        groups: list[torch.Tensor],
        labels: torch.Tensor,
        preprocess: Preprocess,
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Make a batch to train on.

        Parameters
        ----------
        groups : list of torch.Tensor
            int16, each of shape (n_i, rows_i, columns_i), HU: slices of one size.
        labels : torch.Tensor
            float32, shape (n, 6), in the order of the groups.
        preprocess : Preprocess
            Windows, size and normalisation.
        generator : torch.Generator
            On the device of the slices.

        Returns
        -------
        torch.Tensor
            float32, shape (n, channels, size, size).
        torch.Tensor
            float32, shape (n, 6): between 0 and 1 where slices were mixed.
        """
        windowed = torch.cat([preprocess.window(self.intensity(g, generator)) for g in groups])
        moved = self.geometry(self.bend(windowed, generator), generator)
        mixed, labels = self.mix(moved, labels, generator)
        return preprocess.normalise(mixed), labels

    def intensity(self, hu: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change values before windowing.

        Parameters
        ----------
        hu : torch.Tensor
            Shape (n, rows, columns), HU.

        Returns
        -------
        torch.Tensor
            float32, the same shape.
        """
        draw = _Draw(len(hu), hu.device, generator)
        changed = hu.unsqueeze(1).to(torch.float32, copy=True)
        if self.kernel:
            blurred = avg_pool2d(changed, 3, stride=1, padding=1, count_include_pad=False)
            strength = self.kernel * (0.75 * draw.signed() + 0.25)
            changed.lerp_(blurred, strength)
        changed.mul_(1 + self.gain * draw.signed()).add_(self.level_hu * draw.signed())
        rows, columns = hu.shape[-2:]
        for amount, grain in ((self.bias_hu, 64), (self.texture_hu, 3)):
            if amount:
                size = (max(rows // grain, 2), max(columns // grain, 2))
                field = draw.field(1, size) * (amount * draw.share())
                changed.add_(interpolate(field, (rows, columns), mode="bilinear"))
        if self.noise_hu:
            changed.addcmul_(draw.field(1, (rows, columns)), self.noise_hu * draw.share())
        return changed[:, 0]

    def bend(self, windowed: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change the grey scale of windowed slices; black stays black and white white."""
        if not self.tone:
            return windowed
        n, channels = windowed.shape[:2]
        bend = torch.rand((n, channels, 1, 1), generator=generator, device=windowed.device)
        return windowed.addcmul(windowed * (1 - windowed), self.tone * (2 * bend - 1))

    def geometry(self, windowed: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Crop, resize, flip, turn and distort in one resampling; around the slice is air.

        Parameters
        ----------
        windowed : torch.Tensor
            float32, shape (n, channels, size, size), 0 to 1.
        """
        draw = _Draw(len(windowed), windowed.device, generator)
        # A coarse grid says it all: between its points a crop and a turn are linear.
        coarse = affine_grid(self.matrices(draw), [len(windowed), 1, 25, 25], align_corners=True)
        grid = coarse.permute(0, 3, 1, 2)
        if self.distortion:
            bumps = draw.field(2, (5, 5)) * (2 * self.distortion)
            grid = grid + interpolate(bumps, (25, 25), mode="bicubic", align_corners=True)
        grid = grid.contiguous(memory_format=torch.channels_last)
        grid = interpolate(grid, windowed.shape[-2:], mode="bilinear", align_corners=True)
        return grid_sample(
            windowed, grid.permute(0, 2, 3, 1), padding_mode="zeros", align_corners=True
        )

    def matrices(self, draw: "_Draw") -> torch.Tensor:
        """Where the pixels of a changed slice come from.

        Returns
        -------
        torch.Tensor
            float32, shape (n, 2, 3), for `torch.nn.functional.affine_grid`.
        """
        angle = math.radians(self.rotation_deg) * draw.signed()
        low, high = self.crop
        side = low + (high - low) * draw.share()
        stretch = self.aspect / 2 * draw.signed()
        width, height = side * (1 + stretch), side * (1 - stretch)
        mirror = torch.where(draw.share() < self.flip, -1.0, 1.0)
        upside = torch.where(draw.share() < self.vertical_flip, -1.0, 1.0)
        room = (1 - side).abs()
        x, y = ((room + 2 * self.shift) * draw.signed() for _ in range(2))
        cos, sin = angle.cos(), angle.sin()
        first = torch.cat([cos * width * mirror, -sin * height * upside, x], dim=-1)
        second = torch.cat([sin * width * mirror, cos * height * upside, y], dim=-1)
        return torch.stack([first[:, 0, 0], second[:, 0, 0]], dim=1)

    def mix(
        self, batch: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put rectangles of other slices into slices (CutMix).

        The loss is linear in the labels: to mix them is to mix the losses.

        Parameters
        ----------
        batch : torch.Tensor
            Shape (n, channels, rows, columns).
        labels : torch.Tensor
            Shape (n, 6).
        """
        if not self.cutmix:
            return batch, labels
        n, _, rows, columns = batch.shape
        draw = _Draw(n, batch.device, generator)
        other = torch.randperm(n, generator=generator, device=batch.device)
        mixed = draw.share() < self.cutmix
        side = draw.share().sqrt() * mixed  # areas from the beta distribution of alpha 1
        inside = []
        for length, view in ((rows, (-1, 1)), (columns, (1, -1))):
            centre = draw.share()
            start = ((centre - side / 2).clip(0, 1) * length).round()
            stop = ((centre + side / 2).clip(0, 1) * length).round()
            place = torch.arange(length, device=batch.device).view(view)
            inside.append((place >= start) & (place < stop))
        box = inside[0] & inside[1]
        share = box.float().mean(dim=(1, 2, 3))[:, None]
        return torch.where(box, batch[other], batch), labels.lerp(labels[other], share)


class _Draw:
    """Random values for each of n slices, shape (n, 1, 1, 1)."""

    def __init__(self, n: int, device: torch.device, generator: torch.Generator) -> None:
        self.n, self.device, self.generator = n, device, generator

    def share(self) -> torch.Tensor:
        """Between 0 and 1."""
        return torch.rand((self.n, 1, 1, 1), generator=self.generator, device=self.device)

    def signed(self) -> torch.Tensor:
        """Between -1 and 1."""
        return 2 * self.share() - 1

    def field(self, channels: int, size: tuple[int, int]) -> torch.Tensor:
        """Normally distributed, of mean 0 and deviation 1, at each place."""
        shape = (self.n, channels, *size)
        return torch.randn(shape, generator=self.generator, device=self.device)


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "paper": Augmentation(),
    "phantom": Augmentation(
        rotation_deg=25.0,
        crop=(0.75, 1.2),
        aspect=0.15,
        shift=0.05,
        level_hu=4.0,
        gain=0.06,
        texture_hu=2.0,
        bias_hu=2.0,
        kernel=0.6,
        tone=0.2,
    ),
    "none": Augmentation(
        flip=0.0,
        rotation_deg=0.0,
        crop=(1.0, 1.0),
        aspect=0.0,
        shift=0.0,
        distortion=0.0,
        level_hu=0.0,
        gain=0.0,
        noise_hu=0.0,
        cutmix=0.0,
    ),
}
"""The paper's; one that varies scanners widely, to carry over from phantoms to real CT
(Tobin et al., "Domain Randomization for Transferring Deep Neural Networks", 2017); and none."""
