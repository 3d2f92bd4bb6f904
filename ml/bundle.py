"""A trained model as a folder: ``bundle.json`` and weights in safetensors.

``bundle.json`` says everything that is needed to build the networks and names
the SHA-256 digest of each weights file, so that its own digest stands for the
whole model.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors.torch
import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from safetensors import SafetensorError
from torch import nn

from ml.describe import Preprocess, build_backbone
from ml.errors import BundleError
from ml.fusion import AxialFusion, Fusion, SequenceFusion
from ml.identity import MANIFEST, find_bundle
from ml.labels import LABELS, Label
from ml.windows import PAPER_WINDOWS, Window

STAGE1 = "stage1.safetensors"
STAGE2 = "stage2.safetensors"

Probability = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0)]
_Width = Annotated[int, Field(ge=1, le=4096)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WindowSpec(_Strict):
    """A window: level and width in HU."""

    name: str
    level: float
    width: float = Field(gt=0)

    def window(self) -> Window:
        """The window that this describes."""
        return Window(self.name, self.level, self.width)


class Normalisation(_Strict):
    """Mean and standard deviation of each channel, ImageNet's by default."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[_Positive, _Positive, _Positive] = (0.229, 0.224, 0.225)


class AxialSpec(_Strict):
    """The layers of the paper's stage 2; what a bundle has that names no kind."""

    kind: Literal["axial"] = "axial"
    neighbours: int = Field(default=7, ge=1, le=99)
    channels: tuple[_Width, _Width] = (16, 32)

    @model_validator(mode="after")
    def _has_a_middle(self) -> "AxialSpec":
        if self.neighbours % 2 == 0:
            raise ValueError("neighbours must be odd: one slice is in the middle")
        return self

    def build(self) -> Fusion:
        """The network, without its weights."""
        return AxialFusion(self.neighbours, self.channels)


class SequenceSpec(_Strict):
    """The layers of a stage 2 that looks at the features of the whole series."""

    kind: Literal["sequence"] = "sequence"
    features: int = Field(ge=1, le=65536)
    hidden: _Width = 96

    def build(self) -> Fusion:
        """The network, without its weights."""
        return SequenceFusion(self.features, self.hidden)


def _kind(spec: Any) -> str:
    if isinstance(spec, Mapping):
        return str(spec.get("kind", "axial"))
    return str(getattr(spec, "kind", "axial"))


FusionSpec = Annotated[
    Annotated[AxialSpec, Tag("axial")] | Annotated[SequenceSpec, Tag("sequence")],
    Discriminator(
        _kind,
        custom_error_type="fusion_kind",
        custom_error_message="kind must be axial or sequence",
    ),
]
"""The layers of stage 2, of either kind."""


class OperatingPoint(_Strict):
    """Probabilities from which on a finding is called present.

    Parameters
    ----------
    name : str
        For instance ``balanced``.
    chosen_on : str
        The data and the rule that it was chosen by.
    thresholds : dict of Label to float
        One for each label.
    """

    name: str
    chosen_on: str
    thresholds: dict[Label, Probability]

    @model_validator(mode="after")
    def _complete(self) -> "OperatingPoint":
        if set(self.thresholds) != set(LABELS):
            raise ValueError("an operating point needs one threshold for each label")
        return self


class Manifest(_Strict):
    """What ``bundle.json`` holds.

    Parameters
    ----------
    flip : bool
        Stage 1 also describes the mirror image of every slice; the mean counts.
    temperature : float
        What the logits of stage 2 are divided by to become calibrated (Guo et al.,
        "On Calibration of Modern Neural Networks", 2017).
    """

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    version: str = Field(min_length=1, max_length=32)
    description: str
    trained_on: str
    intended_use: str
    backbone: str
    input_size: int = Field(ge=32, le=2048)
    windows: tuple[WindowSpec, WindowSpec, WindowSpec] = tuple(  # type: ignore[assignment]
        WindowSpec(name=w.name, level=w.level, width=w.width) for w in PAPER_WINDOWS
    )
    normalisation: Normalisation = Normalisation()
    labels: tuple[Label, ...] = LABELS
    fusion: FusionSpec = AxialSpec()
    flip: bool = False
    temperature: _Positive = 1.0
    operating_points: tuple[OperatingPoint, ...] = ()
    weights: dict[str, str]

    @model_validator(mode="after")
    def _agrees(self) -> "Manifest":
        if self.labels != LABELS:
            raise ValueError(f"labels must be {', '.join(LABELS)}, in this order")
        if set(self.weights) != {STAGE1, STAGE2}:
            raise ValueError(f"weights must name the digests of {STAGE1} and {STAGE2}")
        return self


