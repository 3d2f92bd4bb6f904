"""From a table of the configuration to a source that can be asked."""

from node.fetch.association import PacsSource
from node.fetch.source import Source
from node.fetch.web import WebSource
from node.settings import Settings, SourceSettings


def open_source(settings: Settings, source: SourceSettings) -> Source:
    """A source as its table says; nothing is asked of it yet."""
    return WebSource(settings, source) if source.is_web else PacsSource(settings, source)
