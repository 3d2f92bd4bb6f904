"""All sections together: the one typed model of the configuration."""

import os
from pathlib import Path
from typing import TypeVar

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from node.settings.audit import AuditSettings
from node.settings.eligibility import EligibilitySettings
from node.settings.log import LogSettings
from node.settings.notify import NotifyRule, SmtpSettings
from node.settings.report import ReportSettings
from node.settings.retention import RetentionSettings
from node.settings.sections import (
    AnalyzeSettings,
    AssembleSettings,
    BrokerSettings,
    DeliverSettings,
    Destination,
    DicomSettings,
    LedgerSettings,
    ModelSettings,
)
from node.settings.security import Peer
from node.settings.shadow import DriftSettings, ShadowSettings
from node.settings.web import WebSettings

ENV_PREFIX = "ICHNODE_"

N = TypeVar("N", Destination, NotifyRule)


def _default_home() -> Path:
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "ichnode"


class Settings(BaseSettings):
    """Everything that can be configured; the defaults run on one machine."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    home: Path = Field(
        default_factory=_default_home,
        description="folder for all that is kept; absent: ~/.local/share/ichnode",
        examples=["/var/lib/ichnode"],
    )
    dicom: DicomSettings = DicomSettings()
    destinations: tuple[Destination, ...] = ()
    peers: tuple[Peer, ...] = ()
    assemble: AssembleSettings = AssembleSettings()
    eligibility: EligibilitySettings = EligibilitySettings()
    analyze: AnalyzeSettings = AnalyzeSettings()
    report: ReportSettings = ReportSettings()
    deliver: DeliverSettings = DeliverSettings()
    notify: tuple[NotifyRule, ...] = ()
    smtp: SmtpSettings = SmtpSettings()
    retention: RetentionSettings = RetentionSettings()
    audit: AuditSettings = AuditSettings()
    broker: BrokerSettings = BrokerSettings()
    ledger: LedgerSettings = LedgerSettings()
    model: ModelSettings = ModelSettings()
    shadow: ShadowSettings = ShadowSettings()
    drift: DriftSettings = DriftSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("destinations", "notify")
    @classmethod
    def _distinct(cls, value: tuple[N, ...]) -> tuple[N, ...]:
        names = [item.name for item in value]
        if len(set(names)) != len(names):
            raise ValueError("takes each name once")
        return value

    @field_validator("peers")
    @classmethod
    def _told_apart(cls, value: tuple[Peer, ...]) -> tuple[Peer, ...]:
        names = [peer.name for peer in value]
        titles = [peer.ae_title for peer in value]
        if len(set(names)) != len(names) or len(set(titles)) != len(titles):
            raise ValueError("takes each name and each ae_title once")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before the file, whose content comes as arguments."""
        return env_settings, init_settings

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy's URL of the ledger."""
        return self.ledger.url or f"sqlite:///{self.home / 'ledger.sqlite'}"

    def destination(self, name: str) -> Destination | None:
        """The destination of that name."""
        return next((d for d in self.destinations if d.name == name), None)

    def peer(self, ae_title: str) -> Peer | None:
        """The peer that calls itself by an AE title."""
        return next((p for p in self.peers if p.ae_title == ae_title.strip()), None)
