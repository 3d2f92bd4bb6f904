"""What a page shows and the JSON says: plain values, and the schema of the OpenAPI document."""

from datetime import date, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from ml.labels import SUBTYPES, Label
from node.drift import Level, Of, Verdict
from node.feedback.said import LONGEST_REMARK
from node.ledger import NotificationState, ReadingSource, ShadowState, State

LABELS = (Label.ANY, *SUBTYPES)
"""In the order in which the pages show them."""


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


class Reading(Value):
    """What a reader says of a series."""

    series_instance_uid: str | None = Field(description="null: of every series of the study")
    source: ReadingSource
    reader: str
    said_at: datetime
    findings: dict[Label, bool] = Field(
        description="present or absent; of what does not stand here the reader says nothing"
    )
    remark: str | None


class Said(Value):
    """What a reader says, to be entered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    findings: dict[Label, bool | None] = Field(
        description="true: present, false: absent, null: the reader cannot tell"
    )
    remark: str | None = Field(None, max_length=LONGEST_REMARK)


class JudgingModel(Model):
    """A model that has judged, with the operating point that it flags by."""

    id: int
    operating_point: str = Field(description="empty where it has none: then nothing is flagged")
    is_current: bool = Field(description="whether it is the one that is configured")


class Counts(Value):
    """How a model's flags compare with readers."""

    series: int = Field(description="all that were judged")
    flagged: int
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int


class Proportion(Value):
    """How many of some are so, with the 95 % interval by Wilson's score."""

    value: float | None
    low: float | None
    high: float | None
    hits: int
    of: int
    is_few: bool = Field(description="whether it is of too few to say much")


class Estimate(Value):
    """A value that was worked out from several proportions, with its 95 % interval."""

    value: float
    low: float
    high: float


class Figures(Value):
    """How a model's flags compare with readers, for one finding."""

    counts: Counts
    sensitivity: Proportion
    specificity: Proportion
    ppv: Proportion
    npv: Proportion
    prevalence: Proportion
    flagged_read: Proportion = Field(description="of the flagged ones, those with a label")
    unflagged_read: Proportion = Field(description="of the others, those with a label")
    is_one_sided: bool = Field(
        description="whether flagged ones have a label clearly more or less often than others"
    )
    adjusted_sensitivity: Estimate | None = Field(
        description="of all that were judged, if chance chose the labelled ones of each"
    )
    adjusted_specificity: Estimate | None


class Point(Value):
    """Figures of the days up to one day."""

    day: date
    sensitivity: Proportion
    specificity: Proportion
    ppv: Proportion
    prevalence: Proportion = Field(description="among those labelled, that the PPV holds for")


class Feedback(Value):
    """What readers say, beside what one model said."""

    models: tuple[JudgingModel, ...] = Field(description="that have judged: never mixed")
    model: JudgingModel | None = Field(description="that the figures are of")
    days: int | None = Field(description="judged within so many; null: all")
    findings: dict[Label, Figures] = Field(description="any first")
    finding: Label = Field(description="that the course is of")
    course: tuple[Point, ...] = Field(description="of a year, each of the 90 days before it")


class Unlabelled(Value):
    """Judged series that no reader has said anything of."""

    series: tuple[Row, ...] = Field(description="flagged ones first")
    next: str | None = Field(description="the `after` of the next page")


class Shadow(Value):
    """What a second model says of a revision: compared, and never sent."""

    state: ShadowState
    detail: str | None = Field(description="why it was not judged")
    model: Model | None = Field(description="None where it was not judged")
    operating_point: str | None
    findings: tuple[Finding, ...] = Field(description="of the second model, any first")
    compared_with: tuple[Finding, ...] = Field(description="of the model that has reported")


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
    readings: tuple[Reading, ...] = Field(description="newest first: that one counts")
    revisions: dict[int, int] = Field(description="ids of the series' revisions by number")
    shadow: Shadow | None = Field(description="None where no second model was to judge it")


class Days(Value):
    """Some days; both count."""

    first: date
    last: date
    series: int = Field(description="that were counted on them")


class Bin(Value):
    """Series whose trait is the same for a comparison."""

    name: str = Field(description="a lower edge, or a word; empty: it is not said")
    reference: int
    recent: int


class TraitPoint(Value):
    """Some days of a trait."""

    first: date
    series: int
    mean: float


class Trait(Value):
    """What series are like, or what a model says of them, then and now."""

    of: Of
    name: str
    words: str
    unit: str
    digits: int
    is_number: bool
    level: Level
    psi: float | None = Field(description="population stability index; None with too few series")
    by_chance: float | None = Field(
        description="what it reaches without any change in one of a thousand comparisons"
    )
    reference_mean: float | None
    recent_mean: float | None
    low: float | None = Field(description="of a number: one of twenty series lies below")
    high: float | None = Field(description="one of twenty lies above")
    bins: tuple[Bin, ...] = Field(description="in order; words by how often they are said")
    course: tuple[TraitPoint, ...]


class Agreement(Value):
    """How far two models agree on a finding, in the recent days."""

    finding: Label | None = Field(description="None: whether anything is flagged")
    counts: dict[Verdict, int]
    agreed: float | None = Field(description="share of the series on which both say the same")
    kappa: float | None = Field(description="Cohen's; None where both always say the same one")
    kappa_low: float | None = Field(description="it lies above with a probability of 97.5 %")
    kappa_high: float | None
    apart: float | None = Field(description="mean absolute difference of the highest probabilities")
    rank_correlation: float | None = Field(description="Spearman's, of the last of these series")


class Apart(Value):
    """A series of which both models say something different."""

    id: int
    judged_at: datetime
    finding: Label = Field(description="the one of which they say the most different")
    primary: float
    shadow: float
    only: Verdict | None = Field(description="which of them alone flags the series, if one does")


class Pair(Value):
    """The highest probability of any hemorrhage that both models give a series."""

    primary: float
    shadow: float


class Second(Value):
    """The shadow as a whole."""

    model: Model | None
    trouble: str | None = Field(description="why its bundle cannot be read")
    operating_point: str
    waiting: int
    judging: int
    failed: int
    judged: int = Field(description="in the recent days")
    agreements: tuple[Agreement, ...] = Field(description="of the series as a whole first")
    course: tuple[TraitPoint, ...] = Field(description="share of series on which both agree")
    apart: tuple[Apart, ...] = Field(description="those that differ most first")
    pairs: tuple[Pair, ...] = Field(description="the last series that both have judged")


class Drift(Value):
    """What has changed in what comes and in what models say, and how far two of them agree."""

    reference: Days
    recent: Days
    min_series: int
    model: Model | None
    operating_point: str
    traits: tuple[Trait, ...]
    shadow: Second | None = Field(description="None where none is configured")


class Done(Value):
    """What became of something that was asked for."""

    done: bool
    said: str


class Refused(Value):
    """Why something was not done."""

    detail: str
