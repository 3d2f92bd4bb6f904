"""What somebody asks for is fetched at once: a study, an accession number, a range of days."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Protocol

from node.errors import SourceError
from node.fetch.fetcher import Fetcher, Outcome
from node.fetch.source import FoundSeries, Query
from node.ledger import FETCH_DONE, Fetch, FetchState


class Watching(Protocol):
    """Is told how far it has come."""

    def asks(self, query: Query, index: int) -> None:
        """One of the questions is asked now."""

    def found(self, series: int) -> None:
        """So many series are the answer."""

    def came(self, found: FoundSeries, images: int) -> None:
        """So many images of a series were given by now."""

    def ended(self, outcome: Outcome) -> None:
        """One of the series has come to an end."""

    def rests(self, error: SourceError, pause_s: float) -> None:
        """The source is ill: it is asked again after a while."""


def by_day(first: date, last: date) -> list[Query]:
    """A question for each day, so that a source has few answers to give at once."""
    days = (last - first).days + 1
    every = (first + timedelta(days=number) for number in range(days))
    return [Query(first=day, last=day) for day in every]


def fetch_all(
    fetcher: Fetcher,
    queries: list[Query],
    watching: Watching,
    *,
    is_any: bool = False,
    is_dry_run: bool = False,
) -> Iterator[Outcome]:
    """Ask, and fetch what is found, one series after the other.

    Nothing is planned ahead: stopped and begun again it asks the same, and passes over what is
    done. What it has left the ledger knows. While days are fetched a source that is ill in
    between is waited for.

    Parameters
    ----------
    fetcher : Fetcher
    queries : list of Query
    watching : Watching
    is_any : bool
        Whatever the rules say.
    is_dry_run : bool
        Only say what would be done.

    Raises
    ------
    SourceError
        If the source is ill.
    """
    for index, query in enumerate(queries):
        watching.asks(query, index)
        ended: set[FoundSeries] = set()
        failures = 0
        while True:
            before = len(ended)
            try:
                series = [found for found in fetcher.find(query) if found not in ended]
                seen = fetcher.seen(series)
                watching.found(len(series))
                for found in series:
                    row = seen.get((found.study_instance_uid, found.series_instance_uid))
                    outcome = _foregone(fetcher, found, row, query, is_any=is_any)
                    if outcome is None and is_dry_run:
                        outcome = Outcome(found, *fetcher.foresee(found))
                    if outcome is None:
                        outcome = fetcher.fetch_now(found, row, _of(found, watching))
                    ended.add(found)
                    watching.ended(outcome)
                    yield outcome
                break
            except SourceError as error:
                failures = failures + 1 if len(ended) == before else 1
                pause_s = fetcher.pause_after(failures)
                was_well = index > 0 or ended
                if query.first is None or not was_well or pause_s is None:
                    raise
                watching.rests(error, pause_s)
                fetcher.pause(pause_s)


def _foregone(
    fetcher: Fetcher, found: FoundSeries, row: Fetch | None, query: Query, *, is_any: bool
) -> Outcome | None:
    """What becomes of a series that is not fetched whatever the ledger has of it, or None."""
    refusal = None if is_any else fetcher.why_not(found)
    if refusal is not None:
        return Outcome(found, FetchState.REFUSED, refusal)
    is_done = row is not None and row.state in FETCH_DONE and row.counted == found.images
    if row is not None and is_done and query.first is not None:
        return Outcome(found, FetchState.KNOWN, f"it was {row.state} before")
    return None


def _of(found: FoundSeries, watching: Watching) -> Callable[[int], None]:
    return lambda images: watching.came(found, images)
