"""What a commitment is about, whoever asks for it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """An instance that a commitment is about.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid : str
    """

    sop_class_uid: str
    sop_instance_uid: str
