"""``python -m node`` is ``ichnode``."""

from node.cli import main

main()
