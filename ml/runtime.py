"""What runs stage 1's backbone: PyTorch, or on a CPU OpenVINO, which takes half the time.

The backbone that a bundle holds is converted in memory when a worker starts; no file
is written and none is needed. OpenVINO computes in float32, as PyTorch does there, and
gives no gradients: who needs them asks PyTorch.

ONNX Runtime is as fast. OpenVINO was taken because it converts a PyTorch module by
itself, where the other needs the packages of an exporter and more memory. Both report
to their makers; OpenVINO does so in a Python package of its own, which is not loaded.

A process has one core of OpenVINO and keeps it (`_core`): with several, signals were
handled on memory that had been given back.
"""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from threading import Lock
from typing import Any, Literal

import torch
from torch import nn

from ml.errors import DeviceError, IchnodeError, first_line

log = logging.getLogger(__name__)

Runtime = Literal["auto", "torch", "openvino"]
"""``auto`` is OpenVINO on a CPU if it can run the backbone, else PyTorch."""

TOLERANCE = 0.005
"""By how much a probability may differ from PyTorch's; features by this part of the largest."""

PROBE_SLICES = 2
"""Another number than the backbone is converted with, so that any number is seen to work."""


_ONE_AT_A_TIME = Lock()
"""Converting changes what the whole process shares: levels of the log, stdout, the core."""


class UnfitError(IchnodeError):
    """OpenVINO is not there, or cannot run this backbone as PyTorch does."""


class OpenVINONetwork:
    """A network that OpenVINO has compiled for the CPU.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on the CPU; takes slices and gives a tuple of tensors. It
        has to stay as it is: its weights may be shared.
    probe : torch.Tensor
        Slices as the network takes them, to compare both by.

    Raises
    ------
    UnfitError
        If it cannot be compiled, or says something else than the network.
    """

    def __init__(self, network: nn.Module, probe: torch.Tensor) -> None:
        try:
            compiled = _compile(network, probe[:1])
        except ImportError as error:
            raise UnfitError(f"OpenVINO cannot be imported: {first_line(error)}") from error
        # Whatever it or PyTorch raises for an operation that it does not know.
        except Exception as error:
            raise UnfitError(f"OpenVINO cannot convert it: {first_line(error)}") from error
        self._request = compiled.create_infer_request()
        self._outputs = len(compiled.outputs)
        with torch.inference_mode():
            apart = _apart(self(probe), network(probe))
        if not apart <= TOLERANCE:  # not a number is no agreement
            raise UnfitError(f"OpenVINO says something else, by {apart:.2g}")

    def __call__(self, slices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the network says of slices; any number of them."""
        said = self._request.infer({0: slices.contiguous().numpy()}, share_inputs=True)
        return tuple(torch.from_numpy(said[index]) for index in range(self._outputs))


def _compile(network: nn.Module, example: torch.Tensor) -> Any:
    # Its package of usage statistics would report to a server at every import.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino  # noqa: PLC0415  who has a GPU needs none of it

    with _ONE_AT_A_TIME:
        with torch.no_grad(), _kept_quiet():
            # OpenVINO would trace it twice to compare; what comes of it is compared anyhow.
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                network, example, check_trace=False
            )
            model = openvino.convert_model(
                traced, example_input=example, input=[-1, *example.shape[1:]]
            )
        return _core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                # All workers of a machine would be pinned to the same cores.
                "ENABLE_CPU_PINNING": False,
            },
        )


@cache
def _core() -> Any:
    """The only core of the process, kept until it ends.

    What a core loads for the CPU gives its thread another stack for handlers of signals
    (`sigaltstack`), and when it goes unmaps that and sets back the one that it found. Of two
    that go in the order in which they came, the second sets back the stack of the first:
    the next signal with a handler, as SIGCHLD or SIGTERM, then ends the process by SIGSEGV,
    or overwrites whatever has been mapped there since.
    """
    import openvino  # noqa: PLC0415

    return openvino.Core()


@contextmanager
def _kept_quiet() -> Iterator[None]:
    """Keep OpenVINO's conversion from the log's levels, which it changes, and from stdout."""
    root = logging.getLogger()
    level, filters, handlers = root.level, root.filters[:], root.handlers[:]
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")  # how it reads a module is its own affair
            yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def _apart(said: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> float:
    """How far logits (as probabilities) or features (by the largest) are apart at most."""
    (logits, right), *features = zip(said, expected, strict=True)
    apart = [(logits.sigmoid() - right.sigmoid()).abs().max()]
    apart += [(a - b).abs().max() / b.abs().max().clamp(min=1) for a, b in features]
    return float(torch.stack(apart).max())


def openvino_for(
    runtime: Runtime,
    device: torch.device,
    network: nn.Module,
    probe: Callable[[], torch.Tensor],
) -> OpenVINONetwork | None:
    """OpenVINO's form of a network if it is to run it, else None.

    Parameters
    ----------
    runtime : str
        What was asked for.
    device : torch.device
        Where the network lies.
    network : torch.nn.Module
    probe : callable
        Gives `PROBE_SLICES` slices as the network takes them.

    Raises
    ------
    DeviceError
        If OpenVINO is asked for by name and cannot run the network.
    """
    if runtime == "torch" or (runtime == "auto" and device.type != "cpu"):
        return None
    if device.type != "cpu":
        raise DeviceError(f"runtime 'openvino' is for the CPU, not for {device}; take 'auto'")
    try:
        return OpenVINONetwork(network, probe())
    except UnfitError as error:
        if runtime == "openvino":
            raise DeviceError(f"runtime 'openvino': {error}; take 'auto' or 'torch'") from error
        log.warning("stage 1 runs on PyTorch, which takes longer: %s", error)
        return None
