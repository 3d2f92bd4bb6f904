"""Which series is fetched, when, and what came of it: pure functions.

Whoever answers may be wrong or hostile: what it tells is looked at here before it is believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from node.descriptions import matched, other_part
from node.fetch.source import Fetched, FoundSeries
from node.headers import LONGEST_TEXT
from node.ledger import Fetch, FetchState, Held
from node.settings import EligibilitySettings, SourceSettings
from node.spool import is_uid

PATIENCE = 3
"""Polls: a series that they have not seen waits no longer for its count to stand still."""

MOST_IMAGES = 1_000_000
"""No series has more: what is counted beyond is no count."""


def as_count(value: str) -> int | None:
    """A number of images as a source tells it; None if it cannot be one."""
    digits = value.strip().removeprefix("+")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 12:
        return None
    return int(digits) if int(digits) <= MOST_IMAGES else None


def is_sound(found: FoundSeries) -> bool:
    """Whether a series can be asked for: both of its UIDs are UIDs, and no wildcards."""
    return is_uid(found.study_instance_uid) and is_uid(found.series_instance_uid)


def why_not(
    found: FoundSeries, source: SourceSettings, eligibility: EligibilitySettings
) -> str | None:
    """Why a series is not one to fetch; None if it is.

    What it says of itself decides, and what says nothing is fetched: whether it shows a head
    is then told by its pixels. The reasons quote the configuration alone, never the answer.

    Parameters
    ----------
    found : FoundSeries
    source : SourceSettings
    eligibility : EligibilitySettings
    """
    if found.modality and found.modality.upper() != "CT":
        return "its modality is not CT"
    if found.images is not None and found.images < source.min_images:
        return f"it has fewer images than min_images ({source.min_images})"
    if found.images is not None and found.images > source.max_images:
        return f"it has more images than max_images ({source.max_images})"
    description = found.description[:LONGEST_TEXT]
    body_part = found.body_part[:LONGEST_TEXT]
    context = f"{found.study_description} {found.protocol_name}".strip()[:LONGEST_TEXT]
    if not (source.descriptions or source.body_parts):
        parts = (body_part,) if body_part else ()
        is_other = other_part(parts, description, context, eligibility) is not None
        return "its description is of another part of the body" if is_other else None
    said = f"{description} {context}".strip()
    if not (said or body_part):
        return None
    if matched(source.descriptions, said) or matched(source.body_parts, body_part):
        return None
    return "neither its descriptions nor its body part are among those to fetch"


def after_look(
    seen: Fetch | None, images: int | None, refusal: str | None, source: SourceSettings, now: float
) -> Mapping[str, Any] | None:
    """What is to stand in the ledger after a poll has found a series; None: what stands there.

    Parameters
    ----------
    seen : Fetch, optional
        What stands there; None for a series that was not seen before.
    images : int, optional
        How many the source counts now.
    refusal : str, optional
        Why the series is not one to fetch.
    source : SourceSettings
    now : float
        Seconds since 1970.
    """
    if seen is not None and seen.state is FetchState.FETCHING:
        return None
    if refusal is not None:
        return _refused(seen, images, refusal)
    is_new = seen is None or seen.state is FetchState.REFUSED
    has_grown = seen is not None and images is not None and images > (seen.counted or 0)
    if is_new or (has_grown and seen is not None and seen.state is not FetchState.WANTED):
        return _wanted(images, 0, source, now)
    if seen is None or seen.state is not FetchState.WANTED:
        return None
    if images != seen.counted:
        return _wanted(images, 0, source, now)
    if seen.next_try_at is not None and (seen.attempts or seen.still >= source.still_polls):
        return None  # it was tried, and waits for its time
    return _wanted(images, seen.still + 1, source, now)


def unseen_s(source: SourceSettings) -> float:
    """How long a series waits for the next poll to see it, seconds; then it is fetched as it is."""
    return PATIENCE * source.poll_s


def _wanted(images: int | None, still: int, source: SourceSettings, now: float) -> dict[str, Any]:
    return {
        "state": FetchState.WANTED,
        "counted": images,
        "still": still,
        "attempts": 0,
        "next_try_at": now if still >= source.still_polls else now + unseen_s(source),
        "detail": None,
    }


def _refused(seen: Fetch | None, images: int | None, refusal: str) -> dict[str, Any] | None:
    if seen is not None and seen.state in (FetchState.FETCHED, FetchState.KNOWN):
        return None
    if seen is not None and seen.state is FetchState.REFUSED and seen.detail == refusal:
        return None
    return {
        "state": FetchState.REFUSED,
        "counted": images,
        "still": 0,
        "next_try_at": None,
        "detail": refusal,
    }


@dataclass(frozen=True)
class Missing:
    """What the ledger lacks of a series.

    Parameters
    ----------
    is_anything : bool
        Whether it has to be fetched.
    wait_until : datetime, optional
        Somebody brings it just now: look again then, UTC.
    """

    is_anything: bool
    wait_until: datetime | None = None


def has_all(held: Held, counted: int | None, told: frozenset[str] | None) -> bool:
    """Whether the ledger has all that a source has of a series.

    Parameters
    ----------
    held : Held
        What the ledger has.
    counted : int, optional
        How many images the source counts.
    told : frozenset of str, optional
        Their SOP Instance UIDs, where it tells them.
    """
    if told is not None:
        return told <= held.instances
    return bool(held.instances) and counted is not None and len(held.instances) >= counted


def missing(
    held: Held, counted: int | None, told: frozenset[str] | None, now: float, quiet_s: float
) -> Missing:
    """What is to be done about a series that is to be fetched.

    Parameters
    ----------
    held, counted, told
        As `has_all` takes them.
    now : float
        Seconds since 1970.
    quiet_s : float
        Who sends images and was silent for so long has ended.
    """
    if has_all(held, counted, told):
        return Missing(is_anything=False)
    if held.receiving_since is not None and held.receiving_since + quiet_s > now:
        until = datetime.fromtimestamp(held.receiving_since + quiet_s, UTC)
        return Missing(is_anything=True, wait_until=until)
    return Missing(is_anything=True)


@dataclass(frozen=True)
class Account:
    """What came of a fetch.

    Parameters
    ----------
    is_whole : bool
    detail : str, optional
        What is missing, or a remark.
    """

    is_whole: bool
    detail: str | None


def account(
    held: Held, counted: int | None, told: frozenset[str] | None, fetched: Fetched
) -> Account:
    """Compare what came with what the source has: its own account is not believed.

    Parameters
    ----------
    held, counted, told
        As `has_all` takes them, after the fetch.
    fetched : Fetched
        What the source says.
    """
    came = len(held.instances)
    remarks = "; ".join(fetched.remarks)
    if told is not None:
        lacking = len(told - held.instances)
        if lacking:
            return Account(False, _with(f"{lacking} of {len(told)} images did not come", remarks))
        if counted is not None and counted != len(told):
            has = f"has {len(told)} that the node takes"
            remarks = _with(f"it counts {counted} images, and {has}", remarks)
        return Account(True, remarks or None)
    if counted is not None and came < counted:
        lacking = counted - came
        return Account(False, _with(f"{lacking} of {counted} images did not come", remarks))
    if not came:
        return Account(False, _with("nothing came", remarks))
    if counted is None and fetched.failed:
        return Account(False, _with(f"{fetched.failed} images did not come", remarks))
    return Account(counted is not None or fetched.is_all, remarks or None)


def _with(text: str, remarks: str) -> str:
    return f"{text}: {remarks}" if remarks else text
