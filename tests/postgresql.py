"""A PostgreSQL of the tests' own, reached by a socket in a temporary folder."""

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


def binaries() -> Path | None:
    """Where the server's programs are; None if it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@dataclass
class Postgresql:
    """A cluster that can be stopped and started again.

    Parameters
    ----------
    options : str
        Further ones for the server.
    """

    options: str = ""
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ichnode-pg-")))

    @property
    def url(self) -> str:
        """SQLAlchemy's URL."""
        return f"postgresql+psycopg://ichnode@/postgres?host={self.folder}"

    def create(self) -> None:
        """Make the cluster and start it."""
        if os.geteuid() == 0:  # initdb refuses root
            shutil.chown(self.folder, "postgres")
        self._run("initdb", "-D", self._data, "-U", "ichnode", "-A", "trust", "-N")
        self.start()

    def create_database(self, name: str) -> str:
        """Make another database beside the first; its URL."""
        self._run("createdb", "-h", str(self.folder), "-U", "ichnode", name)
        return self.url.replace("/postgres?", f"/{name}?")

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-k {self.folder} -c listen_addresses='' {self.options}"
        self._run(
            "pg_ctl", "-D", self._data, "-w", "-l", f"{self.folder}/log", "-o", options, "start"
        )

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: `fast` ends its sessions, `immediate` is a crash."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", mode, "stop")

    def remove(self) -> None:
        """Stop it, if it runs, and delete all that it has."""
        with suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> str:
        return f"{self.folder}/data"

    def _run(self, program: str, *arguments: str) -> None:
        found = binaries()
        assert found is not None, "PostgreSQL's server is not installed"
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_user, str(found / program), *arguments]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL)
