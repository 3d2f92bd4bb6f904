"""docs/security.md names tests that exist, and the table has none without a test or a reason."""

import ast
import re
from pathlib import Path

from node.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def threats() -> list[list[str]]:
    """The cells of each row of the table of threats."""
    _, _, table = PAGE.partition("| threat | defence | shown by |\n")
    rows = table.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_page_names_exists() -> None:
    named = TEST.findall(PAGE)

    assert len(named) > 40
    assert [f"{file}::{name}" for file, name in named if not (ROOT / file).is_file()] == []
    assert [
        f"{file}::{name}" for file, name in named if name and name not in functions_in(ROOT / file)
    ] == []


def test_every_threat_has_a_test() -> None:
    without = [threat for threat, _, shown in threats() if not TEST.search(shown)]

    assert len(threats()) > 20
    assert without == ["A package with a known fault"]  # it takes a connection


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE)

    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_the_sample_of_tls_is_one_that_is_taken(tmp_path: Path) -> None:
    sample = PAGE.partition("## TLS in short\n")[2].partition("\n\nDCMTK")[0]
    file = tmp_path / "ichnode.toml"
    file.write_text(sample)
    settings = load_settings(file)

    assert settings.dicom.tls.is_on
    assert settings.destinations[0].tls
    assert settings.peer("CT1") is not None
