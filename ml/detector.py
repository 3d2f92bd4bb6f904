"""A volume to one probability per slice and finding."""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from ml.bundle import Bundle
from ml.describe import Described, Describer
from ml.errors import DeviceError, IchnodeError
from ml.runtime import Runtime
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
    runtime : str
        What runs stage 1: ``auto``, ``torch`` or ``openvino`` (`ml.runtime`).

    Raises
    ------
    DeviceError
        If what is asked for by name is not there.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        batch_size: int = 16,
        runtime: Runtime = "torch",
    ) -> None:
        self.bundle = bundle
        self.device = choose_device(device)
        self._describer = Describer(
            bundle.preprocess,
            bundle.backbone,
            self.device,
            batch_size=batch_size,
            flip=bundle.manifest.flip,
            features=bundle.fusion.features > 0,
            runtime=runtime,
        )
        self._fusion = bundle.fusion.to(self.device)
        for stage in (bundle.backbone, bundle.fusion):  # it judges and does not learn
            stage.requires_grad_(False)

    @property
    def runtime(self) -> Runtime:
        """What runs stage 1."""
        return self._describer.runtime

    def describe(
        self,
        hu: np.ndarray | Iterable[np.ndarray],
        progress: Callable[[int], None] | None = None,
    ) -> Described:
        """Stage 1, each slice once (`ml.describe.Describer.describe`)."""
        return self._describer.describe(hu, progress)

    def window(self, hu: np.ndarray) -> torch.Tensor:
        """What stage 1 sees of a batch of slices (`ml.describe.Preprocess.window`)."""
        return self._describer.window(hu)

    def describe_windowed(self, windowed: torch.Tensor) -> Described:
        """Stage 1 on a batch that `window` has made; it can be differentiated."""
        return self._describer.describe_windowed(windowed)

    @torch.inference_mode()
    def fuse(self, series: Described) -> np.ndarray:
        """Stage 2 on what stage 1 said of a whole series.

        Returns
        -------
        numpy.ndarray
            Probabilities, float32, shape (n, 6), columns as `ml.labels.LABELS`.

        Raises
        ------
        IchnodeError
            If a probability is not a number.
        """
        probabilities = self.logits(series).sigmoid().cpu().numpy()
        if not np.isfinite(probabilities).all():
            raise IchnodeError("the model gave a probability that is not a number")
        return probabilities

    def logits(self, series: Described) -> torch.Tensor:
        """What the probabilities are the sigmoid of, shape (n, 6); it can be differentiated."""
        return self._fusion.judge(series) / self.bundle.manifest.temperature

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
        return self.fuse(self.describe(volume.hu, progress))
