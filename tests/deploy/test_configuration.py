"""What the repository says of the configuration is what the settings model says."""

from pathlib import Path

from node.settings import Settings, load_settings
from node.settings.__main__ import PAGE, SAMPLE, sample
from node.settings.reference import as_markdown, as_toml

ROOT = Path(__file__).resolve().parents[2]


def test_the_sample_is_the_defaults_and_one_destination() -> None:
    loaded = load_settings(ROOT / SAMPLE)

    assert [destination.name for destination in loaded.destinations] == ["pacs"]
    without = {"destinations", "home"}
    assert loaded.model_dump(exclude=without) == Settings().model_dump(exclude=without)


def test_the_sample_and_the_page_are_made_from_the_settings() -> None:
    """`make reference` makes them anew."""
    assert (ROOT / SAMPLE).read_text() == as_toml(sample())
    assert (ROOT / PAGE).read_text() == as_markdown()
