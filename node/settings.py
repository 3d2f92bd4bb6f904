"""The one typed model of the configuration: ``ichnode.toml``, then ``ICHNODE_*``."""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from node.errors import ConfigError

ENV_PREFIX = "ICHNODE_"
CONFIG_ENV = "ICHNODE_CONFIG"
DEFAULT_FILE = Path("ichnode.toml")


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


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DicomSettings(_Section):
    """The node as a DICOM peer."""

    ae_title: AETitle = Field("ICHNODE", description="AE title of the node")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: Port = Field(11112, description="port to listen on")
    max_associations: int = Field(20, ge=1, le=1000, description="at the same time")


class Destination(_Section):
    """A peer that results are sent to."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="what you call it")
    ae_title: AETitle = Field(description="AE title of the peer")
    host: str = Field(min_length=1, description="its address")
    port: Port = Field(description="its port")


class AssembleSettings(_Section):
    """When a series counts as whole."""

    grace_s: Seconds = Field(2, description="wait this long when evidence says the series is whole")
    quiet_s: Seconds = Field(30, description="without evidence, wait this long for more slices")
    min_coverage_mm: Seconds = Field(
        100, description="evenly spaced slices are evidence from this extent on, mm"
    )


class EligibilitySettings(_Section):
    """Which series the model may judge; words are regular expressions, case ignored."""

    min_slices: int = Field(10, ge=1, description="fewer are skipped")
    max_tilt_deg: float = Field(
        35, ge=0, le=90, description="steeper stacks are not axial, degrees"
    )
    derived_image_types: tuple[str, ...] = Field(
        (
            "SECONDARY",
            "MPR",
            "REFORMATTED",
            "CSA MPR",
            "CSA MIP",
            "CSAPARALLEL",
            "MIP",
            "MINIP",
            "MAX_IP",
            "MIN_IP",
            "PROJECTION IMAGE",
            "VOLUME_RENDER",
            "VRT",
            "SCREEN SAVE",
            "SUBTRACT",
            "POST_PROCESSED",
        ),
        description="values of ImageType that mark a reformat or secondary image",
    )
    derived_words: tuple[Words, ...] = Field(
        (r"\bm(in)?ip\b", r"\bvrt\b", r"\bmpr\b", r"\breformat", r"\b3d\b", r"\bdose report\b"),
        description="in SeriesDescription: a reformat or secondary image",
    )
    contrast_words: tuple[Words, ...] = Field(
        (
            r"contrast",
            r"\bc\s*\+",
            r"\+\s*c\b",
            r"\bcect\b",
            r"\bcta\b",
            r"\bctv\b",
            r"angio",
            r"perfusion",
            r"\bctp\b",
            r"arterial",
            r"venous",
            r"\bpost\s*c\b",
            r"\bw(ith)?[ /.]+(iv|con)\b",
            r"\d+\s*cc\s*(/\s*)?sec",
            r"kontrast",
            r"\bkm\b",
            r"inject",
            r"enhanced",
        ),
        description="in SeriesDescription: contrast was given",
    )
    plain_words: tuple[Words, ...] = Field(
        (
            r"\b(non?|pre|without|w\s*/?\s*o|wo|minus)\b[\s_.-]*(iv\b)?[\s_.-]*(con|c\b)",
            r"\bnon?con",
            r"\bprecon",
            r"\bplain\b",
            r"\bncct\b",
            r"\bnect\b",
            r"\b(un|non?|not|pre)[\s_.-]*enhanced",
            r"\bc-(?!\w)",
            r"\bnativ",
            r"\b(ohne|sans|sin)\b",
        ),
        description="in SeriesDescription: no contrast, whatever contrast_words find",
    )
    no_agent_words: tuple[Words, ...] = Field(
        (r"^\s*(no|non|none|n/?a|nil|without|w/?o|0)\b", r"^\W*$"),
        description="in ContrastBolusAgent: none was given",
    )
    bone_kernels: tuple[Words, ...] = Field(
        (
            r"^(bone|boneplus|bone plus|edge|lung|ultra|sharp)",
            r"^[abhjqu][a-z]?(5[5-9]|[6-9]\d)",
            r"^fc(3\d|5\d|8\d)",
            r"^(d|e|l|yc|yd|ye)$",
        ),
        description="ConvolutionKernel of a bone or lung reconstruction",
    )
    bone_words: tuple[Words, ...] = Field(
        (r"\bbone\b(?! *(removal|subtract))", r"\bbone\s*plus\b", r"\bknochen"),
        description="in SeriesDescription: a bone reconstruction",
    )
    head_words: tuple[Words, ...] = Field(
        (
            r"head",
            r"brain",
            r"skull",
            r"neuro",
            r"cereb",
            r"crani",
            r"kopf",
            r"sch(a|ä)del",
            r"cr(a|â)ne",
            r"t(e|ê)te",
            r"cabeza",
            r"\bnct\b",
            r"stroke",
        ),
        description="in BodyPartExamined or a description: a head",
    )
    other_part_words: tuple[Words, ...] = Field(
        (
            r"chest",
            r"thorax",
            r"lung",
            r"abd",
            r"pelvis",
            r"spine",
            r"\bneck\b",
            r"\bknee",
            r"\bhip\b",
            r"liver",
            r"heart",
            r"cardiac",
            r"coronary",
            r"shoulder",
            r"ankle",
            r"\bfoot\b",
            r"\bleg\b",
            r"extremity",
            r"\bhand\b",
            r"wrist",
            r"elbow",
            r"kidney",
            r"colon",
            r"aorta",
            r"whole\s*body",
        ),
        description="in BodyPartExamined or a description: not a head",
    )


class AnalyzeSettings(_Section):
    """How series are judged."""

    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N"
    )
    batch_size: int = Field(16, ge=1, le=4096, description="slices through stage 1 together")
    lease_s: PositiveSeconds = Field(
        30, description="a worker that was silent for this long is taken for dead"
    )
    max_attempts: int = Field(3, ge=1, le=100, description="then the series has failed")


class ReportForm(StrEnum):
    """SOP class of the structured report."""

    COMPREHENSIVE_3D = "comprehensive-3d"
    COMPREHENSIVE = "comprehensive"
    ENHANCED = "enhanced"


class CaptureForm(StrEnum):
    """SOP class of the secondary captures."""

    SINGLE_FRAME = "single-frame"
    MULTI_FRAME = "multi-frame"


class Compression(StrEnum):
    """Transfer syntax of the secondary captures; all of them are lossless."""

    NONE = "none"
    RLE = "rle"
    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg-2000"


class Notices(StrEnum):
    """Which series that were not analyzed are reported on."""

    NONE = "none"
    FAILED = "failed"
    ALL = "all"


class ReportSettings(_Section):
    """Which results are made of a judgement, and in what form."""

    structured_report: ReportForm = Field(
        ReportForm.COMPREHENSIVE_3D,
        description="comprehensive-3d, or comprehensive or enhanced for archives that refuse it",
    )
    text_report: bool = Field(True, description="a report in words for viewers that show text")
    capture: CaptureForm = Field(
        CaptureForm.SINGLE_FRAME, description="secondary captures: single-frame or multi-frame"
    )
    compression: Compression = Field(
        Compression.NONE, description="of secondary captures: none, rle, jpeg-ls, jpeg-2000"
    )
    key_objects: bool = Field(False, description="a key object selection of the flagged slices")
    presentation_state: bool = Field(
        False, description="a softcopy presentation state that marks the flagged slices"
    )
    evidence_maps: bool = Field(
        False, description="secondary captures of where on a flagged slice the evidence lies"
    )
    not_analyzed: Notices = Field(
        Notices.FAILED, description="report on series without a result: none, failed, all"
    )


class DeliverSettings(_Section):
    """How results are sent."""

    first_pause_s: PositiveSeconds = Field(5, description="after the first failure; then doubling")
    longest_pause_s: PositiveSeconds = Field(900, description="no pause is longer")
    give_up_h: PositiveSeconds = Field(72, description="hours until a delivery counts as failed")
    timeout_s: PositiveSeconds = Field(30, description="for a peer's answer")


class BrokerSettings(_Section):
    """The Redis that Celery talks to."""

    url: str | None = Field(
        None,
        pattern=r"^(redis|rediss|redis\+socket|unix)://",
        description="redis://...; without it `ichnode up` starts one of its own",
    )
    visibility_timeout_s: PositiveSeconds = Field(
        3600, description="a message that was not acknowledged for this long comes again"
    )


class LedgerSettings(_Section):
    """The database with the state of every series."""

    url: str | None = Field(
        None,
        pattern=r"^(sqlite|postgresql\+psycopg)://",
        description="postgresql+psycopg://...; without it SQLite in home",
    )


class ModelSettings(_Section):
    """The model that judges."""

    bundle: str = Field("phantom", min_length=1, description="one that is shipped, or a folder")
    operating_point: str = Field(
        "balanced", description="the bundle's thresholds to flag findings by"
    )


class WebSettings(_Section):
    """Where the web page listens."""

    host: str = "127.0.0.1"
    port: Port = 8042


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

    home: Path = Field(default_factory=_default_home, description="folder for all that is kept")
    dicom: DicomSettings = DicomSettings()
    destinations: tuple[Destination, ...] = ()
    assemble: AssembleSettings = AssembleSettings()
    eligibility: EligibilitySettings = EligibilitySettings()
    analyze: AnalyzeSettings = AnalyzeSettings()
    report: ReportSettings = ReportSettings()
    deliver: DeliverSettings = DeliverSettings()
    broker: BrokerSettings = BrokerSettings()
    ledger: LedgerSettings = LedgerSettings()
    model: ModelSettings = ModelSettings()
    web: WebSettings = WebSettings()

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("destinations")
    @classmethod
    def _distinct(cls, value: tuple[Destination, ...]) -> tuple[Destination, ...]:
        names = [destination.name for destination in value]
        if len(set(names)) != len(names):
            raise ValueError("takes each name once")
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


def load_settings(config: Path | None = None) -> Settings:
    """Read the configuration.

    Parameters
    ----------
    config : pathlib.Path, optional
        A TOML file; without it ``ichnode.toml`` in the current folder, if there.

    Raises
    ------
    ConfigError
        With one line that names the key, what it got and what it takes.
    """
    path = config if config is not None else DEFAULT_FILE if DEFAULT_FILE.is_file() else None
    values = _read_toml(path) if path is not None else {}
    _refuse_unknown_variables(os.environ)
    try:
        return Settings(**values)
    except ValidationError as error:
        raise ConfigError(_one_line(error, path)) from None
    except SettingsError:
        raise ConfigError(_broken_json(os.environ)) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """Stop at a misspelt variable: pydantic-settings passes over it."""
    known = [f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields]
    for name in environ:
        if name.upper().startswith(ENV_PREFIX) and name.upper() != CONFIG_ENV:
            section, _, key = name.upper().partition("__")
            if section not in known:
                raise ConfigError(f"environment: unknown variable {name}{_hint(section, known)}")
            if key and not _is_section(_annotation(section)):
                raise ConfigError(f"environment: unknown variable {name}; {section} has no keys")


def _annotation(variable: str) -> Any:
    """The type of what a variable sets, None if there is no such key."""
    found: Any = Settings
    for part in variable.upper().removeprefix(ENV_PREFIX).lower().split("__"):
        field = found.model_fields.get(part) if _is_section(found) else None
        found = None if field is None else field.annotation
    return found


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _broken_json(environ: Mapping[str, str]) -> str:
    """Name the variable for a section or a list that does not hold JSON."""
    for name, value in environ.items():
        if name.upper().startswith(ENV_PREFIX):
            annotation = _annotation(name)
            if _is_section(annotation) or get_origin(annotation) is tuple:
                try:
                    json.loads(value)
                except ValueError:
                    return f"environment {name}: got {_without_password(repr(value))}, takes JSON"
    return "environment: a variable does not hold JSON"


def _variable(location: list[Any], environ: Mapping[str, str]) -> str | None:
    """The variable that a key was set by: its own, or one with the JSON of what it is in."""
    names = {name.upper(): name for name in environ}
    for depth in range(len(location), 0, -1):
        name = names.get(f"{ENV_PREFIX}{'__'.join(map(str, location[:depth]))}".upper())
        if name is None:
            continue
        try:
            value: Any = json.loads(environ[name]) if depth < len(location) else None
            for part in location[depth:]:
                value = value[part]
        except (ValueError, LookupError, TypeError):
            continue
        return name
    return None


def _one_line(error: ValidationError, path: Path | None) -> str:
    first = error.errors()[0]
    location = [part for part in first["loc"] if not (isinstance(part, str) and "[" in part)]
    key = ".".join(str(part) for part in location)
    is_missing = first["type"] == "missing"  # then what it is missing in tells the source
    variable = _variable(location[:-1] if is_missing else location, os.environ)
    where = str(path or "arguments") if variable is None else f"environment {variable}"
    if first["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        return f"{where}: unknown key {key}{_hint(str(location[-1]), known)}"
    if is_missing:
        return f"{where}: {key} is missing"
    takes = re.sub(r"^(Value error, |Input should |String should )", "", first["msg"])
    takes = takes if takes.startswith("takes") else f"should {takes}"
    return f"{where}: {key}: got {_without_password(repr(first['input']))}, {takes}"


def _without_password(text: str) -> str:
    """A URL is shown without the password that it may hold."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)


def _known_keys(location: list[Any]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, int):
            continue
        model = Destination if part == "destinations" else model.model_fields[part].annotation  # type: ignore[assignment]
    return list(model.model_fields)


def _hint(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
