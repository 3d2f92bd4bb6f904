"""The Dockerfile, read and carried out by hand where no Docker engine is: its own commands."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.tools import DEPLOY, ROOT

TOO_LARGE = re.compile(r"install --constraint constraints\.txt ")
"""Commands that fetch PyTorch and all else: the tests' own environment stands for what they
install, and so they are left out."""

OF_THE_MACHINE = re.compile(r"^groupadd ")
"""Commands that would alter this machine, and so are left out."""


@dataclass(frozen=True)
class Stage:
    """What follows a FROM."""

    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]


def stages() -> dict[str, Stage]:
    """The stages of the Dockerfile by name, in its order."""
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, Stage] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = Stage(name, base, ())
        elif found:
            last = next(reversed(found.values()))
            instructions = (*last.instructions, (word, rest.strip()))
            found[last.name] = Stage(last.name, last.base, instructions)
    return found


class Image:
    """An image in a folder, with what its last stage says about running it.

    Parameters
    ----------
    folder : pathlib.Path
        Stands for the root of the file system.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}
        self.entrypoint: list[str] = []
        self.healthcheck: list[str] = []
        self._workdir = "/"
        (folder / "wheels").mkdir()
        (folder / "opt").mkdir()

    def build(self, target: str) -> None:
        """Carry out the stages that a target is made of."""
        every = stages()
        order: list[str] = []

        def need(name: str) -> None:
            stage = every.get(name)
            if stage is None or name in order:
                return
            need(stage.base)
            for _, rest in stage.instructions:
                for other in re.findall(r"from=([a-z-]+)", rest):
                    need(other)
            order.append(name)

        need(target)
        for name in order:
            for word, rest in every[name].instructions:
                self._carry_out(word, rest)

    def path(self, text: str) -> str:
        """A text with the paths of the image as they are here."""
        return re.sub(
            r"(?<![\w./-])/(opt|src|wheels|var/lib/ichnode|run/ichnode)\b",
            rf"{self.folder}/\1",
            text,
        )

    def variables(self) -> dict[str, str]:
        """The environment of a process in the image."""
        path = f"{self.folder}/opt/ichnode/bin:{os.environ['PATH']}"
        return {**_without_ichnode(os.environ), **self.environment, "PATH": path}

    def _carry_out(self, word: str, rest: str) -> None:
        if word == "RUN":
            self._run(re.sub(r"--mount=\S+\s+", "", rest))
        elif word == "COPY" and "--from=" not in rest:
            *sources, target = rest.split()
            for source in sources:
                self._copy(ROOT / source, target)
        elif word == "WORKDIR":
            self._workdir = self.path(rest)
            Path(self._workdir).mkdir(parents=True, exist_ok=True)
        elif word == "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                if name != "PATH":
                    self.environment[name] = self.path(value)
        elif word == "ENTRYPOINT":
            self.entrypoint = json.loads(rest)
        elif word == "HEALTHCHECK":
            self.healthcheck = [self.path(p) for p in json.loads(rest.partition("CMD ")[2])]

    def _run(self, command: str) -> None:
        if OF_THE_MACHINE.search(command):
            return
        if TOO_LARGE.search(command):
            (packages,) = self.folder.glob("opt/ichnode/lib/python*/site-packages")
            (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
            return
        environment = {
            **_without_ichnode(os.environ),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PIP_NO_INDEX": "1",  # nothing is fetched
            "PIP_NO_BUILD_ISOLATION": "0",  # which is pip's way to say that there is none
            "PIP_NO_COMPILE": "1",
        }
        subprocess.run(
            ["sh", "-ec", self.path(command)],
            check=True,
            cwd=self._workdir,
            env=environment,
            capture_output=True,
        )

    def _copy(self, source: Path, target: str) -> None:
        place = Path(self._workdir, self.path(target))
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, place, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(source, place)


def _without_ichnode(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which nothing leads to the checkout or to a configuration."""
    return {
        name: value
        for name, value in environment.items()
        if name != "PYTHONPATH" and not name.upper().startswith("ICHNODE_")
    }
