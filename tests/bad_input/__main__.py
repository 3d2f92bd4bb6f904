"""`make bad-input`: the table of bad input, from the corpus into docs/bad-input.md."""

from collections.abc import Iterator
from pathlib import Path

from ml import limits
from tests.bad_input.case import SLICES, Case, End
from tests.bad_input.corpus import CASES, GROUPS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bad-input.md"
_TEST = "../tests/bad_input/test_corpus.py"

_INTRODUCTION = f"""\
# What becomes of bad input

Written by `make bad-input` from the corpus in tests/bad_input: {{count}} cases. Each is a
head CT of {SLICES} slices that is broken, hostile or odd in one way; its files go through the
functions that the receiver asks before it answers a C-STORE, and through `ichnode analyze`.

- **C-STORE**: *taken* is answered with Success, after the file is on disk. *Refused* is
  answered with a failure (Cannot understand, C000); the file goes to the quarantine with the
  reason.
- **Outcome**: *analyzed*; *analyzed, with a warning* that goes into every report and names
  what was left out; *skipped* with a reason, or *failed* with one, both of which
  `ichnode status` shows; *no series found* where no file can be read: what of it a node has
  taken, it skips as `geometry`.

A file that is refused at the door is not part of the series on a node; `ichnode analyze`
passes it over, or judges it where only its identifiers are bad.

Each row is a test: `pytest "tests/bad_input/test_corpus.py" -k NAME`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _INTRODUCTION.format(count=len(CASES))
    for title, cases in GROUPS.items():
        yield f"## {title}\n"
        yield "| case | C-STORE | outcome | test |"
        yield "|---|---|---|---|"
        yield from map(_row, cases)
        yield ""
    yield from _limits()


def _limits() -> Iterator[str]:
    """What may be asked for at most, from where it is set."""
    yield "## Limits\n"
    yield (
        "What a file may ask for at most, checked before memory is taken. Compressed frames are "
        "decoded in a process of their own, which the kernel ends at its limits; the frame is "
        "then left out by name. The limits of the port are in [security.md](security.md).\n"
    )
    yield "| limit | at most |"
    yield "|---|---|"
    yield f"| memory for the header of a file | {limits.MOST_HEADER >> 20} MiB |"
    yield f"| memory for all headers of a series | {limits.MOST_HEADERS >> 20} MiB |"
    yield f"| header of a deflated file, inflated | {limits.MOST_INFLATED_HEADER >> 20} MiB |"
    yield f"| deflated file, inflated | {limits.MOST_INFLATED >> 20} MiB |"
    yield f"| pixels of a frame | {limits.MOST_PIXELS:,} |"
    yield f"| pixels of a series | {limits.MOST_VOXELS:,} |"
    yield f"| memory to decode a compressed frame | {limits.MOST_CODEC_MEMORY >> 20} MiB |"
    yield f"| processor time to decode a compressed frame | {limits.MOST_CODEC_SECONDS} s |"


def _row(case: Case) -> str:
    outcome = case.end.value
    if case.says:
        outcome += f": {_plain(case.says)}"
    return f"| {_plain(case.what)} | {_door(case)} | {outcome} | [{_plain(case.name)}]({_TEST}) |"


def _door(case: Case) -> str:
    if case.refused == 0:
        return "nothing to take" if case.name == "no-files" else "taken"
    return "the bad file refused" if case.refused == 1 else "refused"


def _plain(text: str) -> str:
    """Text as Markdown shows it in a table."""
    escaped = text.encode("unicode_escape").decode()
    return escaped.replace("\\\\", "\\").replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page())
    ends = {end: sum(case.end is end for case in CASES) for end in End}
    print(f"{len(CASES)} cases: " + ", ".join(f"{n} {end.value}" for end, n in ends.items()))
