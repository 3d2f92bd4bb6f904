"""Alembic, as the node runs it."""

import threading

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from node.ledger.migrations import FOLDER

_ALONE = threading.Lock()
"""What steps are made of belongs to the process, not to a connection."""


def run(connection: sa.Connection) -> None:
    """Take every step that a ledger lacks."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _ALONE:
        command.upgrade(config, "head")
