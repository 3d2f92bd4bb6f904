"""The judged instances, checked: results refer to them and belong to their study."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydicom.dataset import Dataset
from pydicom.uid import UID

from ml.frames import Frame, read_frames
from ml.geometry import ImagePlane
from ml.series import Slice, Volume
from node.judgement import Judgement, Model
from node.report.errors import ReportError
from node.report.identity import Subject


class Basis(Subject, Protocol):
    """A series that results belong to and refer to."""

    @property
    def study_instance_uid(self) -> str:
        """The study, of the results too."""

    @property
    def headers(self) -> dict[str, Dataset]:
        """Of every instance by SOP Instance UID."""

    @property
    def template(self) -> Dataset:
        """The header that patient and study are copied from."""


@dataclass(frozen=True)
class Origin:
    """A judgement together with what it was made from.

    Parameters
    ----------
    judgement : Judgement
        What the model says.
    volume : Volume
        What it looked at.
    headers : dict of str to pydicom.Dataset
        Of every instance of the series by SOP Instance UID: those with a
        judged slice first, from foot to head.
    frames : dict
        What the headers say of every frame, by SOP Instance UID and frame number.
    """

    judgement: Judgement
    volume: Volume
    headers: dict[str, Dataset]
    frames: dict[tuple[str, int | None], Frame]

    @classmethod
    def of(cls, judgement: Judgement, volume: Volume, sources: Sequence[Dataset]) -> "Origin":
        """Bring a judgement together with its sources.

        Raises
        ------
        ReportError
            If they do not belong together, or cannot be referred to.
        """
        if volume.slices != judgement.slices or len(judgement.probabilities) != len(volume):
            raise ReportError(
                f"series {judgement.series_instance_uid}: the judgement and the volume "
                "do not have the same slices"
            )
        if not volume.slices:
            raise ReportError(f"series {judgement.series_instance_uid}: no slice was judged")
        by_uid = {str(source.get("SOPInstanceUID", "")): source for source in sources}
        for source in sources:
            _check_reference(source, judgement.study_instance_uid, judgement.series_instance_uid)
        judged = list(dict.fromkeys(item.sop_instance_uid for item in volume.slices))
        missing = [uid for uid in judged if uid not in by_uid]
        if missing:
            raise ReportError(
                f"series {judgement.series_instance_uid}: no header of {len(missing)} judged "
                f"instances, the first is {missing[0]}"
            )
        others = sorted(by_uid.keys() - set(judged))
        headers = {uid: by_uid[uid] for uid in (*judged, *others)}
        frames = {
            (uid, frame.frame_number): frame
            for uid in judged
            for frame in read_frames(headers[uid], Path(uid))
        }
        return cls(judgement, volume, headers, frames)

    @property
    def study_instance_uid(self) -> str:
        """The study."""
        return self.judgement.study_instance_uid

    @property
    def series_instance_uid(self) -> str:
        """The series that was judged."""
        return self.judgement.series_instance_uid

    @property
    def input_digest(self) -> str:
        """Stands for the instances that were judged."""
        return self.judgement.input_digest

    @property
    def model(self) -> Model:
        """Which model judged."""
        return self.judgement.model

    @property
    def template(self) -> Dataset:
        """The header that patient and study are copied from."""
        return next(iter(self.headers.values()))

    def header(self, item: Slice) -> Dataset:
        """Header of the instance that a slice stands in."""
        return self.headers[item.sop_instance_uid]

    def plane(self, item: Slice) -> ImagePlane | None:
        """Plane of a slice, None where it is not known."""
        frame = self.frame(item)
        return None if frame is None else frame.plane

    def frame(self, item: Slice) -> Frame | None:
        """What the header says of a slice, None where it stands in no frame."""
        return self.frames.get((item.sop_instance_uid, item.frame_number))


@dataclass(frozen=True)
class Unjudged:
    """A series that no model has judged.

    Parameters
    ----------
    study_instance_uid, series_instance_uid : str
        What it is called.
    input_digest : str
        Stands for the set of its instances (`node.judgement.digest_of_instances`).
    headers : dict of str to pydicom.Dataset
        Of every instance by SOP Instance UID.
    """

    study_instance_uid: str
    series_instance_uid: str
    input_digest: str
    headers: dict[str, Dataset]
    model: None = None

    @classmethod
    def of(
        cls,
        study_instance_uid: str,
        series_instance_uid: str,
        input_digest: str,
        sources: Sequence[Dataset],
    ) -> "Unjudged":
        """A series by the headers of its instances.

        Raises
        ------
        ReportError
            If there is none, or it cannot be referred to.
        """
        if not sources:
            raise ReportError(f"series {series_instance_uid}: no header of it can be read")
        for source in sources:
            _check_reference(source, study_instance_uid, series_instance_uid)
        headers = {str(source.SOPInstanceUID): source for source in sources}
        return cls(study_instance_uid, series_instance_uid, input_digest, headers)

    @property
    def template(self) -> Dataset:
        """The header that patient and study are copied from."""
        return next(iter(self.headers.values()))


def _check_reference(source: Dataset, study: str, series: str) -> None:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        uid = UID(str(source.get(keyword) or ""))
        if not uid.is_valid:  # PS3.5, 9.1
            raise ReportError(
                f"results cannot refer to series {series}: its {keyword} {str(uid)!r} is not "
                "a valid UID; give the series valid UIDs before it is sent"
            )
    for keyword, expected in (
        ("StudyInstanceUID", study),
        ("SeriesInstanceUID", series),
    ):
        if source[keyword].value != expected:
            raise ReportError(
                f"instance {source.SOPInstanceUID} has {keyword} {source[keyword].value}, "
                f"the judgement {expected}"
            )
