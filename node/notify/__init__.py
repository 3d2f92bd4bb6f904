"""Telling people and systems that a series was flagged or has failed.

occurrence.py  what is told
words.py       as JSON, as mail, as HL7 v2: pure functions
ways.py        by webhook, SMTP and MLLP
notifier.py    what is due is told, again and again until it is taken
"""

from node.notify.notifier import Notifier
from node.notify.occurrence import rehearsal
from node.notify.ways import send

__all__ = ["Notifier", "rehearsal", "send"]
