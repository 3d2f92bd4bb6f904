"""Kinds of values that many keys take, and what every section is."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _check_ae_title(value: str) -> str:
    """AE titles: 1 to 16 characters of the default repertoire, no backslash (PS3.5, 6.2)."""
    stripped = value.strip(" ")
    if not 1 <= len(stripped) <= 16 or not stripped.isascii() or not stripped.isprintable():
        raise ValueError("takes 1 to 16 printable ASCII characters")
    if "\\" in stripped:
        raise ValueError("takes no backslash")
    return stripped


def _check_words(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"takes a regular expression: {error}") from None
    return value


Words = Annotated[str, AfterValidator(_check_words)]
AETitle = Annotated[str, AfterValidator(_check_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Misfit(ValueError):
    """A key that is at odds with another one.

    Parameters
    ----------
    location : tuple of str and int
        The key, with the tables that it is in.
    got : object
    takes : str
        What it takes, beginning with that word.
    """

    def __init__(self, location: tuple[str | int, ...], got: object, takes: str) -> None:
        super().__init__(takes)
        self.location = location
        self.got = got


class Section(BaseModel):
    """A table of the configuration: no key but its own, nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
