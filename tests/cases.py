"""Small head CT series with a judgement, as `node.report.build` takes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
)

from ml.bundle import OperatingPoint
from ml.frames import read_frames, read_header
from ml.labels import LABELS
from ml.series import Slice, Volume, arrange, load_volume
from node import report
from node.judgement import Judgement, Model
from node.report import ResultObject

MODEL = Model(
    name="phantom",
    version="0.1.0",
    digest="3fa9c1d2e0ab" + 52 * "7",
    trained_on="1,000 synthetic head CT",
    intended_use="to show the way",
    operating_point=OperatingPoint(
        name="balanced",
        chosen_on="validation phantoms",
        thresholds=dict(zip(LABELS, (0.2, 0.35, 0.3, 0.5, 0.4, 0.4375), strict=True)),
    ),
)


@dataclass(frozen=True)
class Case:
    """All that `node.report.build` takes but the folder."""

    judgement: Judgement
    volume: Volume
    sources: list[Dataset]

    def build(self, folder: Path, **more: object) -> list[ResultObject]:
        """Build the results."""
        created = more.pop("created", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))
        return report.build(
            self.judgement, self.volume, self.sources, folder, created=created, **more
        )

    def judged(self, **changes: object) -> "Case":
        """The same series, judged otherwise."""
        return replace(self, judgement=replace(self.judgement, **changes))


def _stored(header: Dataset) -> Dataset:
    """A header as it comes from a file: bytes, read."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = header.SOPClassUID
    meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("", header, preamble=bytes(128), file_meta=meta)
    content = BytesIO()
    file.save_as(content, enforce_file_format=True)
    content.seek(0)
    return pydicom.dcmread(content)


def _header(number: int, orientation: tuple[float, ...]) -> Dataset:
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.3.{number}"
    header.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    header.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    header.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.4"
    header.PositionReferenceIndicator = ""
    header.PatientName = "Doe^Jane"
    header.PatientID = "4711"
    header.PatientBirthDate = "19500102"
    header.PatientSex = "F"
    header.PatientAge = "076Y"
    header.StudyDate = "20260304"
    header.StudyTime = "010203"
    header.StudyID = "S1"
    header.StudyDescription = "CT HEAD"
    header.AccessionNumber = "A1"
    header.ReferringPhysicianName = "Roe^Richard"
    header.Modality = "CT"
    header.Manufacturer = "Scanner Works"
    header.ManufacturerModelName = "Ring 1"
    header.BodyPartExamined = "HEAD"
    header.SeriesNumber = 3
    header.InstanceNumber = number
    header.ImagePositionPatient = [-100, -100, 5.0 * number]
    header.ImageOrientationPatient = list(orientation)
    return header


def _enhanced(count: int, orientation: tuple[float, ...]) -> Dataset:
    header = _header(1, orientation)
    header.SOPClassUID = EnhancedCTImageStorage
    header.NumberOfFrames = count
    del header.ImageOrientationPatient, header.ImagePositionPatient
    shared, plane = Dataset(), Dataset()
    plane.ImageOrientationPatient = list(orientation)
    shared.PlaneOrientationSequence = [plane]
    header.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for number in range(1, count + 1):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [-100, -100, 5.0 * number]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    header.PerFrameFunctionalGroupsSequence = frames
    return header


def _hu(count: int, rows: int, columns: int) -> np.ndarray:
    """An ellipsoid of brain in air."""
    z, y, x = np.ogrid[-1 : 1 : count * 1j, -1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    inside = 0.4 * z**2 + (y / 0.8) ** 2 + (x / 0.6) ** 2 < 1
    return np.where(inside, 35, -1000).astype(np.int16)


def make_case(
    count: int = 4,
    *,
    rows: int = 64,
    columns: int = 64,
    spacing_mm: tuple[float, float] | None = (3.0, 3.0),
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    enhanced: bool = False,
    **attributes: object,
) -> Case:
    """A case; attributes of every header by keyword, None deletes one."""
    if enhanced:
        headers = [_enhanced(count, orientation)]
    else:
        headers = [_header(number, orientation) for number in range(1, count + 1)]
    for header in headers:
        header.Rows, header.Columns = rows, columns
        for keyword, value in attributes.items():
            if value is None:
                delattr(header, keyword)
            else:
                setattr(header, keyword, value)
    sources = [_stored(header) for header in headers]
    slices = tuple(
        Slice(
            str(headers[0 if enhanced else number - 1].SOPInstanceUID),
            number if enhanced else None,
            number,
            5.0 * number,
        )
        for number in range(1, count + 1)
    )
    volume = Volume(_hu(count, rows, columns), slices, spacing_mm)
    probabilities = np.random.default_rng(7).random((count, len(LABELS)), dtype=np.float32)
    judgement = Judgement(
        study_instance_uid=str(headers[0].StudyInstanceUID),
        series_instance_uid=str(headers[0].SeriesInstanceUID),
        model=MODEL,
        input_digest=64 * "a",
        slices=slices,
        probabilities=probabilities,
        warnings=("steps of 1.1 to 7.4 mm",),
    )
    return Case(judgement, volume, sources)


def real_case(paths: Sequence[Path]) -> Case:
    """A few slices of a real series, judged by nobody."""
    headers = [read_header(path) for path in paths]
    frames = [f for h, p in zip(headers, paths, strict=True) for f in read_frames(h, p)]
    volume = load_volume(arrange(frames))
    probabilities = np.random.default_rng(7).random((len(volume), len(LABELS)), dtype=np.float32)
    judgement = Judgement(
        study_instance_uid=str(headers[0].StudyInstanceUID),
        series_instance_uid=str(headers[0].SeriesInstanceUID),
        model=MODEL,
        input_digest=64 * "a",
        slices=volume.slices,
        probabilities=probabilities,
        warnings=volume.warnings,
    )
    return Case(judgement, volume, headers)
