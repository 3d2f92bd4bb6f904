"""The short sections, one for each part of the node."""

from pydantic import Field

from node.settings.fields import AETitle, Port, PositiveSeconds, Seconds, Section


class DicomSettings(Section):
    """The node as a DICOM peer."""

    ae_title: AETitle = Field("ICHNODE", description="AE title of the node")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: Port = Field(11112, description="port to listen on")
    max_associations: int = Field(20, ge=1, le=1000, description="at the same time")


class Destination(Section):
    """A peer that results are sent to."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="what you call it")
    ae_title: AETitle = Field(description="AE title of the peer")
    host: str = Field(min_length=1, description="its address")
    port: Port = Field(description="its port")
    commit: bool = Field(False, description="ask it to commit to what it has stored")


class AssembleSettings(Section):
    """When a series counts as whole."""

    grace_s: Seconds = Field(2, description="wait this long when evidence says the series is whole")
    quiet_s: Seconds = Field(30, description="without evidence, wait this long for more slices")
    min_coverage_mm: Seconds = Field(
        100, description="evenly spaced slices are evidence from this extent on, mm"
    )


class AnalyzeSettings(Section):
    """How series are judged."""

    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N"
    )
    batch_size: int = Field(16, ge=1, le=4096, description="slices through stage 1 together")
    lease_s: PositiveSeconds = Field(
        30, description="a worker that was silent for this long is taken for dead"
    )
    max_attempts: int = Field(3, ge=1, le=100, description="then the series has failed")


class DeliverSettings(Section):
    """How results are sent."""

    first_pause_s: PositiveSeconds = Field(5, description="after the first failure; then doubling")
    longest_pause_s: PositiveSeconds = Field(900, description="no pause is longer")
    give_up_h: PositiveSeconds = Field(72, description="hours until a delivery counts as failed")
    timeout_s: PositiveSeconds = Field(30, description="for a peer's answer")
    commit_wait_s: PositiveSeconds = Field(
        3600, description="ask again for a storage commitment that was not reported for this long"
    )


class BrokerSettings(Section):
    """The Redis that Celery talks to."""

    url: str | None = Field(
        None,
        pattern=r"^(redis|rediss|redis\+socket|unix)://",
        description="redis://...; without it `ichnode up` starts one of its own",
    )
    visibility_timeout_s: PositiveSeconds = Field(
        3600, description="a message that was not acknowledged for this long comes again"
    )


class LedgerSettings(Section):
    """The database with the state of every series."""

    url: str | None = Field(
        None,
        pattern=r"^(sqlite|postgresql\+psycopg)://",
        description="postgresql+psycopg://...; without it SQLite in home",
    )


class ModelSettings(Section):
    """The model that judges."""

    bundle: str = Field("phantom", min_length=1, description="one that is shipped, or a folder")
    operating_point: str = Field(
        "balanced", description="the bundle's thresholds to flag findings by"
    )


class WebSettings(Section):
    """Where the web page listens."""

    host: str = "127.0.0.1"
    port: Port = 8042
