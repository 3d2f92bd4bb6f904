"""Write what the repository says of the configuration: its page and the sample.

``python -m node.settings``, in the root of the repository.
"""

from pathlib import Path

from node.settings import Destination, Settings
from node.settings.reference import as_markdown, as_toml

PAGE = Path("docs/configuration.md")
SAMPLE = Path("deploy/ichnode.toml")


def sample() -> Settings:
    """The defaults, with one destination."""
    pacs = Destination(name="pacs", ae_title="PACS", host="10.0.0.5", port=104)
    return Settings(home=Path("/var/lib/ichnode"), destinations=(pacs,))


if __name__ == "__main__":
    PAGE.write_text(as_markdown(), encoding="utf-8")
    SAMPLE.write_text(as_toml(sample()), encoding="utf-8")
