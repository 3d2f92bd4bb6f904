"""Configurations in files, and the one line that a bad one is answered with."""

from pathlib import Path

import pytest

from node.errors import ConfigError
from node.settings import Settings, load_settings


def load(text: str, folder: Path) -> Settings:
    """Settings from a file with that text."""
    path = folder / "my.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def complaint(text: str, folder: Path) -> str:
    """The one line that a bad file is answered with."""
    with pytest.raises(ConfigError) as caught:
        load(text, folder)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message
