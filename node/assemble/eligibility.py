"""May the model judge this series? A pure function of its headers.

The model has learned from plain axial head CT with a soft kernel. A series that
says it is something else is skipped with the reason. What a header does not say
is unknown: that gives a warning and is never alone a reason to skip.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from ml.series import Arrangement
from node.descriptions import head_in, matched, other_part
from node.headers import text
from node.settings import EligibilitySettings


class Reason(StrEnum):
    """Why a series is skipped."""

    MIXED = "mixed"
    NOT_CT = "not-ct"
    LOCALIZER = "localizer"
    DERIVED = "derived"
    NOT_AXIAL = "not-axial"
    TOO_FEW_SLICES = "too-few-slices"
    CONTRAST = "contrast"
    BONE_KERNEL = "bone-kernel"
    NOT_A_HEAD = "not-a-head"
    NO_PIXEL_DATA = "no-pixel-data"
    GEOMETRY = "geometry"


@dataclass(frozen=True)
class Verdict:
    """Whether a series is judged.

    Parameters
    ----------
    reason : Reason, optional
        Why not; None if it is.
    detail : str
        What in the header says so.
    warnings : tuple of str
        What the header leaves open.
    """

    reason: Reason | None = None
    detail: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Traits:
    """What the headers of a series say that decides.

    Parameters
    ----------
    slices : int
        Frames, localizers included.
    patients : int
        Distinct values of Patient ID.
    localizers, derived, without_pixels : int
        How many of them are marked so.
    modalities, derived_marks, body_parts, kernels, agents : tuple of str
        The distinct values, most frequent first.
    description : str
        Series Description.
    context : str
        Study Description and Protocol Name.
    has_image_type : bool
        Whether any slice has an Image Type.
    """

    slices: int
    patients: int
    localizers: int
    derived: int
    without_pixels: int
    modalities: tuple[str, ...]
    derived_marks: tuple[str, ...]
    body_parts: tuple[str, ...]
    kernels: tuple[str, ...]
    agents: tuple[str, ...]
    description: str
    context: str
    has_image_type: bool


def read_traits(headers: Sequence[Dataset], rules: EligibilitySettings) -> Traits:
    """Collect what decides from the headers of a series.

    Parameters
    ----------
    headers : sequence of pydicom.Dataset
        One for each instance, without pixel data.
    rules : EligibilitySettings
    """
    marks = {mark.upper() for mark in rules.derived_image_types}
    frames = [(header, _image_type(header, item)) for header in headers for item in _frames(header)]
    derived = [sorted(marks & set(image_type)) for _, image_type in frames]
    return Traits(
        slices=len(frames),
        patients=len(_distinct(text(header, "PatientID") for header in headers)),
        localizers=sum("LOCALIZER" in image_type for _, image_type in frames),
        derived=sum(bool(found) for found in derived),
        without_pixels=sum(not _describes_pixels(header) for header, _ in frames),
        modalities=_distinct(text(header, "Modality") for header in headers),
        derived_marks=_distinct(mark for found in derived for mark in found),
        body_parts=_distinct(_body_part(header) for header in headers),
        kernels=_distinct(_kernel(header) for header in headers),
        agents=_distinct(_agent(header) for header in headers),
        description=next(iter(_distinct(text(h, "SeriesDescription") for h in headers)), ""),
        context=" ".join(
            _distinct(text(h, k) for h in headers for k in ("StudyDescription", "ProtocolName"))
        ),
        has_image_type=any(image_type for _, image_type in frames),
    )


def judge(traits: Traits, arrangement: Arrangement | None, rules: EligibilitySettings) -> Verdict:
    """Decide whether a series is judged.

    Parameters
    ----------
    traits : Traits
    arrangement : Arrangement, optional
        None if the slices cannot be ordered.
    rules : EligibilitySettings
    """
    for reason, detail in _objections(traits, arrangement, rules):
        return Verdict(reason, detail)
    return Verdict(warnings=tuple(_open_questions(traits, rules)))


def _objections(  # noqa: PLR0912  one test after the other, in order
    traits: Traits, arrangement: Arrangement | None, rules: EligibilitySettings
) -> Iterable[tuple[Reason, str]]:
    """What speaks against a series, the plainest first."""
    if traits.patients > 1:  # a result names one of them
        yield Reason.MIXED, f"the images are of {traits.patients} patients"
    others = [modality for modality in traits.modalities if modality.upper() != "CT"]
    if others:
        yield Reason.NOT_CT, f"the modality is {others[0]}"
    if traits.localizers * 2 > traits.slices:
        yield Reason.LOCALIZER, "the image type says localizer"
    if traits.without_pixels * 2 > traits.slices:
        yield Reason.NO_PIXEL_DATA, "no image size, so no pixel data"
    if traits.derived * 2 > traits.slices:
        yield Reason.DERIVED, f"the image type says {traits.derived_marks[0]}"
    if found := matched(rules.derived_words, traits.description):
        yield Reason.DERIVED, f"the description says {found!r}"
    if part := other_part(traits.body_parts, traits.description, traits.context, rules):
        yield Reason.NOT_A_HEAD, f"the header says {part!r}"
    if agent := next((a for a in traits.agents if not matched(rules.no_agent_words, a)), None):
        yield Reason.CONTRAST, f"the contrast agent is {agent!r}"
    if found := _contrast_in(traits.description, rules):
        yield Reason.CONTRAST, f"the description says {found!r}"
    if kernel := next((k for k in traits.kernels if matched(rules.bone_kernels, k)), None):
        yield Reason.BONE_KERNEL, f"the kernel is {kernel!r}"
    if found := matched(rules.bone_words, traits.description):
        yield Reason.BONE_KERNEL, f"the description says {found!r}"
    if arrangement is None:
        yield (
            Reason.GEOMETRY,
            "no slice has a usable Image Position (Patient) and Image Orientation (Patient)",
        )
        return
    plane = arrangement.frames[0].plane
    if plane is not None and plane.tilt_deg > rules.max_tilt_deg:
        yield Reason.NOT_AXIAL, f"the slices are tilted by {plane.tilt_deg:.0f} degrees"
    if len(arrangement.frames) < rules.min_slices:
        yield (
            Reason.TOO_FEW_SLICES,
            f"{len(arrangement.frames)} slices, at least {rules.min_slices} are needed",
        )


def _open_questions(traits: Traits, rules: EligibilitySettings) -> Iterable[str]:
    unknown = [
        name
        for name, is_known in (
            ("image type", traits.has_image_type),
            ("body part", bool(traits.body_parts) or bool(_head_in(traits, rules))),
            ("kernel", bool(traits.kernels)),
        )
        if not is_known
    ]
    if unknown:
        yield f"the header does not say: {', '.join(unknown)}"
    if traits.body_parts and not _head_in(traits, rules):
        yield f"the header calls the body part {traits.body_parts[0]!r}: taken for a head"


def _head_in(traits: Traits, rules: EligibilitySettings) -> str | None:
    return head_in(traits.body_parts, traits.description, traits.context, rules)


def _contrast_in(description: str, rules: EligibilitySettings) -> str | None:
    if matched(rules.plain_words, description):
        return None
    return matched(rules.contrast_words, description)


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(value for value, _ in Counter(v for v in values if v).most_common())


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence, none where it is absent, of another kind or cannot be read."""
    try:
        value = dataset.get(keyword)
    except Exception:  # as in `text`
        return []
    return list(value) if isinstance(value, DicomSequence) else []


