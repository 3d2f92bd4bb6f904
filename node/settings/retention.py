"""The section ``[retention]``: how long what has ended is kept."""

from typing import Annotated

from pydantic import Field, model_validator

from node.settings.fields import Section

Days = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Hours = Days
Percent = Annotated[float, Field(gt=0, le=100)]


class RetentionSettings(Section):
    """How long images, results, rows and counts are kept; 0 days: for ever."""

    delivered_days: Days = Field(7, description="images of delivered series; 0: for ever")
    skipped_days: Days = Field(7, description="images of skipped series; 0: for ever")
    failed_days: Days = Field(30, description="images of failed series; 0: for ever")
    results_days: Days = Field(7, description="results that are in every archive; 0: for ever")
    quarantine_days: Days = Field(30, description="refused instances; 0: for ever")
    ledger_days: Days = Field(
        0, description="rows of series whose images and results are removed; 0: for ever"
    )
    drift_days: Days = Field(
        1100, description="counts of days that nothing is compared with any more; 0: for ever"
    )
    clean_above: Percent = Field(
        85, description="percent of the disk in use: the oldest that is delivered or skipped goes"
    )
    clean_to: Percent = Field(75, description="percent of the disk in use at which that ends")
    early_after_h: Hours = Field(
        24, description="hours for which nothing goes early: late images may still come for it"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "RetentionSettings":
        if self.clean_to > self.clean_above:
            raise ValueError("takes a clean_to that is not above clean_above")
        return self
