"""Where the evidence lies: maps that are known exactly, and a bleed that is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

import ml.phantom as phantom_module
from ml import describe, evidence
from ml.bundle import Bundle, load_bundle
from ml.describe import Preprocess, onto_slice
from ml.detector import Detector
from ml.errors import IchnodeError
from ml.evidence import MOST_SLICES, attributions, blurred, explain, worth_explaining
from ml.fusion import Fusion
from ml.labels import LABELS, SUBTYPES, Label
from ml.phantom import Phantom, make_phantom
from ml.phantom.anatomy import Head
from ml.windows import PAPER_WINDOWS
from tests import models

SIZE = 64
SLICES = 5
HALF = dict.fromkeys(LABELS, 0.5)


class Weighing(nn.Module):
    """A backbone that is one sum: each pixel of the brain window times a known weight."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE * SIZE, len(LABELS))
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor(weights).flatten().expand(len(LABELS), -1))

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        return self.linear(slices[:, 0].flatten(1))


class Passing(Fusion):
    """A stage 2 that looks at its own slice and at the sum of all, as told."""

    def __init__(self, own: float, others: float = 0.0) -> None:
        super().__init__()
        self.own, self.others = own, others

    def judge(self, series: describe.Described) -> torch.Tensor:
        return self.own * series.logits + self.others * series.logits.sum(dim=0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("tiny")
    models.write_bundle(folder)
    return load_bundle(folder)


def known(tiny: Bundle, weights: np.ndarray, fusion: Fusion, **manifest: object) -> Detector:
    """A detector whose every weight is known; no normalisation, no resizing."""
    preprocess = Preprocess(PAPER_WINDOWS, SIZE, (0.0,) * 3, (1.0,) * 3)
    changed = tiny.manifest.model_copy(update=manifest)
    return Detector(
        replace(
            tiny,
            manifest=changed,
            preprocess=preprocess,
            backbone=Weighing(weights).eval(),
            fusion=fusion.eval(),
        ),
        "cpu",
    )


def slices(*boxes: tuple[slice, slice], shape: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    """A stack of brain with bright boxes on its middle slice."""
    hu = np.full((SLICES, *shape), 20, dtype=np.int16)
    for box in boxes:
        hu[SLICES // 2][box] = 70
    return hu


HERE = (slice(8, 20), slice(40, 52))
THERE = (slice(40, 52), slice(8, 20))
MIDDLE = SLICES // 2


def weights_at(*boxes: tuple[tuple[slice, slice], float]) -> np.ndarray:
    weights = np.zeros((SIZE, SIZE), dtype=np.float32)
    for box, weight in boxes:
        weights[box] = weight
    return weights


def near(box: tuple[slice, slice], pixels: int, shape: tuple[int, int]) -> np.ndarray:
    """True in a box and around it."""
    mask = np.zeros(shape, dtype=bool)
    rows, columns = (slice(max(0, s.start - pixels), s.stop + pixels) for s in box)
    mask[rows, columns] = True
    return mask


# -- maps that are known ---------------------------------------------------------


def test_shares_of_a_linear_model_are_weight_times_detail_exactly(tiny: Bundle) -> None:
    weights = np.random.default_rng(1).normal(size=(SIZE, SIZE)).astype(np.float32)
    detector = known(tiny, weights, Passing(own=2.0, others=0.5), temperature=4.0)
    hu = slices(HERE, THERE)
    shares = attributions(detector, hu[MIDDLE], detector.describe(hu), MIDDLE, Label.ANY)
    seen = detector.window(hu[MIDDLE][None])
    detail = (seen - blurred(seen))[0, 0]
    # its own part and its part in the sum, by the temperature
    assert torch.allclose(shares, torch.tensor(weights) * detail * (2.0 + 0.5) / 4.0, atol=1e-5)


def test_a_map_shows_what_raises_the_logit_and_nothing_else(tiny: Bundle) -> None:
    detector = known(tiny, weights_at((HERE, 1.0), (THERE, -1.0)), Passing(1.0))
    hu = slices(HERE, THERE)
    (found,) = explain(detector, hu, detector.describe(hu), [(MIDDLE, Label.SUBDURAL)])
    assert (found.index, found.label) == (MIDDLE, Label.SUBDURAL)
    assert found.heat.shape == (SIZE, SIZE)
    assert found.heat.dtype == np.float32
    assert found.heat.max() == 1
    assert found.heat[HERE].min() > 0.2
    assert (found.heat[~near(HERE, 4, found.heat.shape)] == 0).all()


def test_what_stage_2_turns_around_is_turned_around_on_the_map(tiny: Bundle) -> None:
    detector = known(tiny, weights_at((HERE, 1.0), (THERE, -1.0)), Passing(-1.0))
    hu = slices(HERE, THERE)
    (found,) = explain(detector, hu, detector.describe(hu), [(MIDDLE, Label.ANY)])
    assert found.heat[THERE].max() == 1
    assert (found.heat[~near(THERE, 4, found.heat.shape)] == 0).all()


def test_a_slice_is_not_blamed_for_what_lies_on_its_neighbours(tiny: Bundle) -> None:
    detector = known(tiny, weights_at((HERE, 1.0)), Passing(own=1.0, others=1.0))
    hu = slices(HERE)
    assert detector.fuse(detector.describe(hu))[0, 0] > 0.99, "the bright neighbour counts"
    (found,) = explain(detector, hu, detector.describe(hu), [(0, Label.ANY)])
    assert (found.heat == 0).all()


def test_an_even_slice_has_a_map_of_zeros_and_not_of_nan(tiny: Bundle) -> None:
    detector = known(tiny, weights_at((HERE, 1.0)), Passing(1.0))
    hu = slices()
    (found,) = explain(detector, hu, detector.describe(hu), [(MIDDLE, Label.ANY)])
    assert (found.heat == 0).all()


def test_a_map_that_is_no_number_is_an_error(tiny: Bundle) -> None:
    detector = known(tiny, weights_at((HERE, 1.0)), Passing(1.0))
    hu = slices(HERE)
    described = detector.describe(hu)
    with torch.no_grad():
        detector.bundle.backbone.linear.weight[:, 0] = torch.nan
    with pytest.raises(IchnodeError, match="the evidence on slice 3 is not a number"):
        explain(detector, hu, described, [(MIDDLE, Label.ANY)])


def test_where_the_mirror_image_counts_too_the_map_is_of_both(tiny: Bundle) -> None:
    hu = slices(HERE, (HERE[0], slice(SIZE - HERE[1].stop, SIZE - HERE[1].start)))
    one_sided = known(tiny, weights_at((HERE, 1.0)), Passing(1.0))
    both = known(tiny, weights_at((HERE, 1.0)), Passing(1.0), flip=True)
    for detector, is_even in ((one_sided, False), (both, True)):
        (found,) = explain(detector, hu, detector.describe(hu), [(MIDDLE, Label.ANY)])
        assert np.allclose(found.heat, found.heat[:, ::-1], atol=1e-5) is is_even


@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (63, 96), (40, 200), (128, 128), (32, 32)])
def test_a_map_lies_on_the_slice_whatever_shape_the_slice_has(
    tiny: Bundle, shape: tuple[int, int]
) -> None:
    detector = known(tiny, np.ones((SIZE, SIZE), np.float32), Passing(1.0))
    rows, columns = shape
    box = (slice(rows // 8, rows // 8 + 8), slice(3 * columns // 4, 3 * columns // 4 + 8))
    hu = slices(box, shape=shape)
    (found,) = explain(detector, hu, detector.describe(hu), [(MIDDLE, Label.ANY)])
    assert found.heat.shape == shape
    y, x = np.unravel_index(found.heat.argmax(), shape)
    assert near(box, 3, shape)[y, x]


@pytest.mark.parametrize("shape", [(10, 16), (16, 10), (16, 16), (9, 16)])
def test_the_way_back_to_the_slice_undoes_the_way_to_the_network(shape: tuple[int, int]) -> None:
    preprocess = Preprocess(PAPER_WINDOWS, 16, (0.0,) * 3, (1.0,) * 3)
    hu = torch.arange(shape[0] * shape[1]).reshape(1, *shape) % 80
    back = onto_slice(preprocess.window(hu)[:, 0], *shape)
    assert torch.allclose(back, hu / 80, atol=1e-6)


# -- networks --------------------------------------------------------------------

FAMILIES = [
    "convnext_tiny",
    "densenet121",
    "efficientnet_v2_s",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet50",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_shares_add_up_to_what_they_explain_in_every_family_of_networks(
    tiny: Bundle, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completeness: their sum is the difference that the slice makes (Sundararajan 2017)."""
    monkeypatch.setattr(evidence, "STEPS", 32)
    torch.manual_seed(3)
    preprocess = Preprocess(PAPER_WINDOWS, SIZE, (0.5,) * 3, (0.25,) * 3)
    backbone = describe.build_backbone(name).eval()
    detector = Detector(
        replace(tiny, preprocess=preprocess, backbone=backbone, fusion=Passing(1.0)), "cpu"
    )
    hu = slices(HERE)
    seen = detector.window(hu[MIDDLE][None])
    ends = (detector.describe_windowed(image).logits[0] for image in (seen, blurred(seen)))
    difference = next(ends) - next(ends)
    label = LABELS[int(difference.abs().argmax())]
    expected = difference[LABELS.index(label)].item()
    shares = attributions(detector, hu[MIDDLE], detector.describe(hu), MIDDLE, label)
    assert abs(expected) > 0
    assert shares.sum().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("kind", ["axial", "sequence"])
@pytest.mark.parametrize("flip", [False, True])
def test_both_kinds_of_stage_2_have_a_way_back_to_the_slice(
    tmp_path: Path, kind: str, flip: bool
) -> None:
    if kind == "axial":
        models.write_bundle(tmp_path, flip=flip)
    else:
        fusion = models.sequence_fusion(models.SEQUENCE_FEATURES)
        models.write_sequence_bundle(tmp_path, fusion, flip=flip)
    detector = Detector(load_bundle(tmp_path), "cpu")
    hu = slices(HERE, THERE)
    wanted = [(index, label) for index in (0, MIDDLE) for label in LABELS]
    found = explain(detector, hu, detector.describe(hu), wanted)
    assert [(one.index, one.label) for one in found] == wanted
    assert all((one.heat == 0).all() for one in found if one.index == 0), "an even slice"
    peaks = [one.heat.max() for one in found if one.index == MIDDLE]
    assert set(peaks) <= {0, 1}
    assert 1 in peaks


def test_explaining_changes_nothing_of_the_model_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    models.write_bundle(tmp_path, flip=True)
    bundle = load_bundle(tmp_path)
    detector = Detector(bundle, "cpu")
    hu = slices(HERE, THERE)
    described = detector.describe(hu)
    logits, before = described.logits.numpy().copy(), detector.fuse(described)
    states = [{k: v.clone() for k, v in part.state_dict().items()} for part in parts(bundle)]
    explain(detector, hu, described, [(MIDDLE, label) for label in LABELS])
    assert (described.logits.numpy() == logits).all()
    assert (detector.fuse(detector.describe(hu)) == before).all()
    for part, state in zip(parts(bundle), states, strict=True):
        assert not any(module.training for module in part.modules())
        assert not any(module._forward_hooks for module in part.modules())
        assert not any(module._forward_pre_hooks for module in part.modules())
        assert all(p.grad is None and not p.requires_grad for p in part.parameters())
        assert all(torch.equal(v, state[k]) for k, v in part.state_dict().items())
    assert not detector.describe(hu).logits.requires_grad


def parts(bundle: Bundle) -> tuple[nn.Module, nn.Module]:
    return bundle.backbone, bundle.fusion


def test_the_same_slice_gives_the_same_map_to_the_bit(tiny: Bundle) -> None:
    detector = Detector(tiny, "cpu")
    hu = slices(HERE)
    described = detector.describe(hu)
    one, other = (explain(detector, hu, described, [(MIDDLE, Label.ANY)])[0].heat for _ in range(2))
    assert (one == other).all()


def test_progress_tells_how_many_maps_are_done(tiny: Bundle) -> None:
    detector = Detector(tiny, "cpu")
    hu = slices(HERE)
    told: list[int] = []
    wanted = [(0, Label.ANY), (MIDDLE, Label.ANY)]
    explain(detector, hu, detector.describe(hu), wanted, told.append)
    assert told == [1, 2]
    assert explain(detector, hu, detector.describe(hu), []) == ()


# -- which slices ----------------------------------------------------------------


def row(**probabilities: float) -> np.ndarray:
    return np.array([probabilities.get(label.value, 0.0) for label in LABELS], dtype=np.float32)


def test_a_slice_is_explained_by_its_subtype_furthest_above_the_threshold() -> None:
    thresholds = {**HALF, Label.EPIDURAL: 0.03}
    rows = np.stack(
        [
            row(any=0.4),
            row(any=0.99, subdural=0.6),
            row(any=0.9, subdural=0.4),
            row(epidural=0.2, subdural=0.98),  # 0.2 is more times its threshold, but less sure
            row(epidural=0.2, subdural=0.55),
            row(epidural=0.02),
        ]
    )
    assert worth_explaining(rows, thresholds) == (
        (1, Label.SUBDURAL),
        (2, Label.ANY),
        (3, Label.SUBDURAL),
        (4, Label.EPIDURAL),
    )


def test_thresholds_and_probabilities_of_0_and_1_are_taken() -> None:
    thresholds = {**dict.fromkeys(LABELS, 1.0), Label.EPIDURAL: 0.0}
    assert worth_explaining(np.stack([row(), row(subdural=1.0)]), thresholds) == (
        (0, Label.EPIDURAL),
        (1, Label.EPIDURAL),
    )


def test_of_many_flagged_slices_the_likeliest_are_explained_from_foot_to_head() -> None:
    count = 3 * MOST_SLICES
    chances = np.random.default_rng(5).permutation(np.linspace(0.6, 0.9, count))
    rows = np.stack([row(any=p) for p in chances])
    found = [index for index, _ in worth_explaining(rows, HALF)]
    assert found == sorted(np.argsort(-chances)[:MOST_SLICES].tolist())
    assert len(worth_explaining(rows, HALF, most=2)) == 2


# -- the shipped model on a bleed that is known ------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Detector:
    return Detector(load_bundle("phantom"), "cpu")


def drawn(seed: int, label: Label, monkeypatch: pytest.MonkeyPatch) -> tuple[Phantom, np.ndarray]:
    """A phantom with one bleed, and where it is: bool, shape (n, rows, columns)."""
    place = phantom_module.place_bleed
    changed: list[np.ndarray] = []

    def watch(head: Head, *arguments: object) -> object:
        before = head.hu.copy()
        placed = place(head, *arguments)  # type: ignore[arg-type]
        changed.append(np.abs(head.hu - before))
        return placed

    with monkeypatch.context() as patch:
        patch.setattr(phantom_module, "place_bleed", watch)
        phantom = make_phantom(seed, findings=[label])
    (bleed,) = changed
    slabs = bleed.reshape(len(phantom), -1, *bleed.shape[1:])  # several to a slice
    return phantom, slabs.mean(axis=1) > 3


def explained(
    detector: Detector, seed: int, label: Label, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Maps of a bleed's two surest slices, with where it is and 8 pixels around."""
    phantom, bleed = drawn(seed, label, monkeypatch)
    described = detector.describe(phantom.hu)
    said = detector.fuse(described)[:, LABELS.index(label)] * bleed.any(axis=(1, 2))
    surest = np.argsort(-said)[:2]
    found = explain(detector, phantom.hu, described, [(int(i), label) for i in surest])
    return [(one.heat, ndimage.binary_dilation(bleed[one.index], iterations=8)) for one in found]


def quadrants(values: np.ndarray) -> list[float]:
    rows, columns = (size // 2 for size in values.shape)
    return [
        float(values[top, left].sum())
        for top in (slice(None, rows), slice(rows, None))
        for left in (slice(None, columns), slice(columns, None))
    ]


@pytest.mark.parametrize("seed", [2_000_001, 2_000_017, 2_000_025, 2_000_033])
def test_the_map_of_a_large_bleed_is_strongest_in_its_quadrant(
    shipped: Detector, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for heat, bleed in explained(shipped, seed, Label.INTRAPARENCHYMAL, monkeypatch):
        shares = quadrants(heat)
        own = int(np.argmax(quadrants(bleed)))
        assert quadrants(bleed)[own] > 0.75 * bleed.sum(), "it lies in one quadrant"
        assert int(np.argmax(shares)) == own


def test_maps_of_the_shipped_model_point_at_the_bleed(
    shipped: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pointing game (Zhang et al. 2016): the strongest place is in the bleed."""
    maps = [
        pair
        for number, label in enumerate(SUBTYPES)
        for pair in explained(shipped, 2_000_020 + number, label, monkeypatch)
    ]
    hits = [bool(bleed[np.unravel_index(heat.argmax(), heat.shape)]) for heat, bleed in maps]
    by_chance = float(np.mean([bleed.mean() for _, bleed in maps]))
    gains = [float(heat[bleed].sum() / heat.sum() / bleed.mean()) for heat, bleed in maps]
    assert by_chance < 0.1
    assert np.mean(hits) >= 0.7
    assert np.median(gains) > 4
