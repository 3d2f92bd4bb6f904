"""Programs that look at what lies in deploy/."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def found(tool: str) -> str:
    """The path of a program, of the environment that the tests run in or of the system."""
    package = importlib.util.find_spec("compose") if tool == "docker-compose" else None
    if package is not None and package.origin is not None:
        # Not what the package installs as a command: it ends well whatever happens.
        return str(Path(package.origin).with_name(tool))
    folders = (Path(sys.executable).parent, Path("/usr/bin"), Path("/usr/sbin"))
    for folder in folders:
        if (folder / tool).exists():
            return str(folder / tool)
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


def look(tool: str, *arguments: object) -> str:
    """Run a program that has to be content; what it printed."""
    done = subprocess.run(
        [found(tool), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, f"{tool}:\n{done.stdout}{done.stderr}"
    return done.stdout
