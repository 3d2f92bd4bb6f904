"""The load: modalities that bring series by every way in, until every image is acknowledged."""

import random
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client.web import DICOMwebClient
from pydicom.uid import generate_uid
from requests.adapters import HTTPAdapter

from ml.labels import Label
from ml.phantom import make_phantom, write_dicom
from tests.e2e.peers import dcmtk

SIZE = 128
LENGTHS = (12, 15, 18, 22)
"""Slices of a series; the longest one is whole by evidence, the others after a time."""

PAUSE_S = 1.0
LONGEST_PAUSE_S = 4.0
"""Before a sender repeats what was not acknowledged, seconds."""

LATE_IMAGES = 2
LATEST_S = 120.0
"""A sender that is late waits no longer than this until the others were judged, seconds."""

TIMEOUT_S = 12
_SENDING = "Sending file: "
_ACKNOWLEDGED = "Received Store Response (Success)"


class Way(StrEnum):
    """How a series comes to the node; its value is what the table says."""

    C_STORE = "C-STORE"
    STOW = "STOW-RS"
    FETCHED = "an archive that is polled"
    BOTH = "that archive and C-STORE"


OFTEN = (Way.C_STORE, Way.C_STORE, Way.STOW, Way.FETCHED, Way.BOTH)


@dataclass(frozen=True)
class Doors:
    """Ports that series are sent to.

    Parameters
    ----------
    dicom : int
        The node's, for C-STORE.
    dicomweb : int
        The node's, for STOW-RS.
    source : int
        Of the archive that the node polls.
    """

    dicom: int
    dicomweb: int
    source: int


class Manner(StrEnum):
    """In how many associations, or requests, a modality sends a series."""

    WHOLE = "one"
    HALVES = "two"
    LATE = "two, the last images when the others were judged already"
    SLICES = "one for each slice"


@dataclass(frozen=True)
class Image:
    """An image on disk, with its SOP Instance UID."""

    uid: str
    path: Path


@dataclass
class SentSeries:
    """A series, and what of it was acknowledged with Success."""

    study: str
    uid: str
    images: tuple[Image, ...]
    acknowledged: set[str] = field(default_factory=set)
    way: Way = Way.C_STORE

    @property
    def is_acknowledged(self) -> bool:
        return len(self.acknowledged) == len(self.images)

    @property
    def open(self) -> list[Image]:
        """What was not acknowledged."""
        return [image for image in self.images if image.uid not in self.acknowledged]


def templates(folder: Path) -> list[list[Path]]:
    """Phantoms to make series of: one with a bleed and one without."""
    return [
        write_dicom(make_phantom(seed, size=SIZE, findings=findings), folder / f"phantom{seed}")
        for seed, findings in ((11, (Label.INTRAPARENCHYMAL,)), (12, ()))
    ]


