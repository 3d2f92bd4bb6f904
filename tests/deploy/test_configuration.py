"""The sample configuration is what it says: the defaults, and one destination."""

from pathlib import Path

from node.settings import Settings, load_settings

SAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "ichnode.toml"


def test_the_sample_shows_the_defaults() -> None:
    sample = load_settings(SAMPLE)

    assert [destination.name for destination in sample.destinations] == ["pacs"]
    assert sample.model_dump(exclude={"destinations"}) == Settings().model_dump(
        exclude={"destinations"}
    )


def test_the_sample_names_every_section() -> None:
    text = SAMPLE.read_text()
    sections = set(Settings.model_fields) - {"home", "destinations"}

    assert {name for name in sections if f"[{name}]" in text} == sections
