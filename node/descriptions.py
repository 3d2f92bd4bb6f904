"""What descriptions say that a series shows: words that scanners and people write."""

import re
from collections.abc import Iterable, Sequence

from node.settings import EligibilitySettings


def matched(words: Iterable[str], value: str) -> str | None:
    """The part of a value that one of the regular expressions matches; case ignored."""
    for word in words:
        if (match := re.search(word, value, re.IGNORECASE)) is not None:
            return match.group().strip() or "nothing"
    return None


def head_in(
    body_parts: Sequence[str], description: str, context: str, rules: EligibilitySettings
) -> str | None:
    """What speaks of a head.

    Parameters
    ----------
    body_parts : sequence of str
        Body Part Examined.
    description : str
        Series Description.
    context : str
        Study Description and Protocol Name.
    rules : EligibilitySettings
    """
    return matched(rules.head_words, " ".join((*body_parts, description, context)))


def other_part(
    body_parts: Sequence[str], description: str, context: str, rules: EligibilitySettings
) -> str | None:
    """What speaks of another part of the body, unless a head is spoken of as well.

    Parameters are those of `head_in`.
    """
    own = " ".join((*body_parts, description))
    if not matched(rules.head_words, own) and matched(rules.other_part_words, description):
        return description  # head and neck are one study after an accident
    if head_in(body_parts, description, context, rules):
        return None
    said = body_parts or (description, context)
    return next((value for value in said if matched(rules.other_part_words, value)), None)
