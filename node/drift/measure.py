"""The traits of one series: what the header says and a few of its pixels; nothing of the patient.

It takes some 10 ms for a series: a dozen slices are looked at, and one pixel of four.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydicom.dataset import Dataset

from ml.anatomy import BODY_HU, BONE_HU, SOFT_HU
from ml.series import Volume
from node.drift import traits
from node.headers import text
from node.judgement import Model
from node.ledger import JudgingModel, TraitCount

_MOST_SLICES = 12
_STRIDE = 2


def judge_of(model: Model) -> JudgingModel:
    """A model with its thresholds, as the ledger knows it."""
    point = "" if model.operating_point is None else model.operating_point.name
    return JudgingModel(model.name, model.version, model.digest, point)


def said_of(
    maxima: Mapping[str, float], flagged: Sequence[str], judge: JudgingModel
) -> tuple[TraitCount, ...]:
    """What a judge said of a series.

    Parameters
    ----------
    maxima : mapping of str to float
        Highest probability of each finding.
    flagged : sequence of str
        The findings that its operating point calls present.
    judge : JudgingModel
    """
    counts = [trait.count(maxima[label.value]) for label, trait in traits.MAXIMA.items()]
    if judge.operating_point:  # without one nothing can be flagged
        word, value = (traits.YES, 1.0) if flagged else (traits.NO, 0.0)
        counts.append(TraitCount(traits.FLAGGED.name, word, value))
    return tuple(counts)


def traits_of(volume: Volume, headers: Sequence[Dataset]) -> tuple[TraitCount, ...]:
    """What a series is like.

    Parameters
    ----------
    volume : Volume
    headers : sequence of pydicom.Dataset
        Of the instances that it was made from; the first one speaks for all.
    """
    header = headers[0] if headers else Dataset()
    positions = [item.position_mm for item in volume.slices]
    mean, deviation, bone = _pixels(volume.hu)
    plane = _frames(header, "PixelMeasuresSequence")
    reconstruction = _frames(header, "CTReconstructionSequence")
    volts = _number(text(_frames(header, "CTXRayDetailsSequence"), "KVP"))
    return (
        traits.SLICES.count(len(volume)),
        traits.SPACING.count(float(np.median(np.diff(positions))) if len(positions) > 1 else None),
        traits.THICKNESS.count(_number(text(plane, "SliceThickness"))),
        traits.PIXEL.count(None if volume.spacing_mm is None else volume.spacing_mm[0]),
        traits.SOFT_MEAN.count(mean),
        traits.SOFT_DEVIATION.count(deviation),
        traits.BONE.count(bone),
        traits.KVP.count(None if volts is None else f"{volts:g}"),
        traits.KERNEL.count(text(reconstruction, "ConvolutionKernel").replace("\\", " ")),
        traits.SCANNER.count(
            f"{text(header, 'Manufacturer')} {text(header, 'ManufacturerModelName')}"
        ),
    )


def _pixels(hu: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """Mean and deviation of soft tissue, and the part of the body that is bone."""
    chosen = np.unique(np.linspace(0, len(hu) - 1, min(len(hu), _MOST_SLICES)).round().astype(int))
    some = hu[chosen, ::_STRIDE, ::_STRIDE]
    soft = some[(some >= SOFT_HU[0]) & (some <= SOFT_HU[1])]
    body = int(np.count_nonzero(some > BODY_HU))
    if not soft.size or not body:
        return None, None, None
    bone = int(np.count_nonzero(some > BONE_HU))
    return float(soft.mean(dtype=np.float64)), float(soft.std(dtype=np.float64)), bone / body


def _frames(header: Dataset, macro: str) -> Dataset:
    """Where an enhanced image says it: for all frames, or the first one (PS3.3, C.7.6.16).

    Any other image says it in the header itself.
    """
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for frame in header.get(groups, ())[:1]:
            found: Sequence[Dataset] = frame.get(macro, ())
            if found:
                return found[0]
    return header


def _number(said: str) -> float | None:
    try:
        return float(said)
    except ValueError:
        return None
