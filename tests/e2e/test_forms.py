"""Other forms of the results, as configured, all the way to the archives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import (
    ComprehensiveSRStorage,
    JPEG2000Lossless,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)

from node.ledger import State
from tests.e2e.conftest import Series
from tests.e2e.peers import Orthanc, kinds, running_node, running_storescp

FORMS = """
[report]
structured_report = "comprehensive"
text_report = false
capture = "multi-frame"
compression = "jpeg-2000"
key_objects = true
presentation_state = true
evidence_maps = true
"""


def test_every_form_gets_to_an_archive_that_takes_compression_and_to_one_that_does_not(
    tmp_path: Path, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    with (
        running_storescp(tmp_path / "pacs") as pacs,
        running_node(
            tmp_path,
            [("orthanc", "ORTHANC", orthanc.port), ("dcmtk", "STORESCP", pacs.port)],
            FORMS,
        ) as node,
    ):
        node.send(series.files)
        node.wait_for(series.series, State.DELIVERED)
        sent, plain = orthanc.instances_of(series.study), pacs.datasets()

    assert kinds(sent) == kinds(plain)
    found = kinds(sent)
    assert found[ComprehensiveSRStorage] == 2
    assert found[KeyObjectSelectionDocumentStorage] == 1
    assert found[pydicom.uid.GrayscaleSoftcopyPresentationStateStorage] == 1
    assert found[pydicom.uid.SecondaryCaptureImageStorage] >= 1  # evidence maps
    assert pydicom.uid.BasicTextSRStorage not in found
    one, other = (
        next(d for d in archive if d.SOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage)
        for archive in (sent, plain)
    )
    assert one.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert not other.file_meta.TransferSyntaxUID.is_encapsulated
    assert one.SOPInstanceUID == other.SOPInstanceUID
    assert np.array_equal(one.pixel_array, other.pixel_array)
    assert one.NumberOfFrames == 1 + len(series.files)
