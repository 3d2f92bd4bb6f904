"""[[sources]] and [fetch]: whom head CT are fetched from, which of them, and how fast."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from node.settings.called import Called
from node.settings.fields import PositiveSeconds, Seconds, Section, Words


class Retrieve(StrEnum):
    """How a peer is asked to give instances (PS3.4, C.4.2 and C.4.3)."""

    MOVE = "move"
    GET = "get"


class SourceSettings(Called):
    """A peer that head CT are fetched from: polled, or asked by `ichnode fetch`."""

    retrieve: Retrieve = Field(
        Retrieve.MOVE,
        description="move: it sends to [dicom] ae_title, which it has to know; get: over the "
        "association that asks",
    )
    poll_s: Seconds = Field(0, description="ask for new ones this often; 0: only by hand")
    look_back_days: int = Field(
        1, ge=0, le=365, description="of Study Date that are polled, today not counted"
    )
    still_polls: int = Field(
        1, ge=0, le=100, description="its count has to stand still for so many polls"
    )
    descriptions: tuple[Words, ...] = Field(
        (),
        description="fetch what has one of these in a description; neither this nor body_parts: "
        "by the words of [eligibility]",
        examples=[["head", "stroke"]],
    )
    body_parts: tuple[Words, ...] = Field(
        (),
        description="or one of these in BodyPartExamined; regular expressions",
        examples=[["^head$", "brain"]],
    )
    min_images: int = Field(1, ge=0, description="series with fewer are not fetched")
    max_images: int = Field(3000, ge=1, description="series with more are not fetched")
    images_per_second: float = Field(
        0, ge=0, allow_inf_nan=False, description="fetched on average at most; 0: no limit"
    )
    series_per_hour: float = Field(
        0, ge=0, allow_inf_nan=False, description="fetched at most; 0: no limit"
    )

    @model_validator(mode="after")
    def _retrieves_by_its_own_means(self) -> Self:
        if self.url is not None and "retrieve" in self.model_fields_set:
            raise ValueError("takes ae_title, host and port where there is retrieve")
        return self

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min_images > self.max_images:
            raise ValueError("takes min_images that is not above max_images")
        return self


class FetchSettings(Section):
    """How series are fetched from [[sources]]."""

    timeout_s: PositiveSeconds = Field(30, description="for a source's next answer")
    first_pause_s: PositiveSeconds = Field(30, description="after the first failure; then doubling")
    longest_pause_s: PositiveSeconds = Field(1800, description="no pause is longer")
    max_attempts: int = Field(
        8,
        ge=1,
        le=1000,
        description="for one series, then it has failed; a source that is away is none",
    )
