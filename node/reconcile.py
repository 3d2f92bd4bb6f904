"""At the start: bring spool and ledger together again, in both directions.

A power failure, a restored backup or a hand in the wrong folder leaves files that
the ledger does not know, and rows whose files are gone or altered.
"""

import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ml.errors import first_line
from node.clean import Cleaner
from node.errors import RefusedInstance, SpoolError
from node.intake import enter
from node.ledger import Instance, Ledger
from node.logs import about
from node.reading import read_identity
from node.settings import Settings
from node.spool import Spool, digest_of

log = logging.getLogger(__name__)

UNKNOWN_SENDER = "(spool)"
"""Stands for the sender of an instance that the ledger did not know."""

_SERIES_AT_ONCE = 100
_LEFT_AFTER_S = 3600.0
"""A file that is being written is not an hour old."""


@dataclass
class Reconciled:
    """What was found.

    Parameters
    ----------
    adopted : int
        Instances in the spool that the ledger did not know, and does now.
    torn : int
        Files in the spool that are not what their name says: now in quarantine.
    lost : int
        Revisions under way of which files are gone or altered: they have failed.
    parts : int
        Files that were left half written or half removed, now removed.
    left : int
        Files that were to be removed after their time when the node ended, now removed.
    """

    adopted: int = 0
    torn: int = 0
    lost: int = 0
    parts: int = 0
    left: int = 0


def reconcile_in_background(settings: Settings, spool: Spool, ledger: Ledger) -> threading.Thread:
    """Bring spool and ledger together while the node works; an error is logged."""
    before = time.time()

    def run() -> None:
        try:
            reconcile(settings, spool, ledger, before)
        except Exception as error:
            log.error("spool and ledger were not compared: %s", first_line(error))

    thread = threading.Thread(target=run, daemon=True, name="reconcile")
    thread.start()
    return thread


def reconcile(settings: Settings, spool: Spool, ledger: Ledger, before: float) -> Reconciled:
    """Bring spool and ledger together.

    May run beside receivers. The time grows with the number of series in the spool.

    Parameters
    ----------
    settings : Settings
    spool : Spool
    ledger : Ledger
    before : float
        Files that are younger are left to the receiver that writes them, seconds since 1970.

    Raises
    ------
    SpoolError
        If the spool cannot be read.
    """
    done = Reconciled()
    if not spool.folder.is_dir():
        return done
    _find_lost(spool, ledger, done)
    _find_unknown(settings, spool, ledger, before, done)
    _take_away_rest(Cleaner(settings, spool, ledger), done)
    _remove_parts(spool, done)
    if done != Reconciled():
        log.warning(
            "spool and ledger: %d instances taken up, %d torn files put aside, "
            "%d series have lost images, %d half-written files removed, "
            "%d files removed whose time had passed",
            done.adopted,
            done.torn,
            done.lost,
            done.parts,
            done.left,
        )
    return done


def _find_lost(spool: Spool, ledger: Ledger, done: Reconciled) -> None:
    for revision in ledger.under_way():
        instances = ledger.instances(revision)
        lost = [i for i in instances if not spool.holds(i.path, i.digest)]
        if lost and ledger.lose(revision, lost):
            with about(revision):
                log.error(
                    "series %s: %d of %d images are gone from the spool or altered",
                    revision.series_instance_uid,
                    len(lost),
                    len(instances),
                )
            done.lost += 1


def _find_unknown(
    settings: Settings, spool: Spool, ledger: Ledger, before: float, done: Reconciled
) -> None:
    everything = _series_folders(spool.folder)
    while folders := list(islice(everything, _SERIES_AT_ONCE)):
        known = ledger.known_paths({folder.name for folder in folders})
        for folder in folders:
            for path in sorted(folder.glob("[!.]*.dcm")):
                is_known = str(path.relative_to(spool.folder)) in known
                if not is_known and path.stat().st_mtime < before:
                    _take_up(path, settings, spool, ledger, done)


def _take_away_rest(cleaner: Cleaner, done: Reconciled) -> None:
    """Delete files that are left of series whose images or results were removed."""
    for place in (cleaner.spool.folder, cleaner.spool.results):
        everything = _series_folders(place)
        while folders := list(islice(everything, _SERIES_AT_ONCE)):
            for ended in cleaner.ledger.marked({folder.name for folder in folders}):
                done.left += cleaner.take_away(ended).files


def _take_up(
    path: Path, settings: Settings, spool: Spool, ledger: Ledger, done: Reconciled
) -> None:
    """Enter a file into the ledger, or put it aside if it is not what its name says."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    digest = digest_of(content)
    relative = path.relative_to(spool.folder)
    try:
        identity = read_identity(content)
    except RefusedInstance as refusal:
        _put_aside(path, content, str(refusal), spool, done)
        return
    if relative != spool.place(identity.study, identity.series, identity.instance, digest):
        _put_aside(path, content, "its content is not what its name says", spool, done)
        return
    instance = Instance(
        study_instance_uid=identity.study,
        series_instance_uid=identity.series,
        sop_instance_uid=identity.instance,
        sop_class_uid=identity.sop_class,
        digest=digest,
        path=relative,
        sender=UNKNOWN_SENDER,
    )
    enter(instance, spool, ledger, settings.assemble.quiet_s)
    done.adopted += 1


def _put_aside(path: Path, content: bytes, reason: str, spool: Spool, done: Reconciled) -> None:
    spool.quarantine(content, f"found in the spool as {path.name}: {reason}")
    path.unlink(missing_ok=True)
    done.torn += 1


def _series_folders(folder: Path) -> Iterator[Path]:
    for study in _subfolders(folder):
        yield from _subfolders(study)


def _subfolders(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from (Path(entry.path) for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise SpoolError(f"{folder} cannot be read: {error.strerror}") from error


def _remove_parts(spool: Spool, done: Reconciled) -> None:
    now = time.time()
    for folder in (spool.folder, spool.results, spool.quarantined):
        for part in folder.rglob(".*.part"):
            try:
                if now - part.stat().st_mtime > _LEFT_AFTER_S:
                    shutil.rmtree(part) if part.is_dir() else part.unlink()
                    done.parts += 1
            except OSError as error:  # another one removes it too
                log.debug("%s: %s", part, first_line(error))
