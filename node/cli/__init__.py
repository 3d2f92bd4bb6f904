"""The command `ichnode`. Commands import what they need when they run: help is quick.

common.py  what all of them share
begin.py   demo, init, check, analyze
run.py     up, receive, work, web
fetch.py   poll, fetch
watch.py   status, show, retry, purge, notify
"""

from node.cli import begin, fetch, run, watch
from node.cli.common import app

__all__ = ["app", "begin", "fetch", "main", "run", "watch"]


def main() -> None:
    """Run the command; the entry point of the package."""
    app(prog_name="ichnode")
