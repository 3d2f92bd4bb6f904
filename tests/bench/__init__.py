"""``make bench``: how fast the node is, beside its peers and its limits, as ratios.

Each module measures one kind of work and gives `tests.bench.row.Row` values; `SUBJECTS`
in `__main__` lists them. A peer or a limit is measured in the same run, turn by turn with
the node (`tests.bench.turns`): absolute times of a shared machine mean little.
"""
