"""Two files of one UID: the same image written in another way, or another image."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from node.sameness import is_same_image
from tests import ct


def whole() -> Dataset:
    """An image with all that is told apart by how it is written."""
    image = ct.image(3, 10.0, hu=ct.ramp(3, 64, 64))
    image.SmallestImagePixelValue = 7  # US or SS, by Pixel Representation
    image["SmallestImagePixelValue"].VR = "SS"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", "A code"
    image.ProcedureCodeSequence = Sequence([code])
    block = image.private_block(0x0043, "MAKER", create=True)
    block.add_new(1, "LO", "odd")
    block.add_new(2, "DS", ["1.5", "2"])
    return image


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return ct.write(whole(), tmp_path / "original.dcm")


def compressed(path: Path, syntax: str) -> Path:
    image = pydicom.dcmread(path)
    image.compress(syntax, generate_instance_uid=False)
    return ct.write(image, path.with_name("compressed.dcm"))


def changed(path: Path, change: Callable[[Dataset], object]) -> Path:
    image = pydicom.dcmread(path)
    change(image)
    return ct.write(image, path.with_name("changed.dcm"))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_an_image_that_a_pacs_compresses_without_loss_is_the_same(
    original: Path, syntax: str
) -> None:
    assert is_same_image(original, compressed(original, syntax))


@pytest.mark.parametrize("options", [["+ti"], ["+te", "-e"], ["+tb"], ["+te", "+e", "+g=", "-p"]])
def test_an_image_that_dcmtk_writes_in_its_own_way_is_the_same(
    original: Path, options: list[str]
) -> None:
    other = original.with_name("other.dcm")
    subprocess.run(["/usr/bin/dcmconv", *options, str(original), str(other)], check=True)
    assert other.read_bytes() != original.read_bytes()
    assert is_same_image(original, other)
    assert is_same_image(other, original)


def test_other_pixels_are_another_image_however_few(original: Path) -> None:
    def brighten(image: Dataset) -> None:
        pixels = np.frombuffer(image.PixelData, "<i2").copy()
        pixels[5] += 1
        image.PixelData = pixels.tobytes()

    assert not is_same_image(original, changed(original, brighten))


def test_pixels_that_lost_something_in_compression_are_another_image(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 1000, (64, 64)).astype(np.int16)
    original = ct.write(ct.image(hu=noise), tmp_path / "original.dcm")
    image = pydicom.dcmread(original)
    image.compress(JPEG2000, j2k_cr=[10], generate_instance_uid=False)
    assert not is_same_image(original, ct.write(image, tmp_path / "lossy.dcm"))


@pytest.mark.parametrize(
    "change",
    [
        lambda image: setattr(image, "PatientName", "Other^Name"),
        lambda image: setattr(image, "ImagePositionPatient", [0.0, 0.0, 1.0]),
        lambda image: setattr(image, "RescaleIntercept", 0),
        lambda image: setattr(image, "SmallestImagePixelValue", 32),
        lambda image: setattr(image.ProcedureCodeSequence[0], "CodeMeaning", "Another"),
        lambda image: image.ProcedureCodeSequence.append(Dataset()),
        lambda image: setattr(image, "InstitutionName", "Added"),
        lambda image: image.__delitem__("BodyPartExamined"),
    ],
)
def test_an_attribute_that_says_something_else_makes_another_image(
    original: Path, change: Callable[[Dataset], object]
) -> None:
    assert not is_same_image(original, changed(original, change))


def test_numbers_that_end_in_a_space_are_told_from_none(tmp_path: Path) -> None:
    """0x0020 of VR US is a space and a zero, as padding is."""

    def with_number(value: int) -> Path:
        image = ct.image()
        image.PixelPaddingValue = value
        image["PixelPaddingValue"].VR = "SS"
        return ct.write(image, tmp_path / f"{value}.dcm")

    assert not is_same_image(with_number(32), with_number(0))


@pytest.mark.parametrize(
    "content", [b"", b"DICM", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 400]
)
def test_what_cannot_be_read_is_not_the_same(original: Path, content: bytes) -> None:
    other = original.with_name("other.dcm")
    other.write_bytes(content)
    assert not is_same_image(original, other)
    assert not is_same_image(original, original.with_name("gone.dcm"))


def test_a_file_that_is_cut_off_within_its_pixels_is_not_the_same(original: Path) -> None:
    other = original.with_name("other.dcm")
    other.write_bytes(original.read_bytes()[:-20])
    assert not is_same_image(original, other)


def test_sequences_that_nest_without_end_are_no_more_than_not_the_same(tmp_path: Path) -> None:
    def nested(depth: int, last: str) -> Path:
        image = ct.image()
        inner = Dataset()
        inner.CodeMeaning = last
        for _ in range(depth):
            outer = Dataset()
            outer.ProcedureCodeSequence = Sequence([inner])
            inner = outer
        image.ProcedureCodeSequence = Sequence([inner])
        return ct.write(image, tmp_path / f"{last}.dcm")

    assert not is_same_image(nested(120, "one"), nested(120, "other"))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_every_frame_is_compared(tmp_path: Path, syntax: str) -> None:
    image = ct.enhanced([0.0, 5.0, 10.0])
    original = ct.write(image, tmp_path / "original.dcm")
    other = tmp_path / "other.dcm"
    option = "+ti" if syntax == ImplicitVRLittleEndian else "+tb"
    subprocess.run(["/usr/bin/dcmconv", option, str(original), str(other)], check=True)
    assert is_same_image(original, other)
    pixels = bytearray(image.PixelData)
    pixels[-2] ^= 1
    image.PixelData = bytes(pixels)
    assert image.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert not is_same_image(original, ct.write(image, tmp_path / "changed.dcm"))
