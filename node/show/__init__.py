"""How what the node knows looks in the terminal and in JSON: both side by side.

series.py     series as listed, and one with all that is known of it
slices.py     what a model says of the slices of a series
shadow.py     what a second model says, plainly apart
peers.py      destinations and sources
fetching.py   what became of series at their sources
notifying.py  notifications
routes.py     which route fits, and why not the others
room.py       the disk, and what can be removed from it
feedback.py   how often readers say what a model said
checking.py   what the doctor finds
analyzed.py   files that were judged without a node
common.py     what several print alike
"""
