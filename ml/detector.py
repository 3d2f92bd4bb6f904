"""A volume to one probability per slice and finding."""

from collections.abc import Callable

import numpy as np
import torch

from ml.bundle import Bundle
from ml.errors import DeviceError, IchnodeError
from ml.fusion import neighbourhoods
from ml.series import Volume


def choose_device(wanted: str = "auto") -> torch.device:
    """The device to compute on: a GPU if there is one, else the CPU.

    Raises
    ------
    DeviceError
        If a GPU is asked for by name and there is none.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(
            f"device {wanted!r} was asked for, but no GPU is there; take 'auto' or 'cpu'"
        )
    return torch.device(wanted)


class Detector:
    """The two-stage model, ready to judge.

    Parameters
    ----------
    bundle : Bundle
        A model that was read and checked.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    batch_size : int
        Slices that go through stage 1 together.
    """

    def __init__(self, bundle: Bundle, device: str = "auto", batch_size: int = 16) -> None:
        self.bundle = bundle
        self.device = choose_device(device)
        self.batch_size = batch_size
        self._preprocess = bundle.preprocess.to(self.device)
        self._backbone = bundle.backbone.to(self.device).to(memory_format=torch.channels_last)
        self._fusion = bundle.fusion.to(self.device)

    @torch.inference_mode()
    def describe(
        self, hu: np.ndarray, progress: Callable[[int], None] | None = None
    ) -> torch.Tensor:
        """Stage 1, each slice once.

        Parameters
        ----------
        hu : numpy.ndarray
            int16, shape (n, rows, columns), HU, foot to head.
        progress : callable, optional
            Called with the number of slices done so far.

        Returns
        -------
        torch.Tensor
            Logits, float32, shape (n, 6).
        """
        batches = []
        for start in range(0, len(hu), self.batch_size):
            batch = torch.from_numpy(hu[start : start + self.batch_size]).to(self.device)
            batches.append(self._backbone(self._preprocess(batch)))
            if progress is not None:
                progress(min(start + self.batch_size, len(hu)))
        return torch.cat(batches)

    @torch.inference_mode()
    def fuse(self, descriptors: torch.Tensor) -> np.ndarray:
        """Stage 2 on the descriptors of a whole series.

        Returns
        -------
        numpy.ndarray
            Probabilities, float32, shape (n, 6).
        """
        around = neighbourhoods(descriptors, self._fusion.neighbours)
        return self._fusion(around).sigmoid().cpu().numpy()

    def detect(self, volume: Volume, progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Judge every slice of a volume.

        Returns
        -------
        numpy.ndarray
            Probabilities, float32, shape (n, 6), columns as `ml.labels.LABELS`.

        Raises
        ------
        IchnodeError
            If a probability is not a number.
        """
        probabilities = self.fuse(self.describe(volume.hu, progress))
        if not np.isfinite(probabilities).all():
            raise IchnodeError("the model gave a probability that is not a number")
        return probabilities
