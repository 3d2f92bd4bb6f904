"""[[destinations]]: who results are sent to."""

from typing import Self

from pydantic import Field, model_validator

from node.settings.called import Called


class Destination(Called):
    """A peer that results are sent to."""

    commit: bool = Field(
        False,
        description="ask it to commit to what it has stored; where there are peers, it is one",
    )

    @model_validator(mode="after")
    def _commits_over_an_association(self) -> Self:
        if self.commit and self.url is not None:
            raise ValueError(
                "takes ae_title, host and port where commit = true: DICOMweb has no such service"
            )
        return self
