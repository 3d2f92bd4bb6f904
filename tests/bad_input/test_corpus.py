"""Every case of the corpus has the outcome that is stated of it."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from node.analyze import Analyzer
from node.settings import Settings
from tests.bad_input.__main__ import PAGE, page
from tests.bad_input.case import Case, End, encoded, good_images
from tests.bad_input.corpus import CASES
from tests.bad_input.node import go

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom tells of what it stumbles over


@pytest.fixture(scope="module")
def good() -> list[bytes]:
    return encoded(good_images())


@pytest.fixture(scope="module")
def analyzer() -> Iterator[Analyzer]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # twelve small slices: more are slower
    yield Analyzer.load(Settings())
    torch.set_num_threads(threads)


def test_the_good_series_that_all_are_made_from_is_judged_without_a_warning(
    good: list[bytes], tmp_path: Path, analyzer: Analyzer
) -> None:
    found = go(good, tmp_path, analyzer)
    assert (found.end, found.says, found.refusals) == (End.ANALYZED, "", ())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_ends_as_stated(
    case: Case, good: list[bytes], tmp_path: Path, analyzer: Analyzer
) -> None:
    contents = case.make(good_images())
    found = go(contents, tmp_path, analyzer if case.is_judged else None)

    assert contents != good
    assert found.end is case.end, found
    assert case.says in found.says
    assert len(found.refusals) == case.refused, found.refusals


def test_every_case_has_a_name_of_its_own() -> None:
    assert max(Counter(case.name for case in CASES).values()) == 1


def test_the_page_is_what_the_corpus_says() -> None:
    assert PAGE.read_text() == page(), "run `make bad-input`"
