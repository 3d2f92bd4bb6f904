"""[[priorities]]: which series go before others, and by how much."""

from pydantic import Field, field_validator

from node.settings.condition import Condition
from node.settings.security import NAME

ROUTINE = "routine"
"""What a series is called that no rule fits."""


class PriorityRule(Condition):
    """Series that go before others, as if they had come earlier; the first that fits counts."""

    name: str = Field(pattern=NAME, description="what you call such series", examples=["emergency"])
    head_start_min: float = Field(
        ge=-525_600,
        le=525_600,
        allow_inf_nan=False,
        description="they go before what has waited this much longer, minutes; below 0: after",
        examples=[60],
    )

    @field_validator("name")
    @classmethod
    def _not_routine(cls, value: str) -> str:
        if value == ROUTINE:
            raise ValueError(f"takes another word than {ROUTINE}: that is what fits no rule")
        return value
