"""A stand-in PACS for the demo: takes whatever is sent to it and writes it to a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts, evt

from node.dicom import application_entity, send_without_delay
from node.spool import is_uid, write_durably


@contextmanager
def standin_pacs(ae_title: str, port: int, folder: Path) -> Iterator[None]:
    """Run a storage SCP on the loopback address for as long as the context lasts.

    Objects come to lie in ``folder`` where `stored_file` says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ae = application_entity(ae_title)
    ae.supported_contexts = AllStoragePresentationContexts

    def store(event: evt.Event) -> int:
        meta = event.file_meta
        uid = str(meta.MediaStorageSOPInstanceUID)
        if not is_uid(uid):
            return 0xC000
        path = stored_file(folder, meta.MediaStorageSOPClassUID, uid)
        write_durably(path, event.encoded_dataset())
        return 0x0000

    server = ae.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_CONN_OPEN, send_without_delay)],
    )
    try:
        yield
    finally:
        if server is not None:
            server.shutdown()


def stored_file(folder: Path, sop_class_uid: str, sop_instance_uid: str) -> Path:
    """The file of an object: a folder for each SOP class, by its name."""
    return folder / UID(sop_class_uid).name.replace(" ", "") / f"{sop_instance_uid}.dcm"
