"""An administrator's first day, by the commands of the documents: set up, see, break, mend."""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.broker import free_port
from tests.e2e.conftest import Series
from tests.e2e.peers import Orthanc, start_orthanc, storescu, wait_for

pytestmark = pytest.mark.long

ICHNODE = [sys.executable, "-m", "node"]


def run(*arguments: str | Path, folder: Path, check: bool = True) -> str:
    done = subprocess.run(
        [*ICHNODE, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def asked(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


def test_set_up_see_break_and_mend(tmp_path: Path, new_series: Callable[..., Series]) -> None:
    first, second = new_series(), new_series()
    pacs = Orthanc(free_port(), free_port())
    port, web = free_port(), free_port()

    # Set up: init, and what it does not ask about.
    run(
        *("init", "--yes", "--home", tmp_path / "home", "--port", str(port)),
        *("--destination", f"PACS@127.0.0.1:{pacs.port}", "--peer", "SCANNER@127.0.0.1"),
        folder=tmp_path,
    )
    file = tmp_path / "ichnode.toml"
    text = re.sub(r"# port = 8042 +#", f"port = {web}  #", file.read_text())
    text = re.sub(r"# first_pause_s = 5 +#", "first_pause_s = 1  #", text)
    text = re.sub(r"# longest_pause_s = 900 +#", "longest_pause_s = 2  #", text)
    file.write_text(text)

    # The doctor says that the archive is not there yet, and what to do.
    found = {
        f["subject"]: f
        for f in json.loads(run("check", "--json", folder=tmp_path, check=False))["findings"]
    }
    assert found["destination pacs"]["health"] == "bad"
    assert "is it up" in found["destination pacs"]["cure"]

    orthanc = start_orthanc(tmp_path / "orthanc", pacs)
    log = (tmp_path / "node.log").open("wb")
    node = subprocess.Popen([*ICHNODE, "up"], cwd=tmp_path, stdout=log, stderr=log)
    page = f"http://127.0.0.1:{web}"
    try:

        def is_ready() -> bool:
            assert node.poll() is None, (tmp_path / "node.log").read_text()
            try:
                return b"ichnode_workers{" in asked(f"{page}/metrics") and bool(
                    asked(f"{page}/health/ready")
                )
            except OSError:
                return False

        wait_for(is_ready, 90, "the node to be ready")
        doctor = json.loads(run("check", "--json", folder=tmp_path))["findings"]
        assert [f for f in doctor if f["health"] == "bad"] == []

        # A series comes, and goes; the page and the archive have it.
        assert storescu(port, first.files).returncode == 0

        def states() -> dict[str, Any]:
            rows = json.loads(asked(f"{page}/api/series"))["series"]
            return {row["series_instance_uid"]: row["state"] for row in rows}

        wait_for(lambda: states().get(first.series) == "delivered", 60, "the first series")
        assert len(pacs.instances_of(first.study)) > len(first.files)
        assert first.series.encode() in asked(f"{page}/")

        # The archive breaks; metrics, status and the doctor say so.
        orthanc.kill()
        orthanc.wait()
        assert storescu(port, second.files).returncode == 0
        wait_for(lambda: states().get(second.series) == "reported", 60, "the second series")

        def metric(name: str) -> float:
            rows = re.findall(
                rf"^{name}{{[^}}]*}} ([\d.e+]+)$", asked(f"{page}/metrics").decode(), re.M
            )
            return sum(map(float, rows))

        wait_for(lambda: metric("ichnode_destination_failures") >= 1, 30, "a failure to show")
        assert metric("ichnode_destination_waiting") > 0
        assert "objects wait for pacs" in run("status", folder=tmp_path)

        # It comes back; nothing is to be done but to wait.
        orthanc = start_orthanc(tmp_path / "orthanc", pacs)
        wait_for(lambda: states().get(second.series) == "delivered", 60, "the recovery")
        wait_for(lambda: metric("ichnode_destination_waiting") == 0, 30, "metrics to be calm")
        assert len(pacs.instances_of(second.study)) > len(second.files)
    finally:
        node.terminate()
        node.wait(60)
        orthanc.terminate()
        orthanc.wait(30)
        log.close()

    # What was made is shown to whoever asks afterwards; purge leaves it until it is old.
    assert "delivered" in run("show", second.series, folder=tmp_path)
    assert "nothing to remove" in run("purge", "--dry-run", folder=tmp_path)
