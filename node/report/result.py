"""What the station hands on: references to the objects it wrote."""

from dataclasses import dataclass
from pathlib import Path

from node.settings import Kind


@dataclass(frozen=True)
class ResultReference:
    """A result object as another object refers to it.

    Parameters
    ----------
    series_instance_uid, sop_class_uid, sop_instance_uid : str
        Of the object; its study is the one of the object that refers to it.
    """

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class ResultObject:
    """A result object in a file.

    Parameters
    ----------
    kind : Kind
        What it is.
    sop_class_uid, sop_instance_uid : str
        What it is called.
    path : pathlib.Path
        Its file.
    series_instance_uid : str
        The series it belongs to.
    recipient : str, optional
        Name of the only destination that it is for.
    """

    kind: Kind
    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    series_instance_uid: str
    recipient: str | None = None

    @property
    def reference(self) -> ResultReference:
        """How a later revision names this object."""
        return ResultReference(self.series_instance_uid, self.sop_class_uid, self.sop_instance_uid)
