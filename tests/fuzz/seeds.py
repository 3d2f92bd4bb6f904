"""Good files, one of every kind that the node reads, small."""

from functools import cache
from io import BytesIO

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from tests import ct

COMPRESSED = (JPEG2000Lossless, JPEGLSLossless, RLELossless)


@cache
def seeds() -> tuple[bytes, ...]:
    """The files; those in Explicit VR Little Endian are there twice, they can be taken apart."""
    plain = [_file(_image()), _file(ct.enhanced([0.0, 5.0, 10.0]))]
    others = [
        _file(_image(ExplicitVRBigEndian)),
        _file(_image(), ImplicitVRLittleEndian),
        _file(_image(DeflatedExplicitVRLittleEndian)),
        *(_file(_compressed(syntax)) for syntax in COMPRESSED),
    ]
    return (*plain, *plain, *others)


def _image(syntax: str = ExplicitVRLittleEndian) -> Dataset:
    out = ct.image(syntax=syntax)
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    out.ReferencedImageSequence = Sequence([item, item])
    out.ReferencedImageSequence.is_undefined_length = True
    out.SpecificCharacterSet = "ISO_IR 192"
    out.add_new(0x00090010, "LO", "ICHNODE TEST")
    out.add_new(0x00091001, "OB", bytes(64))
    return out


def _compressed(syntax: str) -> Dataset:
    noise = np.random.default_rng(5).integers(-20, 20, (32, 32))
    out = ct.image(hu=(ct.ramp(0, 32, 32) + noise).astype(np.int16))
    out.compress(syntax, generate_instance_uid=False)
    return out


def _file(image: Dataset, syntax: str | None = None) -> bytes:
    content = BytesIO()
    if syntax is not None:
        image.file_meta.TransferSyntaxUID = syntax
    dcmwrite(content, image, enforce_file_format=True)
    return content.getvalue()
