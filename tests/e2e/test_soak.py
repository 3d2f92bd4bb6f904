"""The fault campaign in short: what `make soak` does with 200 faults and more time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.faults import OF_POSTGRESQL, Fault, plan
from tests.soak.load import acknowledged_in

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]

FAULTS = 8
LOG = """\
I: Requesting Association
I: Sending file: /series/1.dcm
I: Received Store Response (Success)
I: Sending file: /series/2.dcm
I: Received Store Response (Refused: OutOfResources)
I: Sending file: /series/3.dcm
E: Store SCU Failed: 0006:020e DIMSE Failed to send message
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("ledger", ["sqlite", "postgresql"])
def test_no_result_is_lost_or_twice_whatever_breaks(ledger: str) -> None:
    command = [sys.executable, "-m", "tests.soak", "--json", "--ledger", ledger]
    done = subprocess.run(
        [*command, "--faults", str(FAULTS), "--minutes", "0.3", "--most-open", "4", "--seed", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert done.returncode == 0, done.stderr[-6000:]
    (leg,) = json.loads(done.stdout)["legs"]
    assert sum(leg["faults"].values()) == FAULTS
    assert leg["counts"]["series delivered"] == leg["counts"]["series acknowledged"] > 0
    assert leg["counts"]["lost"] == leg["counts"]["twice"] == 0


def test_a_plan_is_a_function_of_its_seed_and_takes_every_kind_as_often() -> None:
    planned = plan("7", 2 * len(Fault), 10, list(Fault))

    assert planned == plan("7", 2 * len(Fault), 10, list(Fault))
    assert planned != plan("8", 2 * len(Fault), 10, list(Fault))
    assert sorted(p.fault for p in planned) == sorted(2 * list(Fault))
    assert {p.fault for p in plan("7", 40, 10, OF_POSTGRESQL)} == OF_POSTGRESQL


def test_only_what_was_answered_with_success_counts_as_acknowledged() -> None:
    assert acknowledged_in(LOG) == ["/series/1.dcm"]
