"""How the node is: disk, queues, workers, destinations, sources, model, series.

records.py     what a look finds, as values
background.py  what takes long: workers, folders, C-ECHO
look.py        one look at everything

Nothing here brings PyTorch: a process that only looks starts quickly and stays small.
"""

from node.vitals.background import Background
from node.vitals.look import (
    look,
    look_at_broker,
    look_at_destinations,
    look_at_disk,
    look_at_model,
    look_at_sources,
    waits_since,
)
from node.vitals.records import GPU, Disk, Echo, Folder, Vitals, WaitingQueue, WorkerState

__all__ = [
    "GPU",
    "Background",
    "Disk",
    "Echo",
    "Folder",
    "Vitals",
    "WaitingQueue",
    "WorkerState",
    "look",
    "look_at_broker",
    "look_at_destinations",
    "look_at_disk",
    "look_at_model",
    "look_at_sources",
    "waits_since",
]
