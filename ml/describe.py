"""Stage 1: one slice becomes a descriptor of six logits.

References
----------
"Slice-level Detection of Intracranial Hemorrhage on CT Using Deep Descriptors
of Adjacent Slices": ResNet-50 on three windows of a slice.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn.functional import interpolate, pad

from ml.errors import BundleError
from ml.labels import LABELS
from ml.runtime import PROBE_SLICES, Runtime, openvino_for
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
        return self.normalise(self.window(hu))

    def window(self, hu: torch.Tensor) -> torch.Tensor:
        """Windows, in the size of the network.

        Returns
        -------
        torch.Tensor
            float32, shape (n, channels, input_size, input_size), 0 to 1.
        """
        if hu.device.type != "cpu":
            return self._window(hu)
        # Slice by slice what lies between stays in the cache, and memory is taken once, in
        # the order in which the network wants it.
        shape = (len(hu), len(self.windows), self.input_size, self.input_size)
        windowed = torch.empty(shape, memory_format=torch.channels_last)
        for index in range(len(hu)):
            windowed[index] = self._window(hu[index : index + 1])[0]
        return windowed

    def _window(self, hu: torch.Tensor) -> torch.Tensor:
        values = hu.float()
        channels = torch.stack([window.apply(values) for window in self.windows], dim=1)
        rows, columns = channels.shape[-2:]
        if rows != columns:
            channels = pad(channels, _square_padding(rows, columns))
        size = (self.input_size, self.input_size)
        if channels.shape[-2:] != size:
            channels = interpolate(
                channels, size=size, mode="bilinear", align_corners=False, antialias=True
            )
        return channels

    def normalise(self, windowed: torch.Tensor) -> torch.Tensor:
        """Take the mean of each channel away and divide by its deviation."""
        return ((windowed - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def onto_slice(maps: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Lay maps of what the network sees over the slice: the way back of `Preprocess`.

    Parameters
    ----------
    maps : torch.Tensor
        Shape (n, height, width), of the whole square that the network sees.
    rows, columns : int
        Of the slice.

    Returns
    -------
    torch.Tensor
        Shape (n, rows, columns).
    """
    side = max(rows, columns)
    square = interpolate(maps[:, None], size=(side, side), mode="bilinear", align_corners=False)
    left, _, top, _ = _square_padding(rows, columns)
    return square[:, 0, top : top + rows, left : left + columns]


def _square_padding(rows: int, columns: int) -> tuple[int, int, int, int]:
    """What makes a slice square: pixels at its left, right, top and bottom."""
    across, down = max(rows - columns, 0), max(columns - rows, 0)
    return across // 2, across - across // 2, down // 2, down - down // 2


@dataclass(frozen=True)
class Described:
    """What stage 1 says of the n slices of a series, foot to head.

    Parameters
    ----------
    logits : torch.Tensor
        float32, shape (n, 6).
    features : torch.Tensor
        float32, shape (n, d): what the backbone gives its last linear layer; d is
        0 where they were not asked for.
    """

    logits: torch.Tensor
    features: torch.Tensor


