"""A stand-in for a peer that keeps a worklist of Unified Procedure Steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import UnifiedProcedureStepPush

from node.broker import free_port


@dataclass
class Worklist:
    """Creates what it is asked to, each UID once, and cancels; or answers as it is told."""

    port: int
    answer: int = 0x0000
    loses_answers: bool = False
    created: list[tuple[str, Dataset]] = field(default_factory=list)
    answer_to_cancel: int = 0x0000
    is_silent_on_cancel: bool = False
    canceled: list[tuple[str, int, Dataset]] = field(default_factory=list)

    def handle(self, event: evt.Event) -> tuple[int, Dataset | None]:
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid in [known for known, _ in self.created]:
            return 0x0111, None
        if self.answer in (0x0000, 0x0107, 0x0116, 0xB300):
            self.created.append((uid, event.attribute_list))
        if self.loses_answers:
            event.assoc.abort()
        return self.answer, None

    def handle_action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        uid = str(event.request.RequestedSOPInstanceUID)
        if self.is_silent_on_cancel:
            event.assoc.abort()
        elif uid not in [known for known, _ in self.created]:
            return 0xC307, None
        else:
            self.canceled.append((uid, event.action_type, event.action_information))
        return self.answer_to_cancel, None


@contextmanager
def running_worklist() -> Iterator[Worklist]:
    """Run one."""
    peer = Worklist(free_port())
    ae = AE(ae_title="WORKLIST")
    ae.add_supported_context(UnifiedProcedureStepPush)
    server = ae.start_server(
        ("127.0.0.1", peer.port),
        block=False,
        evt_handlers=[(evt.EVT_N_CREATE, peer.handle), (evt.EVT_N_ACTION, peer.handle_action)],
    )
    try:
        yield peer
    finally:
        server.shutdown()
