"""Reading the configuration, and the one line that says what is wrong with it."""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from node.errors import ConfigError
from node.settings.destination import Destination
from node.settings.fetch import SourceSettings
from node.settings.fields import Misfit
from node.settings.notify import NotifyRule
from node.settings.route import Route
from node.settings.security import Peer
from node.settings.whole import ENV_PREFIX, Settings

CONFIG_ENV = "ICHNODE_CONFIG"
DEFAULT_FILE = Path("ichnode.toml")

_ROWS: dict[str, type[BaseModel]] = {
    "destinations": Destination,
    "routes": Route,
    "peers": Peer,
    "sources": SourceSettings,
    "notify": NotifyRule,
}
"""What a row is of each list of tables."""


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
    got, misfit = first["input"], first.get("ctx", {}).get("error")
    if isinstance(misfit, Misfit):
        location, got = [*location, *misfit.location], misfit.got
    key = ".".join(str(part) for part in location)
    is_missing = first["type"] == "missing"  # then what it is missing in tells the source
    variable = _variable(location[:-1] if is_missing else location, os.environ)
    where = str(path or "arguments") if variable is None else f"environment {variable}"
    if first["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        return f"{where}: unknown key {key}{_hint(str(location[-1]), known)}"
    if is_missing:
        return f"{where}: {key} is missing"
    return f"{where}: {key}: got {_shown(location, got)}, {takes(error)}"


def takes(error: ValidationError) -> str:
    """What a key takes, in the words of what is wrong with its value."""
    words = re.sub(r"^(Value error, |Input should |String should )", "", error.errors()[0]["msg"])
    return words if words.startswith("takes") else f"should {words}"


def _shown(location: list[Any], value: object) -> str:
    """What a key got, without the secrets that may stand there."""
    is_secret = location[1:2] in (["users"], ["tokens"]) or isinstance(value, dict)
    if location[:1] in (["web"], ["dicomweb"]) and is_secret:
        return "these keys" if isinstance(value, dict) else "something else"  # a password?
    return _without_password(repr(value))


def _without_password(text: str) -> str:
    """A URL is shown without the password that it may hold."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)


def _known_keys(location: list[Any]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, int):
            continue
        model = _ROWS.get(part) or model.model_fields[part].annotation  # type: ignore[assignment]
    return list(model.model_fields)


def _hint(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
