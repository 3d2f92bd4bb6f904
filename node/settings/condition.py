"""Which series something is for, as [[routes]] and [[priorities]] say it."""

from pydantic import Field

from node.settings.fields import Section, Words


class Condition(Section):
    """What has to hold of a series: all that is given; of a list, one of its words."""

    senders: tuple[str, ...] = Field(
        (),
        description="AE titles that sent it, * for any letters; empty: any",
        examples=[["CT*", "ED_CT1"]],
    )
    descriptions: tuple[Words, ...] = Field(
        (),
        description="in Series or Study Description or Protocol Name; regular expressions",
        examples=[["stroke", "trauma"]],
    )
    places: tuple[Words, ...] = Field(
        (),
        description="in Requesting Service, Current Patient Location, department or Station Name",
        examples=[[r"\bED\b", "emergency"]],
    )