class Load:
    """Several modalities, each a thread that sends one series after the other.

    Parameters
    ----------
    seed : str
    folder : pathlib.Path
        For the series.
    doors : Doors
    senders : int
        How many modalities.
    most_open : int
        Series that may be under way at the same time: more wait until some are delivered.
    """

    def __init__(self, seed: str, folder: Path, doors: Doors, senders: int, most_open: int) -> None:
        self.series: list[SentSeries] = []
        self.resent = 0
        self.associations = 0
        self.failed_associations = 0
        self.under_way = dict.fromkeys(Way, 0)
        """Associations and requests at this moment."""
        self._folder = folder
        self._doors = doors
        self._most_open = most_open
        self._closed: set[str] = set()
        self._templates = templates(folder)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._give_up = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(seed, n), daemon=True) for n in range(senders)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> None:
        """Begin no more series, and wait until those begun are acknowledged."""
        self._stop.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._give_up.set()
        for thread in self._threads:
            thread.join()

    def close(self, series: set[str]) -> None:
        """Say which series are done, so that others may begin."""
        with self._lock:
            self._closed = series

    def known(self) -> list[SentSeries]:
        with self._lock:
            return list(self.series)

    def _run(self, seed: str, sender: int) -> None:
        number = 0
        while not self._stop.is_set():
            with self._lock:
                count = sum(series.uid not in self._closed for series in self.series)
            if count >= self._most_open:
                self._stop.wait(0.2)
                continue
            # One for each study: what is sent does not hang on what came to pass before.
            chance = random.Random(f"load {seed} {sender} {number}")
            number += 1
            # Two series of a study now and then, on one association.
            study = str(generate_uid())
            way = chance.choice(OFTEN)
            count = chance.choice((1, 1, 1, 2))
            group = [self._new_series(study, way, chance) for _ in range(count)]
            with self._lock:
                self.series += group
            self._send_all(group, way, sender, chance)
            for series in group:
                shutil.rmtree(series.images[0].path.parent)
            self._stop.wait(chance.uniform(0, 2))

    def _new_series(self, study: str, way: Way, chance: random.Random) -> SentSeries:
        template = chance.choice(self._templates)[: chance.choice(LENGTHS)]
        uid = str(generate_uid())
        folder = self._folder / uid
        folder.mkdir()
        images = []
        for number, file in enumerate(template):
            image = pydicom.dcmread(file)
            image.StudyInstanceUID, image.SeriesInstanceUID = study, uid
            image.SOPInstanceUID = generate_uid()
            # Of the days that are polled, also where the node's clock is a day off.
            image.StudyDate = f"{date.today() - timedelta(days=1):%Y%m%d}"
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            path = folder / f"{number:04d}.dcm"
            image.save_as(path)
            images.append(Image(str(image.SOPInstanceUID), path))
        return SentSeries(study, uid, tuple(images), way=way)

    def _send_all(
        self, group: list[SentSeries], way: Way, sender: int, chance: random.Random
    ) -> None:
        """Send until everything is acknowledged; then now and then all of it again."""
        manner = chance.choice(list(Manner))
        images = [image for series in group for image in series.images]
        owner = {image.uid: series for series in group for image in series.images}
        pause_s = PAUSE_S
        waiting = images
        again = chance.random() < 0.2
        while waiting and not self._give_up.is_set():
            for number, batch in enumerate(_batches(waiting, manner)):
                if number and manner is Manner.LATE:
                    self._wait_until_closed({series.uid for series in group})
                acknowledged = self._send(batch, way, sender, chance)
                with self._lock:
                    for uid in acknowledged:
                        owner[uid].acknowledged.add(uid)
                if len(acknowledged) < len(batch):
                    break
            waiting = [image for series in group for image in series.open]
            if waiting:
                with self._lock:
                    self.resent += len(waiting)
                self._give_up.wait(chance.uniform(0.5, 1) * pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        if again and not self._stop.is_set():
            with self._lock:
                self.resent += len(images)
            self._send(images, way, sender, chance)

    def _wait_until_closed(self, series: set[str]) -> None:
        deadline = time.monotonic() + LATEST_S
        while time.monotonic() < deadline and not self._stop.wait(0.2):
            with self._lock:
                if series <= self._closed:
                    return

    def _send(self, batch: list[Image], way: Way, sender: int, chance: random.Random) -> set[str]:
        """Send images; gives the UIDs of those that were answered with Success by anybody."""
        with self._lock:
            self.under_way[way] += 1
        try:
            match way:
                case Way.C_STORE:
                    return self._store(batch, "ICHNODE", self._doors.dicom, sender, chance)
                case Way.STOW:
                    return self._store_by_web(batch)
                case Way.FETCHED:
                    return self._store(batch, "SOURCE", self._doors.source, sender, chance)
                case Way.BOTH:
                    there = self._store(batch, "SOURCE", self._doors.source, sender, chance)
                    return there | self._store(batch, "ICHNODE", self._doors.dicom, sender, chance)
        finally:
            with self._lock:
                self.under_way[way] -= 1

    def _store(
        self, batch: list[Image], called: str, port: int, sender: int, chance: random.Random
    ) -> set[str]:
        """Run storescu."""
        timeout = str(TIMEOUT_S)
        command = [dcmtk("storescu"), "-v", "-to", timeout, "-ta", timeout, "-td", timeout]
        command += ["-nh"] if chance.random() < 0.5 else []
        command += ["-aet", f"CT{sender}", "-aec", called, "127.0.0.1", str(port)]
        done = subprocess.run(
            [*command, *(str(image.path) for image in batch)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        self._count(has_failed=done.returncode != 0)
        by_path = {str(image.path): image.uid for image in batch}
        return {by_path[path] for path in acknowledged_in(done.stderr)}

    def _store_by_web(self, batch: list[Image]) -> set[str]:
        """Store with dicomweb-client, all of it in one request."""
        with requests.Session() as session:
            session.mount("http://", _Impatient())
            address = f"http://127.0.0.1:{self._doors.dicomweb}/dicom-web"
            client = DICOMwebClient(address, session)
            client.set_http_retry_params(retry=False)
            try:
                answer = client.store_instances([pydicom.dcmread(image.path) for image in batch])
            except requests.RequestException:
                self._count(has_failed=True)
                return set()
        self._count(has_failed="FailedSOPSequence" in answer)
        return {
            str(one.ReferencedSOPInstanceUID) for one in answer.get("ReferencedSOPSequence", ())
        }

    def _count(self, *, has_failed: bool) -> None:
        with self._lock:
            self.associations += 1
            self.failed_associations += has_failed


class _Impatient(HTTPAdapter):
    """Waits no longer for a server than storescu does."""

    def send(self, *arguments: Any, **named: Any) -> requests.Response:
        return super().send(*arguments, **named | {"timeout": TIMEOUT_S})


def acknowledged_in(log: str) -> list[str]:
    """Paths of the files that storescu's log says were answered with Success."""
    found = []
    current = None
    for line in log.splitlines():
        if _SENDING in line:
            current = line.partition(_SENDING)[2].strip()
        elif _ACKNOWLEDGED in line and current is not None:
            found.append(current)
            current = None
    return found


def _batches(images: list[Image], manner: Manner) -> list[list[Image]]:
    match manner:
        case Manner.WHOLE:
            return [images]
        case Manner.HALVES:
            middle = (len(images) + 1) // 2
            return [part for part in (images[:middle], images[middle:]) if part]
        case Manner.LATE:
            parts = (images[:-LATE_IMAGES], images[-LATE_IMAGES:])
            return [part for part in parts if part]
        case Manner.SLICES:
            return [[image] for image in images]
