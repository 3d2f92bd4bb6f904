"""An archive that writes down what it stores, and can be told to be ill.

Run as a process of its own, so that it can be killed and stopped like any other:
``python -m tests.soak.archive PORT JOURNAL ILLNESS``.
"""

import hashlib
import json
import os
import sys
import threading
import time
from enum import StrEnum
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

SLOW_S = 1.5
SILENCE_S = 7.0
"""Longer than the node waits for an answer, seconds."""

SUCCESS, OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000


class Illness(StrEnum):
    """How it answers a C-STORE."""

    NONE = "none"
    FULL = "A700"
    REFUSES = "A900"
    ABORTS = "aborts"
    SLOW = "slow"
    SILENT = "silent"
    ANSWER_LOST = "answer-lost"


def predecessors_of(report: Dataset) -> tuple[str, ...]:
    """SOP Instance UIDs of the reports that a report takes the place of (PS3.3, C.17.2)."""
    return tuple(
        str(reference.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    )


class Archive:
    """What runs in the process.

    Parameters
    ----------
    journal : pathlib.Path
        One line of JSON for each object that was stored.
    illness : pathlib.Path
        Holds an `Illness`; read at every object.
    """

    def __init__(self, journal: Path, illness: Path) -> None:
        self._journal = os.open(journal, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._illness = illness

    def handle_store(self, event: evt.Event) -> int:
        try:
            illness = Illness(self._illness.read_text())
        except (OSError, ValueError):
            illness = Illness.NONE
        match illness:
            case Illness.FULL:
                return OUT_OF_RESOURCES
            case Illness.REFUSES:
                return DOES_NOT_MATCH
            case Illness.ABORTS:
                event.assoc.abort()
                return CANNOT_UNDERSTAND
            case Illness.SILENT:
                time.sleep(SILENCE_S)
                return CANNOT_UNDERSTAND
            case Illness.SLOW:
                time.sleep(SLOW_S)
        self._store(event)
        if illness is Illness.ANSWER_LOST:
            event.assoc.dul.socket.close()
        return SUCCESS

    def _store(self, event: evt.Event) -> None:
        dataset = event.dataset
        line = json.dumps(
            {
                "study": str(dataset.StudyInstanceUID),
                "uid": str(event.request.AffectedSOPInstanceUID),
                "sop_class": str(event.request.AffectedSOPClassUID),
                "predecessors": predecessors_of(dataset),
                "digest": hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest(),
            }
        )
        os.write(self._journal, f"{line}\n".encode())


def main(port: str, journal: str, illness: str) -> None:
    """Serve until killed."""
    ae = AE(ae_title="ARCHIVE")
    ae.maximum_associations = 100
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless]
    ae.add_supported_context(Verification, syntaxes)
    for context in StoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, syntaxes)
    archive = Archive(Path(journal), Path(illness))
    ae.start_server(
        ("127.0.0.1", int(port)),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, archive.handle_store)],
    )
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
