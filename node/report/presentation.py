"""The softcopy presentation state: how a viewer is to show the flagged slices.

It opens them in the brain window and writes what they are flagged for at the
edge of the display, without touching a pixel: a viewer can turn it off. One state
holds one way from stored values to HU; images that differ in that get one each.

References
----------
DICOM PS3.3: Grayscale Softcopy Presentation State IOD (A.33.1), its modules
(C.10.4, C.10.5, C.10.7, C.11.1, C.11.6, C.11.8, C.11.10, C.11.11).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage
from pydicom.valuerep import format_number_as_ds

from ml.series import Slice
from ml.windows import BRAIN
from node.report.header import NOT_FOR_CLINICAL_USE, Series, copy_filled, new_result
from node.report.origin import Origin
from node.report.sr.words import flagged_for, percent
from node.settings import Kind

SERIES = Series(
    Kind.PRESENTATION_STATE,
    GrayscaleSoftcopyPresentationStateStorage,
    modality="PR",
    offset=6,
    description=f"ichnode ICH marks - {NOT_FOR_CLINICAL_USE}",
)

_LAYER = "ICHNODE"


def build_presentation_states(
    origin: Origin, *, revision: int, created: datetime
) -> Iterator[FileDataset]:
    """Build the presentation states of a judgement.

    Parameters
    ----------
    origin : Origin
        The judgement and what it was made from.
    revision : int
        From 1.
    created : datetime.datetime
        When they were created.

    Yields
    ------
    pydicom.dataset.FileDataset
        One for each way from stored values to HU; none where no slice is flagged.
    """
    by_scaling: dict[tuple[float, float], list[int]] = defaultdict(list)
    for index in origin.judgement.flagged_slices():
        frame = origin.frame(origin.judgement.slices[index])
        if frame is not None and frame.scaling is not None:
            by_scaling[frame.scaling.slope, frame.scaling.intercept].append(index)
    for number, ((slope, intercept), indices) in enumerate(by_scaling.items(), start=1):
        state = new_result(origin, SERIES, number, revision=revision, created=created)
        # Presentation State Identification (C.11.10) and Relationship (C.11.11)
        state.PresentationCreationDate = state.ContentDate
        state.PresentationCreationTime = state.ContentTime
        state.ContentLabel = "ICH"
        state.ContentDescription = f"Flagged slices; {NOT_FOR_CLINICAL_USE}"
        state.ContentCreatorName = None  # a person's
        del state.ContentDate, state.ContentTime  # of images and documents
        state.BodyPartExamined = "HEAD"  # only heads are judged
        copy_filled(origin.template, state, "BodyPartExamined")
        slices = [origin.judgement.slices[index] for index in indices]
        state.ReferencedSeriesSequence = [_series(origin, slices)]
        # Displayed Area (C.10.4), Graphic Annotation (C.10.5), Graphic Layer (C.10.7)
        state.DisplayedAreaSelectionSequence = [*_displayed_areas(origin, slices)]
        state.GraphicAnnotationSequence = [_annotation(origin, index) for index in indices]
        layer = Dataset()
        layer.GraphicLayer = _LAYER
        layer.GraphicLayerOrder = 1
        state.GraphicLayerSequence = [layer]
        # Modality LUT (C.11.1), Softcopy VOI LUT (C.11.8), Softcopy Presentation LUT (C.11.6)
        state.RescaleSlope = format_number_as_ds(slope)
        state.RescaleIntercept = format_number_as_ds(intercept)
        state.RescaleType = "HU"
        window = Dataset()
        window.WindowCenter, window.WindowWidth = str(BRAIN.level), str(BRAIN.width)
        window.WindowCenterWidthExplanation = BRAIN.name.upper()
        state.SoftcopyVOILUTSequence = [window]
        state.PresentationLUTShape = "IDENTITY"
        yield state


def _series(origin: Origin, slices: Sequence[Slice]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = origin.series_instance_uid
    series.ReferencedImageSequence = _images(origin, slices)
    return series


def _images(origin: Origin, slices: Sequence[Slice]) -> list[Dataset]:
    """References to images, the frames of one image together (PS3.3, table 10-3)."""
    frames: dict[str, list[int]] = defaultdict(list)
    for item in slices:
        frames[item.sop_instance_uid] += [] if item.frame_number is None else [item.frame_number]
    images = []
    for uid, numbers in frames.items():
        image = Dataset()
        image.ReferencedSOPClassUID = origin.headers[uid].SOPClassUID
        image.ReferencedSOPInstanceUID = uid
        if numbers:
            image.ReferencedFrameNumber = numbers
        images.append(image)
    return images


def _displayed_areas(origin: Origin, slices: Sequence[Slice]) -> Iterator[Dataset]:
    """The whole of each image, in its true shape."""
    by_shape: dict[tuple[int, int, tuple[float, float] | None], list[Slice]] = defaultdict(list)
    for item in slices:
        frame = origin.frame(item)
        if frame is not None:
            by_shape[frame.rows, frame.columns, frame.spacing_mm].append(item)
    for (rows, columns, spacing_mm), same in by_shape.items():
        area = Dataset()
        area.ReferencedImageSequence = _images(origin, same)
        area.DisplayedAreaTopLeftHandCorner = [1, 1]
        area.DisplayedAreaBottomRightHandCorner = [columns, rows]
        area.PresentationSizeMode = "SCALE TO FIT"
        if spacing_mm is None:
            area.PresentationPixelAspectRatio = [1, 1]
        else:
            area.PresentationPixelSpacing = [format_number_as_ds(one) for one in spacing_mm]
        yield area


def _annotation(origin: Origin, index: int) -> Dataset:
    """What a slice is flagged for, at the foot of the display, off the head."""
    judgement = origin.judgement
    said = ", ".join(
        f"{label} {percent(judgement.probability(index, label))}"
        for label in flagged_for(judgement, [index])
    )
    words = Dataset()
    words.BoundingBoxAnnotationUnits = "DISPLAY"
    words.UnformattedTextValue = f"ICH flagged: {said} ({NOT_FOR_CLINICAL_USE})"
    words.BoundingBoxTopLeftHandCorner = [0.02, 0.95]
    words.BoundingBoxBottomRightHandCorner = [0.98, 0.99]
    words.BoundingBoxTextHorizontalJustification = "LEFT"
    annotation = Dataset()
    annotation.ReferencedImageSequence = _images(origin, [judgement.slices[index]])
    annotation.GraphicLayer = _LAYER
    annotation.TextObjectSequence = [words]
    return annotation