def _frames(header: Dataset) -> Sequence[Dataset]:
    return _items(header, "PerFrameFunctionalGroupsSequence") or [header]


def _macro(header: Dataset, frame: Dataset, name: str) -> Dataset | None:
    """A functional group of a multi-frame image (PS3.3, C.7.6.16)."""
    for place in (frame, *_items(header, "SharedFunctionalGroupsSequence")[:1]):
        if items := _items(place, name):
            return items[0]
    return None


def _image_type(header: Dataset, frame: Dataset) -> tuple[str, ...]:
    macro = None if frame is header else _macro(header, frame, "CTImageFrameTypeSequence")
    value = text(header, "ImageType") if macro is None else text(macro, "FrameType")
    return tuple(part.strip().upper() for part in value.split("\\") if part.strip())


def _body_part(header: Dataset) -> str:
    anatomy = _macro(header, header, "FrameAnatomySequence")
    region = _items(anatomy, "AnatomicRegionSequence") if anatomy is not None else []
    return text(header, "BodyPartExamined") or (text(region[0], "CodeMeaning") if region else "")


def _kernel(header: Dataset) -> str:
    macro = _macro(header, header, "CTReconstructionSequence")
    return text(header, "ConvolutionKernel") or (
        text(macro, "ConvolutionKernel") if macro is not None else ""
    )


def _agent(header: Dataset) -> str:
    codes = _items(header, "ContrastBolusAgentSequence")
    return text(header, "ContrastBolusAgent") or (text(codes[0], "CodeMeaning") if codes else "")


def _describes_pixels(header: Dataset) -> bool:
    return bool(text(header, "Rows") and text(header, "Columns") and text(header, "BitsAllocated"))
