"""It is known of every image by which way it came."""

from io import BytesIO
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from node.ledger import Ledger, Way
from tests.ct import image
from tests.listening import listening
from tests.stowing import multipart, taking


def ways(ledger: Ledger) -> list[Way | None]:
    return [arrival.way for arrival in ledger.arrivals(0, [], 100)]


@pytest.mark.parametrize(
    ("originator", "way"),
    [
        (None, Way.C_STORE),
        ("ICHNODE", Way.C_MOVE),
        ("WORKSTATION", Way.C_STORE),  # somebody else has it sent to the node
    ],
)
def test_what_comes_by_c_store_was_sent_or_asked_for(
    tmp_path: Path, originator: str | None, way: Way
) -> None:
    with listening(tmp_path) as receiver:
        ae = AE()
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        port, title = receiver.settings.dicom.port, receiver.settings.dicom.ae_title
        association = ae.associate("127.0.0.1", port, ae_title=title)
        for number in (1, 2):
            status = association.send_c_store(
                image(number, 5.0 * number), originator_aet=originator, originator_id=1
            )
            assert status.Status == 0
        association.release()
        assert ways(receiver.intake.ledger) == [way, way]


def test_what_comes_by_stow_rs_is_no_other(tmp_path: Path) -> None:
    with taking(tmp_path) as service:
        buffer = BytesIO()
        image(1).save_as(buffer, enforce_file_format=True)
        assert service.post(multipart([buffer.getvalue()])).status_code == 200
        assert ways(service.ledger) == [Way.STOW_RS]
