"""Training material on disk: series as arrays, and the tables that say what they are.

tables.py    the store as it is read and written
origin.py    where images come from
headers.py   every file's header, read once
bake.py      one series to one array of HU
bake_all.py  all of them, resumable
slabs.py     thin slices to thick ones
account.py   what came in, what did not, and why
folds.py     patients dealt to folds
"""

from training.store.tables import (
    ARRAYS,
    SERIES,
    SLICES,
    UNKNOWN,
    Series,
    Store,
    array_path,
    load_store,
    write_store,
)

__all__ = [
    "ARRAYS",
    "SERIES",
    "SLICES",
    "UNKNOWN",
    "Series",
    "Store",
    "array_path",
    "load_store",
    "write_store",
]
