"""The history of the ledger's tables, and how a ledger is brought to its end.

env.py      lets Alembic run on a connection of the node's
steps.py    what steps are made of
versions/   the steps, each named by its number and what it is for

A change of `schema.py` needs a step here: a test compares what the steps make with it.
Nodes of the version before may still write while a step runs: it adds, and takes away only
what they can do without.
"""

from pathlib import Path

FOLDER = Path(__file__).parent


def revisions() -> list[str]:
    """Names of all steps, in order: each is a revision of the ledger."""
    return sorted(step.stem for step in (FOLDER / "versions").glob("[0-9]*.py"))
