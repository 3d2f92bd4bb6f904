"""All cases of bad input."""

from tests.bad_input import files, headers, pixels, series
from tests.bad_input.case import Case

GROUPS: dict[str, tuple[Case, ...]] = {
    "Files": tuple(files.cases()),
    "Headers": tuple(headers.cases()),
    "Pixels": tuple(pixels.cases()),
    "Series": tuple(series.cases()),
}
CASES = tuple(case for group in GROUPS.values() for case in group)
