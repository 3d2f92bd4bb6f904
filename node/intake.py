"""The one way in: an instance is on the disk and in the ledger before anybody says it is.

Whatever brings it, an association, a request or a fetch: it enters the spool here, or it is
refused and put aside, or it is not stored and whoever brought it is told so.
"""

import logging
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)
from sqlalchemy.exc import SQLAlchemyError

from ml.errors import first_line
from node.access import Seldom
from node.allowance import Allowance
from node.audit import Action, Alert, Auditor, EventOutcome, Peer, Tally
from node.dicom import IMPLEMENTATION_CLASS_UID, as_ui
from node.errors import NotStoredError, RefusedInstance, SpoolError
from node.ledger import Instance, Ledger, Outcome, Stored, Way, patiently
from node.listener import printable
from node.logs import about
from node.reading import Identity, read_identity
from node.sameness import is_same_image
from node.settings import Settings
from node.spool import Spool, digest_of

log = logging.getLogger(__name__)

STORAGE_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
"""What the node takes, whatever way it comes."""

MOST_COUNTED = 100
"""Studies of one batch that are counted in memory; then they are recorded."""

_ACTIONS = {
    Outcome.NEW: Action.CREATE,
    Outcome.DUPLICATE: Action.READ,
    Outcome.CHANGED: Action.UPDATE,
}
"""What an instance was to the ledger, as the audit trail says it (PS3.15, A.5.3.7)."""


def transfer_syntaxes() -> list[UID]:
    """Every transfer syntax that the installed decoders can decode."""
    return [uid for uid in AllTransferSyntaxes if _is_decodable(uid)]


def _is_decodable(uid: UID) -> bool:
    try:
        return bool(get_decoder(uid).is_available)
    except NotImplementedError:
        return False


class Intake:
    """Where instances enter the node, for any number of batches at the same time.

    Parameters
    ----------
    settings : Settings
    spool : Spool
    ledger : Ledger
    auditor : Auditor
    """

    def __init__(self, settings: Settings, spool: Spool, ledger: Ledger, auditor: Auditor) -> None:
        self.settings = settings
        self.spool = spool
        self.ledger = ledger
        self.auditor = auditor
        self._said = Seldom()
        self._quarantine = Allowance(spool.quarantined, settings.dicom.max_quarantine_gb * 1024**3)

    def batch(self, sender: Peer, way: Way) -> "Batch":
        """Begin to take what a sender brings in one go."""
        return Batch(self, sender, way)

    def check_room(self) -> None:
        """See that the disk has room for more.

        Raises
        ------
        NotStoredError
            If it has not.
        """
        least_gb = self.settings.dicom.min_free_gb
        try:
            free = shutil.disk_usage(self.spool.home).free
        except OSError:  # writing will tell
            return
        if free < least_gb * 1024**3:
            raise self.not_taken(
                f"less than {least_gb:g} GB are free in {self.spool.home}: "
                "make room, or see [dicom] min_free_gb"
            )

    def not_taken(self, why: str) -> NotStoredError:
        """An error that says why nothing is taken now; the log says it once a minute."""
        if self._said.is_new(why):
            log.error("instances are not taken: %s", why)
        return NotStoredError(why)

    def keep(self, instance: Instance, content: bytes, way: Way) -> Stored:
        """Put an instance on the disk and into the ledger.

        Raises
        ------
        NotStoredError
            If one of them does not take it.
        """
        try:
            self._write(instance, content)
            quiet_s = self.settings.assemble.quiet_s
            stored = enter(instance, self.spool, self.ledger, quiet_s, way)
            # Retention may have removed just this content of an earlier revision meanwhile;
            # from now on it does not: the ledger knows that the file is needed.
            is_needed = stored.current is None
            if is_needed and not self.spool.path(instance.path).exists():
                self._write(instance, content)
        except (SpoolError, SQLAlchemyError) as error:
            log.error(
                "instance %s was not stored: %s", instance.sop_instance_uid, first_line(error)
            )
            raise NotStoredError("it was not stored") from error
        if stored.outcome is Outcome.CHANGED:
            log.warning("instance %s came again with other content", instance.sop_instance_uid)
        return stored

    def _write(self, instance: Instance, content: bytes) -> None:
        self.spool.keep(
            instance.study_instance_uid,
            instance.series_instance_uid,
            instance.sop_instance_uid,
            instance.digest,
            content,
        )

    def put_aside(self, content: bytes, refusal: RefusedInstance, sender: Peer) -> None:
        """Keep a refused instance where people find it, with the reason.

        Raises
        ------
        NotStoredError
            If the disk does not take it.
        """
        name = printable(sender.name)
        if not self._quarantine.take(len(content)):
            limit = self.settings.dicom.max_quarantine_gb
            if self._said.is_new(limit):
                log.error(
                    "refused instances are not kept: %s holds %g GB; clear it, or see [dicom] "
                    "max_quarantine_gb",
                    self.spool.quarantined,
                    limit,
                )
            self._alert(refusal, sender)
            return
        try:
            folder = self.spool.quarantine(content, f"from {name}: {refusal}")
        except SpoolError as error:
            log.error("an instance from %s was refused and not kept: %s", name, error)
            raise NotStoredError("it was refused, and cannot be put aside") from error
        self._alert(refusal, sender, folder)
        # Not the reason: it may quote the dataset, and so the patient.
        log.warning("an instance from %s was refused, see %s", name, folder)

    def _alert(self, refusal: RefusedInstance, sender: Peer, folder: Path | None = None) -> None:
        self.auditor.security_alert(
            Alert.REFUSED_INSTANCE,
            f"an instance was refused with status {refusal.status:04X}H",
            sender,
            folder,
        )


