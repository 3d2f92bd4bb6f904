"""[shadow] and [drift]: a second model that judges too, and what is compared over time."""

from datetime import date

from pydantic import Field

from node.settings.fields import Section


class ShadowSettings(Section):
    """A second model that judges the same series; its results are compared and never sent."""

    bundle: str | None = Field(
        None,
        min_length=1,
        description="one that is shipped, or a folder; without it no series is judged twice",
        examples=["/var/lib/ichnode/models/next"],
    )
    operating_point: str = Field(
        "balanced", description="the bundle's thresholds to flag findings by"
    )
    yields: bool = Field(
        True,
        description="wait while a series waits for the model that reports, or is judged by it",
    )

    @property
    def is_on(self) -> bool:
        """Whether series are judged twice."""
        return self.bundle is not None


class DriftSettings(Section):
    """Which days are compared with which others, to see what has changed."""

    recent_days: int = Field(14, ge=1, le=90, description="the last so many days are compared")
    reference_days: int = Field(90, ge=1, le=400, description="with so many days before them")
    reference_from: date | None = Field(
        None,
        description="or with as many from this one on, for instance that of the acceptance",
        examples=["2026-01-01"],
    )
    min_series: int = Field(
        100, ge=10, le=1_000_000, description="with fewer on either side nothing is said"
    )
