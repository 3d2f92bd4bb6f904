"""How urgent is a series? A pure function of who sent it and of its headers."""

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset

from node.facts import SeriesFacts
from node.ledger import Priority
from node.settings import PriorityRule


def priority_of(
    senders: Iterable[str], headers: Sequence[Dataset], rules: Sequence[PriorityRule]
) -> Priority:
    """What the first rule that fits says; routine where none does.

    Parameters
    ----------
    senders : iterable of str
        AE title that each instance came from.
    headers : sequence of pydicom.Dataset
    rules : sequence of PriorityRule
    """
    if rules:
        facts = SeriesFacts.of(senders, headers)
        for rule in rules:
            if facts.meet(rule):
                return Priority(rule.name, rule.head_start_min * 60)
    return Priority()