class Batch:
    """Instances that come in one go: over an association, in a request, by a fetch.

    Of one thread at a time. It has to be ended: then the series that it brought are looked at.

    Parameters
    ----------
    intake : Intake
    sender : Peer
        Who brings them.
    way : Way
        How.
    """

    def __init__(self, intake: Intake, sender: Peer, way: Way) -> None:
        self._intake = intake
        self._sender = sender
        self._way = way
        self._tally = Tally()
        # revisions that slices came for -> one of these, and how many
        self._touched: dict[int, tuple[Instance, int]] = {}

    def take(self, content: bytes, check: Callable[[Identity], None]) -> Stored:
        """Take an instance; when this returns it is on the disk and in the ledger.

        Parameters
        ----------
        content : bytes
            A DICOM file as `file_content` makes it: the same bytes whoever brings it.
        check : callable
            Raises RefusedInstance if it is not the one that it was said to be.

        Raises
        ------
        RefusedInstance
            If it cannot be read or is not as it was said to be. It is put aside.
        NotStoredError
            If there is no room for it, or it cannot be stored now.
        """
        intake = self._intake
        intake.check_room()
        try:
            identity = read_identity(content)
            check(identity)
        except RefusedInstance as refusal:
            intake.put_aside(content, refusal, self._sender)
            raise
        digest = digest_of(content)
        instance = Instance(
            study_instance_uid=identity.study,
            series_instance_uid=identity.series,
            sop_instance_uid=identity.instance,
            sop_class_uid=identity.sop_class,
            digest=digest,
            path=intake.spool.place(identity.study, identity.series, identity.instance, digest),
            sender=self._sender.ae_title,
        )
        with about(instance):
            try:
                stored = intake.keep(instance, content, self._way)
            except NotStoredError:
                self._count(identity, Action.CREATE, EventOutcome.MINOR_FAILURE)
                raise
        self._count(identity, _ACTIONS[stored.outcome])
        _, count = self._touched.get(stored.revision_id, (instance, 0))
        self._touched[stored.revision_id] = instance, count + 1
        return stored

    def end(self) -> None:
        """Record what came, and let the series that it belongs to be looked at."""
        if self._tally:
            self._intake.auditor.instances_received(self._sender, self._tally)
        for instance, count in self._touched.values():
            with about(instance):
                log.info(
                    "series %s: %d images came from %s",
                    instance.series_instance_uid,
                    count,
                    printable(instance.sender),
                )
        if self._touched:
            try:
                self._intake.ledger.release(self._touched, self._intake.settings.assemble.grace_s)
            except SQLAlchemyError as error:  # the sweeper looks after `quiet_s` anyway
                log.error("the end of a batch was not noted: %s", first_line(error))

    def _count(
        self, identity: Identity, action: Action, outcome: EventOutcome = EventOutcome.SUCCESS
    ) -> None:
        """Count an instance for the record of its batch."""
        self._tally.add(identity.audited, identity.sop_class, action, outcome)
        if len(self._tally) >= MOST_COUNTED:
            self._intake.auditor.instances_received(self._sender, self._tally)
            self._tally = Tally()


def enter(
    instance: Instance, spool: Spool, ledger: Ledger, quiet_s: float, way: Way | None = None
) -> Stored:
    """Enter an instance into the ledger that lies in the spool.

    Where another content of its UID counts, the two files are compared: the same image in
    another transfer syntax is a duplicate, and its file is removed again.

    Parameters
    ----------
    instance : Instance
    spool : Spool
    ledger : Ledger
    quiet_s : float
    way : Way, optional
        As `Ledger.store` takes them.
    """
    replaced: str | None = None
    while True:
        may_replace = replaced
        stored = patiently(lambda: ledger.store(instance, quiet_s, may_replace, way))  # noqa: B023
        current = stored.current
        if stored.outcome is not Outcome.UNLIKE or current is None:
            return stored
        if is_same_image(spool.path(current.path), spool.path(instance.path)):
            if str(instance.path) not in ledger.known_paths([instance.series_instance_uid]):
                spool.path(instance.path).unlink(missing_ok=True)
            return Stored(Outcome.DUPLICATE, stored.revision_id, current)
        replaced = current.digest


def file_content(
    sop_class: str, instance: str, transfer_syntax: str, dataset: bytes | memoryview
) -> bytes:
    """An instance as a file (PS3.10, 7.1), the same bytes whoever brings it.

    Parameters
    ----------
    sop_class, instance, transfer_syntax : str
        UIDs.
    dataset : bytes-like
        As it is encoded in that transfer syntax.

    Notes
    -----
    Put together here: file meta information (PS3.10, table 7.1-1) that is made and encoded as
    a dataset takes a tenth of the time that an image takes in all.
    """
    elements = b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01" + b"".join(
        struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value
        for element, value in (
            (0x0002, as_ui(sop_class)),
            (0x0003, as_ui(instance)),
            (0x0010, as_ui(transfer_syntax)),
            (0x0012, as_ui(IMPLEMENTATION_CLASS_UID)),
        )
    )
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements))
    return b"".join((b"\x00" * 128, b"DICM", length, elements, dataset))
