"""The way of a case through the node's own functions, without a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml.series import load_volume
from node.analyze import Analyzer
from node.assemble import look_at
from node.errors import RefusedInstance
from node.headers import read_headers
from node.offline import Outcome, judge_series, scan
from node.reading import read_identity
from node.settings import Settings
from tests.bad_input.case import End


@dataclass(frozen=True)
class Found:
    """What became of a case.

    Parameters
    ----------
    end : End
    says : str
        Reason and warnings.
    refusals : tuple of str
        Why C-STORE takes a file not.
    """

    end: End
    says: str
    refusals: tuple[str, ...]


def go(contents: Sequence[bytes], folder: Path, analyzer: Analyzer | None) -> Found:
    """Knock at the door with each file of a series, and judge all of them.

    Parameters
    ----------
    contents : sequence of bytes
        The files.
    folder : pathlib.Path
        Empty.
    analyzer : Analyzer, optional
        Without it the series is only read, put in order and decoded.
    """
    for number, content in enumerate(contents):
        (folder / f"{number:05d}.dcm").write_bytes(content)
    refusals = tuple(_refusals(contents))
    if analyzer is None:
        return Found(_read(sorted(folder.iterdir())), "", refusals)
    outcomes = [judge_series(found, analyzer, Settings(), None) for found in scan(folder).series]
    return Found(
        _worst(outcomes),
        " | ".join(text for o in outcomes for text in (o.reason or "", *o.warnings) if text),
        refusals,
    )


def _read(files: Sequence[Path]) -> End:
    """Do all that is done with a series before the model sees it."""
    series = read_headers(files)
    verdict = look_at(series, Settings().eligibility)
    assert series.arrangement is not None and verdict.reason is None
    volume = load_volume(series.arrangement)
    return End.WARNED if verdict.warnings or volume.warnings else End.ANALYZED


def _refusals(contents: Sequence[bytes]) -> list[str]:
    found = []
    for content in contents:
        try:
            read_identity(content)
        except RefusedInstance as refusal:
            found.append(str(refusal))
    return found


def _worst(outcomes: Sequence[Outcome]) -> End:
    ends = {_end(outcome) for outcome in outcomes}
    order = (End.FAILED, End.SKIPPED, End.WARNED, End.ANALYZED)
    return next((end for end in order if end in ends), End.UNREADABLE)


def _end(outcome: Outcome) -> End:
    if outcome.failed:
        return End.FAILED
    if outcome.analysis is None:
        return End.SKIPPED
    return End.WARNED if outcome.warnings else End.ANALYZED
