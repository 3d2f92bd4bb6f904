"""The fault campaign: a load of many studies, while whatever can break is broken.

`make soak` (or `python -m tests.soak`) sends studies from several DCMTK senders to a
node, has it deliver to two archives, and meanwhile kills, stops, fills and restarts
whatever there is, by a seeded plan. In the end it asks whether every series that
was acknowledged has exactly one current set of results in each archive.
"""
