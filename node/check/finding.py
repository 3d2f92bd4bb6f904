"""What the doctor says about one thing."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How a thing is."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """What was found out about one thing, and the cure if it is ill."""

    subject: str
    health: Health
    text: str
    cure: str = ""
