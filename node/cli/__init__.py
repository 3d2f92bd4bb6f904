"""The command `ichnode`. Commands import what they need when they run: help is quick.

common.py    what all of them share
begin.py     demo, init, check, analyze
run.py       up, receive, dicomweb, work, web
fetch.py     poll, fetch
watch.py     status, show, retry, route, purge, notify
feedback.py  feedback: report, import, export, listen
"""

# isort: off
# In the order of the help.
from node.cli import begin, run, fetch, watch, feedback

# isort: on
from node.cli.common import app

__all__ = ["app", "begin", "feedback", "fetch", "main", "run", "watch"]


def main() -> None:
    """Run the command; the entry point of the package."""
    app(prog_name="ichnode")
