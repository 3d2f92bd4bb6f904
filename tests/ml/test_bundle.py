"""A model as a folder: what is written is what is read, and nothing else is taken."""

import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ml.bundle import (
    MANIFEST,
    STAGE1,
    STAGE2,
    AxialSpec,
    Manifest,
    find_bundle,
    load_bundle,
    read_manifest,
)
from ml.errors import BundleError
from ml.fusion import AxialFusion, SequenceFusion
from ml.labels import LABELS
from tests import models

POINT = {
    "name": "balanced",
    "chosen_on": "nothing",
    "thresholds": dict.fromkeys([label.value for label in LABELS], 0.5),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models.write_bundle(tmp_path / "tiny", operating_points=[POINT])
    return tmp_path / "tiny"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Alter a bundle's manifest."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def put_weights(folder: Path, file: str, content: bytes) -> None:
    """Put a weights file in place, with its true digest in the manifest."""
    (folder / file).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(folder, lambda manifest: manifest["weights"].update({file: digest}))


def test_what_was_saved_is_loaded(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.manifest.name == "tiny"
    assert bundle.manifest.operating_points[0].thresholds == dict.fromkeys(LABELS, 0.5)
    assert bundle.preprocess.input_size == models.INPUT_SIZE
    assert bundle.digest == hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    stage1, stage2 = models.weights()
    for name, value in bundle.backbone.state_dict().items():
        assert torch.allclose(value, stage1[name], rtol=1e-3, atol=1e-6), name
    for name, value in bundle.fusion.state_dict().items():
        assert torch.equal(value, stage2[name]), name


def test_a_loaded_model_is_in_evaluation_mode_and_full_precision(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert not bundle.backbone.training
    assert not bundle.fusion.training
    assert {p.dtype for p in bundle.backbone.parameters()} == {torch.float32}


def test_stage_1_is_stored_in_half_precision_and_stage_2_is_not(folder: Path) -> None:
    stage1 = safetensors.torch.load_file(folder / STAGE1)
    stage2 = safetensors.torch.load_file(folder / STAGE2)
    floats = {v.dtype for v in stage1.values() if v.is_floating_point()}
    assert floats == {torch.float16}
    assert {v.dtype for v in stage2.values()} == {torch.float32}


@pytest.mark.parametrize("value", [70000.0, float("nan")])
def test_weights_that_half_precision_cannot_hold_are_not_saved(
    tmp_path: Path, value: float
) -> None:
    stage1 = {k: v.clone() for k, v in models.weights()[0].items()}
    stage1["classifier.1.bias"][0] = value
    with pytest.raises(BundleError, match=r"classifier\.1\.bias has values that are not finite"):
        models.write_bundle(tmp_path / "big", stage1)
    assert not (tmp_path / "big").exists()


def test_saving_the_same_model_again_gives_the_same_digest(folder: Path, tmp_path: Path) -> None:
    models.write_bundle(tmp_path / "again", operating_points=[POINT])
    assert read_manifest(tmp_path / "again")[1] == read_manifest(folder)[1]


@pytest.mark.parametrize("file", [STAGE1, STAGE2])
def test_a_weights_file_with_one_altered_bit_is_refused(folder: Path, file: str) -> None:
    content = bytearray((folder / file).read_bytes())
    content[-1] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{file} is not what bundle\.json says"):
        load_bundle(folder)


def test_an_altered_manifest_has_another_digest(folder: Path) -> None:
    before = load_bundle(folder).digest
    edit(folder, lambda manifest: manifest.update(trained_on="something else"))
    assert load_bundle(folder).digest != before


@pytest.mark.parametrize("file", [STAGE1, STAGE2])
def test_a_missing_weights_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(BundleError, match=rf"{file} cannot be read: No such file"):
        load_bundle(folder)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model bundle"):
        find_bundle(tmp_path)


def test_a_name_that_is_not_shipped_is_refused_with_those_that_are() -> None:
    with pytest.raises(BundleError, match=r"no model bundle 'resnet-of-my-dreams'.*shipped"):
        load_bundle("resnet-of-my-dreams")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: m.update(backbone="resnet49"), "has no classifier 'resnet49'"),
        (lambda m: m.update(backbone=models.OTHER_BACKBONE), "does not fit the architecture"),
        (lambda m: m.update(labels=m["labels"][::-1]), "labels must be epidural"),
        (lambda m: m.update(labels=["any"]), "labels must be epidural"),
        (lambda m: m.update(colour="red"), "colour: Extra inputs"),
        (lambda m: m["fusion"].update(depth=3), "fusion.axial.depth: Extra inputs"),
        (lambda m: m["fusion"].update(neighbours=6), "neighbours must be odd"),
        (lambda m: m["fusion"].update(neighbours=5), "does not fit the architecture"),
        (lambda m: m["fusion"].update(channels=[10**9, 10**9]), "fusion.axial.channels"),
        (lambda m: m["fusion"].update(channels=[0, 0]), "fusion.axial.channels"),
        (lambda m: m["fusion"].update(kind="crystal ball"), "fusion: kind must be axial or seq"),
        (lambda m: m.update(fusion=["axial"]), "fusion.axial: "),
        (lambda m: m.update(fusion={"kind": "sequence"}), "fusion.sequence.features: Field req"),
        (lambda m: m.update(fusion={"kind": "sequence", "features": 512}), "does not fit the arch"),
        (lambda m: m.update(temperature=0), "temperature"),
        (lambda m: m.update(temperature=-1), "temperature"),
        (lambda m: m.update(flip="sideways"), "flip"),
        (lambda m: m["normalisation"].update(std=[0, 1, 1]), "normalisation.std.0"),
        (lambda m: m["windows"][0].update(width=0), "windows.0.width"),
        (lambda m: m["windows"].pop(), "windows"),
        (lambda m: m.update(input_size=10**6), "input_size"),
        (lambda m: m.update(format=2), "format"),
        (lambda m: m.update(name="../../tiny"), "name"),
        (lambda m: m.pop("trained_on"), "trained_on: Field required"),
        (lambda m: m["weights"].pop(STAGE2), "weights must name the digests"),
        (lambda m: m["weights"].update(other="0"), "weights must name the digests"),
        (lambda m: m["operating_points"][0]["thresholds"].pop("any"), "one threshold for each"),
        (lambda m: m["operating_points"][0]["thresholds"].update(any=1.5), "thresholds"),
    ],
)
def test_a_manifest_that_cannot_be_true_is_refused_with_the_place(
    folder: Path, change: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    edit(folder, change)
    with pytest.raises(BundleError, match=complaint):
        load_bundle(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": NaN}'])
def test_a_manifest_that_is_no_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 50_000_000) + b"{",
        struct.pack("<Q", 2) + b"{]",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 70)
        + b'{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,9]}}'[:70],
    ],
    ids=["empty", "short", "endless header", "long header", "no json", "no tensors", "huge tensor"],
)
@pytest.mark.parametrize("file", [STAGE1, STAGE2])
def test_hostile_weights_are_refused_even_if_their_digest_is_true(
    folder: Path, file: str, content: bytes
) -> None:
    put_weights(folder, file, content)
    with pytest.raises(BundleError, match=f"{file} does not fit"):
        load_bundle(folder)


