"""A small synthetic head CT with a judgement, and the real series where they are."""

from collections.abc import Callable
from pathlib import Path

import pytest

from node.report import ResultObject
from tests import cases
from tests.cases import Case


@pytest.fixture(scope="session")
def make_case() -> Callable[..., Case]:
    """A function that makes a case."""
    return cases.make_case


@pytest.fixture(scope="session")
def case(make_case: Callable[..., Case]) -> Case:
    return make_case()


@pytest.fixture(scope="session")
def results(case: Case, tmp_path_factory: pytest.TempPathFactory) -> list[ResultObject]:
    """The results of the plain case."""
    return case.build(tmp_path_factory.mktemp("results"))


@pytest.fixture(
    scope="session",
    params=["ge_hispeed_tilted_28", "cq500_intraparenchymal_30", "cq500_negative_30"],
)
def real_case(
    request: pytest.FixtureRequest, real_series: Callable[[str], list[Path]]
) -> cases.Case:
    """A few slices of a real series, judged by nobody."""
    return cases.real_case(real_series(request.param)[:6])
