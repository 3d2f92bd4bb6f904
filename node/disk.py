"""How full the disk of the spool is."""

import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from node.settings import Settings


class Fullness(StrEnum):
    """What the disk of the spool lets the node do."""

    ROOM = "room"
    HIGH = "high"
    FULL = "full"


@dataclass(frozen=True)
class Disk:
    """A disk, in bytes, of what the node's user may use.

    Parameters
    ----------
    used, free : int
    """

    used: int
    free: int

    @classmethod
    def of(cls, folder: Path) -> "Disk":
        """Look at the disk of a folder, or of the first folder above it that is there."""
        there = next(f for f in (folder, *folder.parents) if f.exists())
        usage = shutil.disk_usage(there)
        return cls(usage.used, usage.free)

    @property
    def percent(self) -> float:
        """How much of it is in use."""
        return 100 * self.used / max(self.used + self.free, 1)

    def fullness(self, settings: Settings) -> Fullness:
        """What it is by the rules of the node."""
        if self.free < settings.dicom.min_free_gb * 1024**3:
            return Fullness.FULL
        if self.percent > settings.retention.clean_above:
            return Fullness.HIGH
        return Fullness.ROOM

    def told(self, settings: Settings) -> str:
        """In words."""
        text = f"{self.percent:.0f} % in use, {self.free / 1024**3:.1f} GB free"
        if self.fullness(settings) is Fullness.FULL:
            limit = settings.dicom.min_free_gb
            return f"{text}: less than {limit:g} GB, images are refused with A700"
        if self.fullness(settings) is Fullness.HIGH:
            limit = settings.retention.clean_above
            return f"{text}: above {limit:g} %, the oldest that has ended is removed early"
        return text
