"""All sections together: the one typed model of the configuration."""

import os
from pathlib import Path
from typing import Self, TypeVar

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from node.settings.audit import AuditSettings
from node.settings.destination import Destination
from node.settings.dicomweb import DicomwebSettings
from node.settings.eligibility import EligibilitySettings
from node.settings.feedback import FeedbackSettings
from node.settings.fetch import FetchSettings, SourceSettings
from node.settings.fields import Misfit
from node.settings.log import LogSettings
from node.settings.notify import NotifyRule, SmtpSettings
from node.settings.priority import PriorityRule
from node.settings.report import ReportSettings
from node.settings.retention import RetentionSettings
from node.settings.route import SENDER, Route, misfits
from node.settings.sections import (
    AnalyzeSettings,
    AssembleSettings,
    BrokerSettings,
    DeliverSettings,
    DicomSettings,
    LedgerSettings,
    ModelSettings,
)
from node.settings.security import Peer, TakesTLS
from node.settings.shadow import DriftSettings, ShadowSettings
from node.settings.web import WebSettings

ENV_PREFIX = "ICHNODE_"

N = TypeVar("N", Destination, NotifyRule, PriorityRule, Route, SourceSettings)


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
    dicomweb: DicomwebSettings = DicomwebSettings()
    destinations: tuple[Destination, ...] = ()
    routes: tuple[Route, ...] = ()
    peers: tuple[Peer, ...] = ()
    sources: tuple[SourceSettings, ...] = ()
    fetch: FetchSettings = FetchSettings()
    assemble: AssembleSettings = AssembleSettings()
    eligibility: EligibilitySettings = EligibilitySettings()
    priorities: tuple[PriorityRule, ...] = ()
    analyze: AnalyzeSettings = AnalyzeSettings()
    report: ReportSettings = ReportSettings()
    deliver: DeliverSettings = DeliverSettings()
    notify: tuple[NotifyRule, ...] = ()
    smtp: SmtpSettings = SmtpSettings()
    feedback: FeedbackSettings = FeedbackSettings()
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

    @field_validator("sources", "destinations", "routes", "priorities", "notify")
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

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Self:
        titles = [d.ae_title for d in self.destinations if d.ae_title is not None]
        titles += [peer.ae_title for peer in self.peers if peer.is_callable]
        for misfit in misfits(self.routes, self.destinations, titles, self.report):
            raise misfit
        if not self.sends_back:
            return self
        for number, destination in enumerate(self.destinations):
            if destination.name == SENDER:
                wanted = f"takes another name: in [[routes]] {SENDER} is who sent a series"
                raise Misfit(("destinations", number, "name"), SENDER, wanted)
        addresses = {d.name: (d.host, d.port) for d in self.destinations}
        for number, peer in enumerate(self.peers):
            address = addresses.get(peer.name, (peer.host, peer.port))
            if peer.is_callable and address != (peer.host, peer.port):
                wanted = "takes another name than a destination with another address"
                raise Misfit(("peers", number, "name"), peer.name, wanted)
        return self

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

    @property
    def sends_back(self) -> bool:
        """Whether results may go back to who sent a series."""
        if not self.routes:
            return not self.destinations
        return any(SENDER in route.to for route in self.routes)

    @property
    def recipients(self) -> tuple[Destination, ...]:
        """Whoever may be sent something: destinations, and senders that are sent results back."""
        found = {destination.name: destination for destination in self.destinations}
        for peer in self.peers if self.sends_back else ():
            if (recipient := self.recipient(peer.ae_title)) is not None:
                found.setdefault(recipient.name, recipient)
        return tuple(found.values())

    def recipient(self, ae_title: str) -> Destination | None:
        """Where results go back to a sender: its own address, or that of a destination.

        A system that is both is the destination; None where no address of it is known.
        """
        peer = self.peer(ae_title)
        if peer is not None and peer.is_callable:
            at = (peer.host, peer.port)
            same = (
                d
                for d in self.destinations
                if (d.host, d.port) == at and (d.name == peer.name or d.ae_title == peer.ae_title)
            )
            return next(same, None) or _as_destination(peer)
        return next((d for d in self.destinations if d.ae_title == ae_title.strip()), None)

    def destination(self, name: str) -> Destination | None:
        """The destination of that name, or the peer that results go back to."""
        found = next((d for d in self.destinations if d.name == name), None)
        if found is not None:
            return found
        peer = next((p for p in self.peers if p.name == name and p.is_callable), None)
        return None if peer is None else _as_destination(peer)

    @property
    def polled(self) -> tuple[SourceSettings, ...]:
        """The sources that are asked again and again."""
        return tuple(source for source in self.sources if source.poll_s > 0)

    def source(self, name: str) -> SourceSettings | None:
        """The source of that name."""
        return next((s for s in self.sources if s.name == name), None)

    def peer(self, ae_title: str) -> Peer | None:
        """The peer that calls itself by an AE title."""
        return next((p for p in self.peers if p.ae_title == ae_title.strip()), None)


def _as_destination(peer: Peer) -> Destination:
    """A peer that results go back to, as one that is sent something."""
    called = peer.model_dump(include=set(TakesTLS.model_fields))
    return Destination(**called, ae_title=peer.ae_title, host=peer.host, port=peer.port)