class Network(nn.Module):
    """From windowed slices to logits, and to what makes them, if that is wanted.

    Parameters
    ----------
    preprocess : Preprocess
        Its normalisation.
    backbone : torch.nn.Module
    features : bool
        Give what the last linear layer is given too.

    Raises
    ------
    BundleError
        If features are asked for of a backbone without a linear layer.
    """

    def __init__(self, preprocess: Preprocess, backbone: nn.Module, *, features: bool) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.backbone = backbone
        self._last = [last_linear(backbone)] if features else []  # it is no layer of its own

    def forward(self, windowed: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits, shape (n, 6), and the features, shape (n, d), if they are wanted."""
        kept: list[torch.Tensor] = []

        def keep(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            kept.append(inputs[0].flatten(1))

        hooks = [layer.register_forward_pre_hook(keep) for layer in self._last]
        try:
            return self.backbone(self.preprocess.normalise(windowed)), *kept[-1:]
        finally:
            for hook in hooks:
                hook.remove()


class Describer:
    """Stage 1, ready to describe series; training and the node run this one.

    Parameters
    ----------
    preprocess : Preprocess
    backbone : torch.nn.Module
        From `build_backbone`, with its weights, in evaluation mode.
    device : torch.device
        A GPU computes in mixed precision: half, with float32 where that is too coarse.
    batch_size : int
        Slices that go through the backbone together.
    flip : bool
        Describe the mirror image of a slice too and take the mean.
    features : bool
        Give what the last linear layer is given, beside the logits.
    runtime : str
        What runs the backbone where no gradient is asked for: ``auto``, ``torch`` or
        ``openvino``. OpenVINO takes the weights as they are now.

    Raises
    ------
    BundleError
        If features are asked for of a backbone without a linear layer.
    DeviceError
        If OpenVINO is asked for by name and cannot run the backbone on the device.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        backbone: nn.Module,
        device: torch.device,
        *,
        batch_size: int = 16,
        flip: bool = False,
        features: bool = False,
        runtime: Runtime = "torch",
    ) -> None:
        self.device = device
        self.batch_size = batch_size
        self.flip = flip
        self._preprocess = preprocess.to(device)
        network = Network(self._preprocess, backbone, features=features).eval()
        self._network = network.to(device).to(memory_format=torch.channels_last)
        self._openvino = openvino_for(runtime, device, self._network, self._probe)
        self._copies: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @property
    def runtime(self) -> Runtime:
        """What runs the backbone."""
        return "torch" if self._openvino is None else "openvino"

    @torch.inference_mode()
    def describe(
        self,
        hu: np.ndarray | Iterable[np.ndarray],
        progress: Callable[[int], None] | None = None,
    ) -> Described:
        """Describe each slice of a series once.

        On a GPU nothing waits for it: while it computes, the next slices are taken,
        and what is said of them stays there.

        Parameters
        ----------
        hu : numpy.ndarray or iterable of numpy.ndarray
            int16, shape (n, rows, columns), HU, foot to head; or such arrays one after
            the other, as they come.
        progress : callable, optional
            Called with the number of slices done so far, or on a GPU under way.
        """
        parts: list[Described] = []
        done = 0
        for batch in self._batches([hu] if isinstance(hu, np.ndarray) else hu):
            parts.append(self.describe_windowed(self.window(batch)))
            done += len(batch)
            if progress is not None:
                progress(done)
        return Described(
            torch.cat([part.logits for part in parts]),
            torch.cat([part.features for part in parts]),
        )

    def window(self, hu: np.ndarray) -> torch.Tensor:
        """Window a batch of slices (`Preprocess.window`), on the device."""
        return self._preprocess.window(self._upload(hu))

    def describe_windowed(self, windowed: torch.Tensor) -> Described:
        """Describe a batch of slices that `window` has made; it can be differentiated."""
        ways = [windowed, windowed.flip(-1)] if self.flip else [windowed]
        runs = [self._run(way) for way in ways]
        logits, features = (torch.stack(said).mean(dim=0) for said in zip(*runs, strict=True))
        return Described(logits, features)

    def _batches(self, arrays: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for array in arrays:
            for start in range(0, len(array), self.batch_size):
                yield array[start : start + self.batch_size]

    def _upload(self, hu: np.ndarray) -> torch.Tensor:
        """A copy on the device: `hu` may be a file that is mapped to memory for reading only."""
        if self._copies is None:
            return torch.tensor(hu)
        # Pinned, and beside the stream that computes: the copy goes on under the batch
        # before. PyTorch takes the pinned memory again only when the copy has ended.
        pinned = torch.empty(hu.shape, dtype=torch.int16, pin_memory=True)
        pinned.numpy()[...] = hu
        with torch.cuda.stream(self._copies):
            slices = pinned.to(self.device, non_blocking=True)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._copies)
        slices.record_stream(computing)
        return slices

    def _run(self, windowed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._openvino is not None and not torch.is_grad_enabled():
            logits, *features = self._openvino(windowed)
        else:
            # Small gradients would be lost in half precision.
            half = self.device.type == "cuda" and not torch.is_grad_enabled()
            with torch.autocast(self.device.type, torch.float16, half):
                logits, *features = self._network(windowed)
        pooled = features[0] if features else logits.new_zeros(len(windowed), 0)
        return logits.float(), pooled.float()

    def _probe(self) -> torch.Tensor:
        """Some windowed slices, the same each time."""
        channels, side = len(self._preprocess.windows), self._preprocess.input_size
        seeded = torch.Generator().manual_seed(1)
        return torch.rand((PROBE_SLICES, channels, side, side), generator=seeded).to(self.device)


def last_linear(backbone: nn.Module) -> nn.Linear:
    """The layer that makes logits of features.

    Raises
    ------
    BundleError
        If there is none; of torchvision's classifiers SqueezeNet has none.
    """
    layers = [module for module in backbone.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise BundleError(
            f"{type(backbone).__name__} has no linear layer to take features from; "
            "choose another backbone, or do without features"
        )
    return layers[-1]
