"""What a page shows and the JSON says: plain values, and the schema of the OpenAPI document."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from ml.labels import Label
from node.ledger import NotificationState, State


class Value(BaseModel):
    """What is read once and not changed."""

    model_config = ConfigDict(frozen=True)


class Finding(Value):
    """A finding in a study."""

    label: Label
    probability: float = Field(description="the highest over the slices")
    flagged: bool = Field(description="whether the model's operating point calls it present")


class Row(Value):
    """A revision of a series, as a worklist shows it."""

    id: int
    study_instance_uid: str
    series_instance_uid: str
    revision: int
    state: State
    reason: str | None = Field(description="why it was skipped or failed, as a word")
    detail: str | None = Field(description="the same for people")
    warnings: tuple[str, ...]
    images: int
    sender: str | None = Field(description="AE title that it came from")
    findings: tuple[Finding, ...] = Field(description="any first; empty where nothing was judged")
    flagged: bool
    priority: str | None = Field(description="the rule that fits it; none: it is routine")
    updated_at: datetime
    can_retry: bool = Field(description="whether it can be begun again with")


class Tallies(Value):
    """How many series there are that somebody looks after."""

    flagged: int = Field(description="in the last 24 hours")
    under_way: int
    waiting: int = Field(description="reported, and not yet in every archive")
    failed: int


class Worklist(Value):
    """A page of the worklist."""

    series: tuple[Row, ...]
    next: str | None = Field(description="the `after` of the next page")
    tallies: Tallies


class Step(Value):
    """A state that a revision came into."""

    state: State
    at: datetime
    detail: str | None


class Slice(Value):
    """A slice of a series."""

    number: int = Field(description="from 1 at the foot")
    position_mm: float
    sop_instance_uid: str
    frame_number: int | None
    probabilities: dict[Label, float]


class Assessment(StrEnum):
    """What the operating points of a model say of a finding in a study."""

    PRESENT = "present"
    INDETERMINATE = "indeterminate"
    ABSENT = "absent"


class Course(Value):
    """A finding along the slices."""

    label: Label
    maximum: float
    slice: int = Field(description="the one that the maximum comes from, from 1")
    threshold: float | None = Field(description="of the operating point, as the series was judged")
    assessment: Assessment | None


class Delivery(Value):
    """How the results of a revision are on their way to a destination."""

    destination: str
    pending: int
    sent: int
    committed: int
    failed: int
    attempts: int = Field(description="the most of any object")
    next_try_at: datetime | None
    detail: str | None


class Told(Value):
    """What a rule tells of a revision, and whether it was taken."""

    rule: str
    state: State
    at: datetime
    notification: NotificationState
    detail: str | None


class Model(Value):
    """Which model judged."""

    name: str
    version: str
    digest: str


class Series(Row):
    """A revision of a series with all that is known of it."""

    history: tuple[Step, ...]
    model: Model | None
    slices: tuple[Slice, ...] = Field(description="foot to head")
    courses: tuple[Course, ...] = Field(description="any first")
    results: dict[str, int] = Field(description="objects of each kind")
    pictures: bool = Field(description="whether there are captures of every slice to look at")
    evidence: tuple[int, ...] = Field(description="slices with a map of where the evidence lies")
    deliveries: tuple[Delivery, ...]
    told: tuple[Told, ...]
    revisions: dict[int, int] = Field(description="ids of the series' revisions by number")


class Done(Value):
    """What became of something that was asked for."""

    done: bool
    said: str


class Refused(Value):
    """Why something was not done."""

    detail: str
