"""The short sections, one for each part of the node."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from node.settings.fields import AETitle, Port, PositiveSeconds, Seconds, Section
from node.settings.security import TLSSettings, with_url_of_file

_BROKER_URL = r"^(redis|rediss|redis\+socket|unix)://"
_LEDGER_URL = r"^(sqlite|postgresql\+psycopg)://"


class DicomSettings(Section):
    """The node as a DICOM peer."""

    ae_title: AETitle = Field("ICHNODE", description="AE title of the node")
    host: str = Field(
        "127.0.0.1", description="address to listen on; 0.0.0.0: all, for other machines"
    )
    port: Port = Field(11112, description="port to listen on")
    processes: int = Field(
        2, ge=1, le=64, description="that receive on the port; limits below hold for each"
    )
    require_called_ae: bool = Field(
        True, description="reject who calls the node by another title than its own"
    )
    max_associations: int = Field(20, ge=1, le=1000, description="at the same time")
    max_associations_per_address: int = Field(
        10, ge=1, le=1000, description="at the same time, from one address"
    )
    associations_per_minute: int = Field(
        6000, ge=1, le=100_000, description="new ones from one address"
    )
    idle_s: PositiveSeconds = Field(60, description="a peer that is silent for longer is left")
    max_instance_mb: int = Field(1024, ge=1, le=4096, description="larger ones are refused")
    max_receiving_mb: int = Field(
        2048, ge=1, le=1_000_000, description="in memory at the same time; beyond, A700"
    )
    min_free_gb: float = Field(
        1, ge=0, allow_inf_nan=False, description="with less on the disk instances get A700"
    )
    max_quarantine_gb: float = Field(
        5, ge=0, allow_inf_nan=False, description="beyond, refused instances are not kept"
    )
    tls: TLSSettings = TLSSettings()


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
    runtime: Literal["auto", "torch", "openvino"] = Field(
        "auto", description="what runs stage 1; auto: OpenVINO on a CPU, PyTorch on a GPU"
    )
    threads: int = Field(
        0, ge=0, le=1024, description="of a worker on a CPU; 0: as many as there are cores"
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
        pattern=_BROKER_URL,
        description="redis://...; without it `ichnode up` starts one of its own",
        examples=["redis://redis.example:6379/0"],
    )
    url_file: Path | None = Field(
        None,
        description="instead of url: a file with it, if it has a password",
        examples=["/etc/ichnode/broker.url"],
    )
    visibility_timeout_s: PositiveSeconds = Field(
        3600, description="a message that was not acknowledged for this long comes again"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, value: Any) -> Any:
        return with_url_of_file(value, _BROKER_URL)


class LedgerSettings(Section):
    """The database with the state of every series."""

    url: str | None = Field(
        None,
        pattern=_LEDGER_URL,
        description="postgresql+psycopg://...; without it SQLite in home",
        examples=["postgresql+psycopg://ichnode@db.example/ichnode"],
    )
    url_file: Path | None = Field(
        None,
        description="instead of url: a file with it, if it has a password",
        examples=["/etc/ichnode/ledger.url"],
    )

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, value: Any) -> Any:
        return with_url_of_file(value, _LEDGER_URL)


class ModelSettings(Section):
    """The model that judges."""

    bundle: str = Field("phantom", min_length=1, description="one that is shipped, or a folder")
    operating_point: str = Field(
        "balanced", description="the bundle's thresholds to flag findings by"
    )