@dataclass(frozen=True)
class Bundle:
    """A model that was read and checked.

    Parameters
    ----------
    manifest : Manifest
        What it says of itself.
    digest : str
        SHA-256 of ``bundle.json``, hexadecimal: it stands for all files.
    preprocess, backbone, fusion : torch.nn.Module
        In evaluation mode, float32, on the CPU.
    """

    manifest: Manifest
    digest: str
    preprocess: Preprocess
    backbone: nn.Module
    fusion: Fusion


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Read ``bundle.json``.

    Returns
    -------
    manifest : Manifest
    digest : str
        SHA-256 of the file, hexadecimal.

    Raises
    ------
    BundleError
        If it cannot be read or is not valid.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(f"{folder / MANIFEST} cannot be read: {error.strerror}") from error
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise BundleError(f"{folder / MANIFEST}: {_complaint(error)}") from error
    return manifest, hashlib.sha256(content).hexdigest()


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or MANIFEST
    return f"{place}: {first['msg']}"


def load_bundle(name: str | Path) -> Bundle:
    """Read a bundle and check every digest.

    Raises
    ------
    BundleError
        If it is missing, altered, or its weights do not fit its architecture.
    """
    folder = find_bundle(name)
    manifest, digest = read_manifest(folder)
    backbone = build_backbone(manifest.backbone)
    fusion = manifest.fusion.build()
    for module, file in ((backbone, STAGE1), (fusion, STAGE2)):
        _load_weights(module, folder / file, manifest.weights[file])
    preprocess = Preprocess(
        [spec.window() for spec in manifest.windows],
        manifest.input_size,
        manifest.normalisation.mean,
        manifest.normalisation.std,
    )
    return Bundle(manifest, digest, preprocess, backbone.eval(), fusion.eval())


def _load_weights(module: nn.Module, path: Path, digest: str) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise BundleError(f"{path} is not what {MANIFEST} says: digest {found}, expected {digest}")
    try:
        state = safetensors.torch.load(content)
        module.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        )
    except (SafetensorError, RuntimeError) as error:
        raise BundleError(f"{path} does not fit the architecture: {error}") from error


def save_bundle(
    folder: Path,
    stage1: Mapping[str, torch.Tensor],
    stage2: Mapping[str, torch.Tensor],
    **manifest: object,
) -> Manifest:
    """Write a bundle.

    Parameters
    ----------
    folder : pathlib.Path
        Made if it is not there; files of an older bundle are replaced.
    stage1, stage2 : mapping of str to torch.Tensor
        State of the backbone (kept in half precision) and of the fusion network.
    **manifest
        The fields of `Manifest`, without ``weights``.

    Raises
    ------
    BundleError
        If a weight is not finite in the precision that it is kept in, or a field is
        not valid.
    """
    half = {k: v.half() if v.is_floating_point() else v for k, v in stage1.items()}
    for name, value in (*half.items(), *stage2.items()):
        if not value.isfinite().all():
            raise BundleError(f"{name} has values that are not finite in {value.dtype}")
    contents = {
        file: safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in state.items()})
        for file, state in ((STAGE1, half), (STAGE2, dict(stage2)))
    }
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    try:
        written = Manifest.model_validate({**manifest, "weights": digests})
    except ValidationError as error:
        raise BundleError(f"{folder}: {_complaint(error)}") from error
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    text = json.dumps(written.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return written
