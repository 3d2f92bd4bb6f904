"""Setting up a node: a few answers become a configuration with a remark on every key."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
import typer
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_settings import PydanticBaseSettingsSource
from rich.console import Console
from rich.markup import escape

from node.errors import ConfigError
from node.settings import Destination, Peer, Settings
from node.settings.load import takes
from node.settings.reference import as_toml

T = TypeVar("T")

EVERYWHERE = "0.0.0.0"  # noqa: S104  the node is to be reached
SERVICE_HOME = Path("/var/lib/ichnode")

_DESTINATION = re.compile(
    r"(?:(?P<name>[^=@]+)=)?(?P<ae_title>[^@]+)@(?P<host>\[[^\]]+\]|[^:@\[\]]+):(?P<port>\d+)"
)
_WEB = re.compile(r"(?:(?P<name>[^=@:/]+)=)?(?P<url>https?://.+)")
_PEER = re.compile(r"(?P<ae_title>[^@]+)(?:@(?P<network>.+))?")


class _OfTheFile(Settings):
    """What a file alone says: variables of whoever writes it are not for it."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[Settings],  # type: ignore[override]
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, and nothing else."""
        return (init_settings,)


def as_destination(text: str) -> Destination:
    """Read ``[NAME=]AE_TITLE@HOST:PORT`` or ``[NAME=]https://HOST/PATH``.

    Without a name it gets that of its title or its host.

    Raises
    ------
    ConfigError
        If it is written otherwise, or holds what a destination does not take.
    """
    if web := _WEB.fullmatch(text.strip()):
        name = web["name"] or _name(urlsplit(web["url"]).hostname or "")
        return _made(Destination, name=name, url=web["url"])
    found = _DESTINATION.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"{text!r} is no destination: write AE_TITLE@HOST:PORT, or https://HOST/PATH"
        )
    return _made(
        Destination,
        name=found["name"] or _name(found["ae_title"]),
        ae_title=found["ae_title"],
        host=found["host"].strip("[]"),
        port=found["port"],
    )


def as_peer(text: str) -> Peer:
    """Read ``AE_TITLE[@NETWORK]`` of a system that may send.

    Raises
    ------
    ConfigError
        If it is written otherwise, or holds what a peer does not take.
    """
    found = _PEER.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no peer: write AE_TITLE or AE_TITLE@NETWORK")
    networks = () if found["network"] is None else (found["network"],)
    return _made(Peer, name=_name(found["ae_title"]), ae_title=found["ae_title"], networks=networks)


def _name(ae_title: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", ae_title.strip().lower()).strip("-._") or "peer"


M = TypeVar("M", bound=BaseModel)


def _made(model: type[M], **values: object) -> M:
    try:
        return model(**values)
    except ValidationError as error:
        raise ConfigError(_complaint(error)) from None


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
    return f"{key or 'this'}: got {first['input']!r}, {takes(error)}"


def settings_of(answers: dict[str, Any]) -> Settings:
    """The configuration that answers make; what was not answered is as by default.

    Parameters
    ----------
    answers : dict
        As in ``ichnode.toml``.

    Raises
    ------
    ConfigError
        If they do not make one.
    """
    return _made(_OfTheFile, **answers)


def write(settings: Settings, path: Path, *, replace: bool) -> None:
    """Write a configuration; for its owner alone if there is a password in it.

    Raises
    ------
    ConfigError
        If there is a file that is not to be replaced, or it cannot be written.
    """
    mode = 0o600 if _holds_password(settings) else 0o644
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if replace else os.O_EXCL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(as_toml(settings))
        path.chmod(mode)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def _holds_password(settings: Settings) -> bool:
    urls = filter(None, (settings.broker.url, settings.ledger.url))
    return any(sa.make_url(url).password for url in urls)


def ask(answers: dict[str, Any], console: Console) -> dict[str, Any]:
    """Ask for what the flags have not said.

    Parameters
    ----------
    answers : dict
        What is known, as in ``ichnode.toml``.
    console : rich.console.Console

    Returns
    -------
    dict
        With the answers.
    """
    dicom = dict(answers.get("dicom", {}))
    told = dict(answers)
    console.print(
        "A few questions; Enter takes what stands in brackets. All of it can be changed in the "
        "file later.\n",
        highlight=False,
    )
    if "home" not in told:
        default = SERVICE_HOME if os.geteuid() == 0 else _OfTheFile().home
        told["home"] = typer.prompt("Folder for images, results and the ledger", str(default))
    if "ae_title" not in dicom:
        dicom["ae_title"] = _prompt("AE title of this node", "ICHNODE", _field("ae_title"))
    if "host" not in dicom and typer.confirm("May other machines send to it?", default=True):
        dicom["host"] = EVERYWHERE
    if "port" not in dicom:
        dicom["port"] = _prompt("Port that it listens on", "11112", _field("port"))
    if "destinations" not in told:
        console.print(
            "\nWhere do results go? AE_TITLE@HOST:PORT of the PACS, as in PACS@10.0.0.5:104; "
            "it has to know this node, too. Or its DICOMweb, as in https://pacs/dicom-web.",
            highlight=False,
        )
        told["destinations"] = list(_several("Destination (Enter: no more)", as_destination))
    if "peers" not in told:
        console.print(
            "\nWho may send? AE_TITLE, or AE_TITLE@NETWORK as in CT1@10.0.1.0/24, of each scanner "
            "or PACS. With none, whoever reaches the port.",
            highlight=False,
        )
        told["peers"] = list(_several("Peer (Enter: no more)", as_peer))
    return {**told, "dicom": dicom}


def _field(key: str) -> Callable[[str], Any]:
    """What reads a value of a key of ``[dicom]``."""
    field = Settings.model_fields["dicom"].annotation.model_fields[key]  # type: ignore[union-attr]
    adapter: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())

    def read(text: str) -> Any:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            raise ConfigError(_complaint(error)) from None

    return read


def _prompt(question: str, default: str, read: Callable[[str], T]) -> T:
    """Ask until the answer can be read."""

    def value(text: str) -> T:
        try:
            return read(text)
        except ConfigError as error:
            raise typer.BadParameter(str(error)) from None

    answer: T = typer.prompt(question, default, value_proc=value)
    return answer


def _several(question: str, read: Callable[[str], T]) -> Iterable[T]:
    """Ask until nothing more is said."""
    while (answer := _prompt(question, "", lambda text: read(text) if text else None)) is not None:
        yield answer


def tell(settings: Settings, path: Path, console: Console) -> None:
    """Say what was written, and what to do next."""
    lines = [
        f"\nWritten: {path}",
        "",
        "Next:",
        f"  ichnode check --config {path}    is everything there? does the PACS answer?",
        f"  ichnode up --config {path}       run the node; its page: "
        f"http://{settings.web.host}:{settings.web.port}/",
    ]
    for peer in settings.destinations:
        if peer.is_web:
            continue
        lines.append(
            f"  make {settings.dicom.ae_title} at this machine's address, port "
            f"{settings.dicom.port}, known to {peer.ae_title}"
        )
    if _holds_password(settings):
        lines.append("  the file holds a password: only its owner may read it")
    console.print(*map(escape, lines), sep="\n", highlight=False, soft_wrap=True)
