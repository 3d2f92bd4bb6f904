"""Station 1 the other way round: ask a PACS for new head CT, and fetch them.

source.py       what a source is, whatever it speaks
association.py  one that speaks DIMSE: C-FIND, C-MOVE, C-GET
incoming.py     what it sends over the association that asks
web.py          one that speaks DICOMweb: QIDO-RS, WADO-RS
opening.py      from the configuration to a source
rules.py        which series is fetched, when, and what came of it
pace.py         how fast
fetcher.py      one source: what is new, what is wanted, what came
poller.py       sources that are asked again and again
by_hand.py      what somebody asks for
"""

from node.fetch.by_hand import Watching, by_day, fetch_all
from node.fetch.fetcher import Fetcher, Outcome, StoppedError
from node.fetch.opening import open_source
from node.fetch.pace import Pace
from node.fetch.poller import Poller
from node.fetch.source import Fetched, FoundSeries, FoundStudy, Query, Source

__all__ = [
    "Fetched",
    "Fetcher",
    "FoundSeries",
    "FoundStudy",
    "Outcome",
    "Pace",
    "Poller",
    "Query",
    "Source",
    "StoppedError",
    "Watching",
    "by_day",
    "fetch_all",
    "open_source",
]