def test_truncated_weights_are_refused_even_if_their_digest_is_true(folder: Path) -> None:
    put_weights(folder, STAGE1, (folder / STAGE1).read_bytes()[:-10])
    with pytest.raises(BundleError, match=f"{STAGE1} does not fit"):
        load_bundle(folder)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_renamed_to_safetensors_is_refused_and_never_run(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    trace = tmp_path / "it ran"
    if kind == "pickle":
        content = pickle.dumps(Bomb(trace))
    else:
        torch.save({"weights": Bomb(trace)}, tmp_path / "weights.pt")
        content = (tmp_path / "weights.pt").read_bytes()
    put_weights(folder, STAGE1, content)
    with pytest.raises(BundleError, match=f"{STAGE1} does not fit"):
        load_bundle(folder)
    assert not trace.exists()


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    other = AxialFusion(channels=(4, 8)).state_dict()
    put_weights(folder, STAGE2, safetensors.torch.save(dict(other)))
    with pytest.raises(BundleError, match=f"{STAGE2} does not fit the architecture"):
        load_bundle(folder)


def test_weights_that_lack_a_tensor_are_refused(folder: Path) -> None:
    stage1, _ = models.weights()
    partial = {k: v.clone() for k, v in stage1.items() if k != "classifier.1.bias"}
    put_weights(folder, STAGE1, safetensors.torch.save(partial))
    with pytest.raises(BundleError, match=r"classifier\.1\.bias"):
        load_bundle(folder)


def test_a_bundle_from_before_there_were_kinds_of_fusion_still_loads(folder: Path) -> None:
    def forget(manifest: dict[str, Any]) -> None:
        del manifest["fusion"]["kind"], manifest["flip"], manifest["temperature"]

    edit(folder, forget)
    bundle = load_bundle(folder)
    assert isinstance(bundle.fusion, AxialFusion)
    assert (bundle.manifest.flip, bundle.manifest.temperature) == (False, 1.0)


def test_the_shipped_bundle_loads() -> None:
    assert load_bundle("phantom").manifest.name == "phantom"


def test_a_bundle_with_a_sequence_model_is_loaded_with_its_weights(tmp_path: Path) -> None:
    fusion = models.sequence_fusion(models.SEQUENCE_FEATURES)
    models.write_sequence_bundle(tmp_path / "sequence", fusion)
    bundle = load_bundle(tmp_path / "sequence")
    assert isinstance(bundle.fusion, SequenceFusion)
    for name, value in bundle.fusion.state_dict().items():
        assert torch.equal(value, fusion.state_dict()[name]), name


def test_a_manifest_that_is_not_asked_for_more_takes_the_papers_choices() -> None:
    manifest = Manifest(
        name="n",
        version="1",
        description="",
        trained_on="",
        intended_use="",
        backbone="resnet50",
        input_size=512,
        weights={STAGE1: "0", STAGE2: "0"},
    )
    assert [(w.level, w.width) for w in manifest.windows] == [(40, 80), (75, 215), (600, 2800)]
    assert manifest.fusion == AxialSpec(neighbours=7, channels=(16, 32))
    assert manifest.labels == LABELS
