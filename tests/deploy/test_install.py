"""deploy/install, run for real into a folder: twice, over an older one, and away again."""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from typer.main import get_command

from node.cli import app
from node.settings import load_settings
from tests.deploy.tools import DEPLOY, ROOT, found

INSTALL = DEPLOY / "install"
UNITS = sorted(path.name for path in (DEPLOY / "systemd").glob("*.service"))
ENVIRONMENT = Path(sys.prefix)


def install(*arguments: object, script: Path = INSTALL, **environment: str) -> str:
    """Run the script by Debian's shell; what it printed."""
    done = subprocess.run(
        ["/bin/sh", str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def content(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder with its mode, those of the environment left out."""
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file() and "opt/ichnode" not in str(path)
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with an installation in it."""
    install("--root", tmp_path / "root", "--venv", ENVIRONMENT)
    return tmp_path / "root"


def test_all_that_a_service_needs_is_there(root: Path) -> None:
    assert set(content(root)) == {
        "etc/ichnode/ichnode.toml",
        "etc/ichnode/ichnode.toml.sample",
        "usr/local/bin/ichnode",
        *(f"etc/systemd/system/{unit}" for unit in UNITS),
    }
    assert (root / "var/lib/ichnode").stat().st_mode & 0o777 == 0o700
    assert (root / "etc/ichnode").stat().st_mode & 0o777 == 0o750
    version = subprocess.run(
        [root / "opt/ichnode/bin/ichnode", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("ichnode ")


def test_the_configuration_that_is_installed_is_one(root: Path) -> None:
    settings = load_settings(root / "etc/ichnode/ichnode.toml")

    assert str(settings.home) == "/var/lib/ichnode"
    assert settings.dicom.host == "127.0.0.1", "nobody is let in before somebody wants it"
    load_settings(root / "etc/ichnode/ichnode.toml.sample")


def test_a_second_time_changes_nothing_and_keeps_the_configuration(root: Path) -> None:
    config = root / "etc/ichnode/ichnode.toml"
    config.write_text('home = "/srv/ichnode"\n')
    before = content(root)

    said = install("--root", root, "--venv", ENVIRONMENT)

    assert content(root) == before
    assert "ichnode.toml is kept as it is" in said


def test_units_of_an_older_version_are_replaced(root: Path) -> None:
    unit = root / "etc/systemd/system/ichnode.service"
    unit.write_text("[Service]\nExecStart=/bin/false\n")

    install("--root", root, "--venv", ENVIRONMENT)

    assert unit.read_text() == (DEPLOY / "systemd/ichnode.service").read_text()


def test_a_dry_run_does_nothing_and_says_everything(tmp_path: Path) -> None:
    said = install("--dry-run", "--root", tmp_path / "root")

    assert not (tmp_path / "root").exists()
    for what in ("-m venv", "-m pip", "ichnode.toml", *UNITS):
        assert what in said


def test_what_is_uninstalled_leaves_configuration_and_data(root: Path) -> None:
    image = root / "var/lib/ichnode/image"
    image.touch()

    said = install("--root", root, "--uninstall")

    assert set(content(root)) == {
        "etc/ichnode/ichnode.toml",
        "etc/ichnode/ichnode.toml.sample",
        "var/lib/ichnode/image",
    }
    assert not (root / "opt/ichnode").exists()
    assert (ENVIRONMENT / "bin/python").exists(), "an environment of others is left alone"
    assert "Kept" in said


def test_the_environment_is_filled_from_the_checkout_and_again_by_an_upgrade(
    tmp_path: Path,
) -> None:
    checkout, root = tmp_path / "checkout", tmp_path / "root"
    for name in ("ml", "node", "training", "deploy"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, checkout / name, ignore=ignored)
    for name in ("pyproject.toml", "constraints.txt", "README.md"):
        shutil.copy(ROOT / name, checkout / name)
    # An environment in which all that ichnode stands on is there: nothing is fetched.
    environment = root / "opt/ichnode"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = root.glob("opt/ichnode/lib/python*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_COMPILE": "1"}

    install("--root", root, script=checkout / "deploy/install", **offline)
    assert (packages / "node" / "cli" / "__init__.py").exists()

    (checkout / "node" / "added.py").write_text("")
    (checkout / "node" / "summary.py").rename(checkout / "node" / "sums.py")
    install("--root", root, script=checkout / "deploy/install", **offline)
    assert (packages / "node" / "added.py").exists()
    assert not (packages / "node" / "summary.py").exists(), "what a version has no more is gone"
    where = subprocess.run(
        [environment / "bin/python", "-c", "import node; print(node.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={},
    )
    assert where.stdout.startswith(str(packages))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--rot", "x"), "unknown option"),
        (("--root",), "takes a value"),
        (("--root", "x", "--venv", "/usr"), "no ichnode in"),
    ],
)
def test_what_it_cannot_do_is_said(
    arguments: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["/bin/sh", str(INSTALL), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert done.returncode != 0
    assert complaint in done.stderr
    assert list(tmp_path.rglob("*.service")) == []


def test_systemd_finds_no_fault_in_the_units(root: Path, tmp_path: Path) -> None:
    tool = found("systemd-analyze")
    folder = tmp_path / "units"
    folder.mkdir()
    for unit in UNITS:  # with programs where this test has installed them
        text = (root / "etc/systemd/system" / unit).read_text()
        (folder / unit).write_text(text.replace("=/opt/ichnode/", f"={root}/opt/ichnode/"))

    done = subprocess.run(
        [tool, "verify", "--man=no", *sorted(map(str, folder.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    of_ours = [line for line in done.stderr.splitlines() if "ichnode" in line]
    assert of_ours == []


@pytest.mark.parametrize("unit", UNITS)
def test_units_let_their_processes_do_little(unit: str, root: Path) -> None:
    tool = found("systemd-analyze")
    name = unit.replace("@.", "@1.")
    done = subprocess.run(
        [tool, "security", "--offline=yes", "--no-pager", f"--root={root}", name],
        capture_output=True,
        text=True,
        check=False,
    )
    level = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)

    assert level is not None, done.stdout + done.stderr
    assert float(level[1]) <= 2.0, done.stdout


def test_units_run_commands_and_parts_that_there_are() -> None:
    commands = set(get_command(app).commands) | {"web"}  # type: ignore[attr-defined]
    for unit in UNITS:
        text = (DEPLOY / "systemd" / unit).read_text()
        (command,) = re.findall(r"^ExecStart=/opt/ichnode/bin/ichnode (\S+)", text, re.MULTILINE)
        assert command in commands, unit
