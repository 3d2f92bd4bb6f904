"""Changes to a slice that leave its labels true."""

from dataclasses import dataclass

import torch
from torch.nn.functional import affine_grid, grid_sample


@dataclass(frozen=True)
class Augmentation:
    """How far slices are changed, each at random.

    Parameters
    ----------
    flip : float
        Probability to mirror left and right.
    rotation_deg : float
        Largest rotation in the plane.
    shift : float
        Largest shift, as a share of the image.
    zoom : float
        Largest change of size, as a share.
    level_hu : float
        Largest shift of all values, HU.
    gain : float
        Largest change of contrast, as a share.
    noise_hu : float
        Largest standard deviation of added noise, HU.
    """

    flip: float = 0.5
    rotation_deg: float = 25.0
    shift: float = 0.08
    zoom: float = 0.15
    level_hu: float = 4.0
    gain: float = 0.06
    noise_hu: float = 4.0

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
        n = len(hu)
        gain = 1 + self.gain * _signed(n, generator)
        level = self.level_hu * _signed(n, generator)
        noise = self.noise_hu * torch.rand(n, generator=generator)
        grain = torch.randn(hu.shape, generator=generator)
        column = (-1, 1, 1)
        changed = hu.float() * gain.view(column) + level.view(column)
        return changed + grain * noise.view(column)

    def geometry(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Flip, turn, shift and zoom after windowing.

        Parameters
        ----------
        batch : torch.Tensor
            float32, shape (n, channels, size, size).
        """
        n = len(batch)
        angle = torch.deg2rad(self.rotation_deg * _signed(n, generator))
        mirror = torch.where(torch.rand(n, generator=generator) < self.flip, -1.0, 1.0)
        zoom = 1 + self.zoom * _signed(n, generator)
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        shift_x, shift_y = (2 * self.shift * _signed(n, generator) for _ in range(2))
        rows = (
            torch.stack([cos * mirror, -sin, shift_x], dim=1),
            torch.stack([sin * mirror, cos, shift_y], dim=1),
        )
        grid = affine_grid(torch.stack(rows, dim=1), list(batch.shape), align_corners=False)
        moved = grid_sample(batch, grid, padding_mode="border", align_corners=False)
        return moved.contiguous(memory_format=torch.channels_last)


def _signed(n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(n, generator=generator) * 2 - 1
