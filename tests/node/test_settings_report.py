"""The section [report]: what it takes, and the one line for each thing that it does not."""

from pathlib import Path

import pytest

from node.settings import (
    CaptureForm,
    Compression,
    Notices,
    ReportForm,
    ReportSettings,
)
from tests.node.configuration import complaint, load

BAD = [
    ("structured_report", "basic", ("'comprehensive-3d'", "'comprehensive'", "'enhanced'")),
    ("structured_report", "Enhanced", ("'enhanced'",)),
    ("capture", "video", ("'single-frame'", "'multi-frame'")),
    ("compression", "jpeg", ("'none'", "'rle'", "'jpeg-ls'", "'jpeg-2000'")),
    ("not_analyzed", "some", ("'none'", "'failed'", "'all'")),
    ("text_report", "perhaps", ("boolean",)),
    ("key_objects", "2", ("boolean",)),
    ("presentation_state", "softcopy", ("boolean",)),
    ("evidence_maps", "grad-cam", ("boolean",)),
]
"""A key, a value that it does not take, and what it takes."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ichnode.toml lies in the current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_every_bad_value_that_is_tried_belongs_to_a_key_and_every_key_is_tried() -> None:
    assert {key for key, _, _ in BAD} == set(ReportSettings.model_fields)


def test_every_form_is_taken_by_its_name(tmp_path: Path) -> None:
    for key, forms in (
        ("structured_report", ReportForm),
        ("capture", CaptureForm),
        ("compression", Compression),
        ("not_analyzed", Notices),
    ):
        for form in forms:
            report = load(f"[report]\n{key} = '{form.value}'", tmp_path).report
            assert getattr(report, key) is form


def test_the_environment_goes_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICHNODE_REPORT__EVIDENCE_MAPS", "true")
    monkeypatch.setenv("ICHNODE_REPORT__COMPRESSION", "rle")
    report = load("[report]\ncompression = 'jpeg-ls'\nkey_objects = true", tmp_path).report
    assert report == ReportSettings(
        evidence_maps=True, compression=Compression.RLE, key_objects=True
    )


@pytest.mark.parametrize(("key", "value", "parts"), BAD)
def test_a_value_that_is_not_taken_is_named_in_the_file(
    tmp_path: Path, key: str, value: str, parts: tuple[str, ...]
) -> None:
    message = complaint(f"[report]\n{key} = '{value}'", tmp_path)
    assert message.startswith(f"{tmp_path}/my.toml: report.{key}: got '{value}', should ")
    assert all(part in message for part in parts)


@pytest.mark.parametrize(("key", "value", "parts"), BAD)
def test_a_value_that_is_not_taken_is_named_in_the_environment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    value: str,
    parts: tuple[str, ...],
) -> None:
    name = f"ICHNODE_REPORT__{key.upper()}"
    monkeypatch.setenv(name, value)
    message = complaint("[report]", tmp_path)
    assert message.startswith(f"environment {name}: report.{key}: got '{value}', should ")
    assert all(part in message for part in parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[report]\nevidence_map = true", ("unknown key report.evidence_map", "evidence_maps?")),
        ("[report]\npdf = true", ("unknown key report.pdf", "known: structured_report, ")),
        ("[repport]\ncapture = 'x'", ("unknown key repport", "did you mean report?")),
        ("report = 'all'", ("report: got 'all'", "dictionary")),
        ("[report]\ncompression = 5", ("report.compression: got 5", "'none'")),
        ("[report]\nstructured_report = true", ("report.structured_report: got True",)),
        ("[report]\ncapture = ['single-frame']", ("report.capture: got ['single-frame']",)),
        ("[report]\nevidence_maps = []", ("report.evidence_maps: got []", "boolean")),
    ],
)
def test_a_key_that_is_unknown_or_of_another_type_is_named_in_the_file(
    tmp_path: Path, text: str, parts: tuple[str, ...]
) -> None:
    message = complaint(text, tmp_path)
    assert message.startswith(f"{tmp_path}/my.toml: ")
    assert all(part in message for part in parts)


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("ICHNODE_REPORT__CAPTRUE", "multi-frame", ("unknown key report.captrue", "capture?")),
        ("ICHNODE_REPORTS__CAPTURE", "multi-frame", ("unknown variable", "ICHNODE_REPORT?")),
        ("ICHNODE_REPORT", '{"compression": "zip"}', ("report.compression: got 'zip'", "'rle'")),
        ("ICHNODE_REPORT", "multi-frame", ("got 'multi-frame', takes JSON",)),
    ],
)
def test_a_variable_that_is_unknown_or_of_another_type_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, parts: tuple[str, ...]
) -> None:
    monkeypatch.setenv(name, value)
    message = complaint("", tmp_path)
    assert name in message
    assert all(part in message for part in parts)
