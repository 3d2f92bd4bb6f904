"""The load: modalities that send series with DCMTK until every image is acknowledged."""

import random
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

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


class Manner(StrEnum):
    """How a modality sends a series."""

    WHOLE = "one association"
    HALVES = "two associations"
    LATE = "two associations, the last images when the others were judged already"
    SLICES = "an association for each slice"


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
    """Several modalities, each a thread that runs one storescu after the other.

    Parameters
    ----------
    seed : str
    folder : pathlib.Path
        For the series.
    port : int
        Of the node.
    senders : int
        How many modalities.
    most_open : int
        Series that may be under way at the same time: more wait until some are delivered.
    """

    def __init__(self, seed: str, folder: Path, port: int, senders: int, most_open: int) -> None:
        self.series: list[SentSeries] = []
        self.resent = 0
        self.associations = 0
        self.failed_associations = 0
        self.sending = 0
        self._folder = folder
        self._port = port
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
            group = [self._new_series(study, chance) for _ in range(chance.choice((1, 1, 1, 2)))]
            with self._lock:
                self.series += group
            self._send_all(group, sender, chance)
            for series in group:
                shutil.rmtree(series.images[0].path.parent)
            self._stop.wait(chance.uniform(0, 2))

    def _new_series(self, study: str, chance: random.Random) -> SentSeries:
        template = chance.choice(self._templates)[: chance.choice(LENGTHS)]
        uid = str(generate_uid())
        folder = self._folder / uid
        folder.mkdir()
        images = []
        for number, file in enumerate(template):
            image = pydicom.dcmread(file)
            image.StudyInstanceUID, image.SeriesInstanceUID = study, uid
            image.SOPInstanceUID = generate_uid()
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            path = folder / f"{number:04d}.dcm"
            image.save_as(path)
            images.append(Image(str(image.SOPInstanceUID), path))
        return SentSeries(study, uid, tuple(images))

    def _send_all(self, group: list[SentSeries], sender: int, chance: random.Random) -> None:
        """Send until everything is acknowledged; then now and then all of it again."""
        manner = chance.choice(list(Manner))
        images = [image for series in group for image in series.images]
        by_path = {str(image.path): image for image in images}
        owner = {image.uid: series for series in group for image in series.images}
        pause_s = PAUSE_S
        waiting = images
        again = chance.random() < 0.2
        while waiting and not self._give_up.is_set():
            for number, batch in enumerate(_batches(waiting, manner)):
                if number and manner is Manner.LATE:
                    self._wait_until_closed({series.uid for series in group})
                acknowledged = {by_path[path].uid for path in self._send(batch, sender, chance)}
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
            self._send(images, sender, chance)

    def _wait_until_closed(self, series: set[str]) -> None:
        deadline = time.monotonic() + LATEST_S
        while time.monotonic() < deadline and not self._stop.wait(0.2):
            with self._lock:
                if series <= self._closed:
                    return

    def _send(self, batch: list[Image], sender: int, chance: random.Random) -> list[str]:
        """Run storescu; gives the paths of what was answered with Success."""
        timeout = str(TIMEOUT_S)
        command = [dcmtk("storescu"), "-v", "-to", timeout, "-ta", timeout, "-td", timeout]
        command += ["-nh"] if chance.random() < 0.5 else []
        command += ["-aet", f"CT{sender}", "-aec", "ICHNODE", "127.0.0.1", str(self._port)]
        with self._lock:
            self.sending += 1
            self.associations += 1
        try:
            done = subprocess.run(
                [*command, *(str(image.path) for image in batch)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                check=False,
            )
        finally:
            with self._lock:
                self.sending -= 1
        if done.returncode != 0:
            with self._lock:
                self.failed_associations += 1
        return acknowledged_in(done.stderr)


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
