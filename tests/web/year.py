"""A ledger as a node leaves it behind that has judged for a year, and been told by readers."""

import random
import time

from ml.labels import LABELS, SUBTYPES, Label
from node.ledger import DAY_S, JudgingModel, Ledger, Reading, ReadingSource
from tests.conftest import Clock
from tests.node.test_feedback_ledger import judge


def judged_for_a_year(ledger: Ledger, model: JudgingModel) -> None:
    """Of what was flagged most was labelled, of the rest a tenth."""
    chance, clock = random.Random(11), Clock()
    ledger.clock = clock
    for n in range(240):
        clock.now = time.time() - (240 - n) * 1.5 * DAY_S
        bleeds = chance.random() < 0.35
        flags = chance.random() < (0.9 if bleeds else 0.12)
        kind = chance.choice(SUBTYPES)
        series = f"1.2.{n}"
        judge(ledger, series, *([Label.ANY, kind] if flags else []), model=model, study=f"1.{n}")
        if chance.random() < (0.8 if flags else 0.3):
            findings = {Label.ANY: True, kind: True} if bleeds else dict.fromkeys(LABELS, False)
            ledger.enter_reading(
                Reading(f"1.{n}", series, ReadingSource.CSV, "anna", clock.now, findings)
            )
    ledger.clock = time.time
