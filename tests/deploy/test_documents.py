"""The documents: links lead somewhere, nothing comes from elsewhere, what is named is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from node.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "deploy" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_is_built_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.glob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text()
        )
        assert loaded == [], page.name


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "conformance.md"],  # series are called ichnode, too
    ids=lambda page: page.name,
)
def test_commands_that_a_page_names_are_there(page: Path) -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"(?:`|^ {4}|bin/)ichnode ([a-z]+)\b", page.read_text(), re.MULTILINE))

    assert named <= commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_that_a_page_names_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^ {4})make ([a-z-]+)\b", page.read_text(), re.MULTILINE))

    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_tests_that_a_page_names_are_there(page: Path) -> None:
    rooms = "tests|node|ml|training|docs"
    named = re.findall(rf"`((?:{rooms})/[\w./-]+)(?:::(\w+))?`", page.read_text())

    for path, test in named:
        assert (ROOT / path).exists(), path
        if test:
            assert f"def {test}(" in (ROOT / path).read_text(), test


def test_every_page_says_what_a_reader_must_know_first() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "index.md"):
        assert "Not for clinical use" in page.read_text()[:1200]
