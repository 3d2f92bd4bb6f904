"""RSNA's flat folder of 750,000 files, sorted into labelled series."""

import zlib
from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from training.store.bake import Task
from training.store.headers import Header, Skipped, is_file_name


@dataclass(frozen=True)
class Sorted:
    """Files sorted into series.

    Parameters
    ----------
    tasks : tuple of Task
        One for each series.
    skipped : tuple of Skipped
        Files and series that are in none of them.
    unlabelled : tuple of Skipped
        Images that the label files do not name.
    keys : frozenset of str
        The labelled slices that have an image.
    size : int
        Bytes that the slices of all tasks take as int16.
    """

    tasks: tuple[Task, ...]
    skipped: tuple[Skipped, ...]
    unlabelled: tuple[Skipped, ...]
    keys: frozenset[str]
    size: int


def sort_series(headers: Iterable[Header], images: Path, labelled: Container[str]) -> Sorted:
    """Sort files into series, and leave out what cannot be learned from.

    The key of a label is the SOP Instance UID, which in RSNA's set is the name of
    the file as well; after a conversion that gave out valid UIDs only the latter
    may be left.

    Parameters
    ----------
    headers : iterable of Header
    images : pathlib.Path
        The folder that their paths start from.
    labelled : container of str
        The slices that have labels.

    Returns
    -------
    Sorted
    """
    skipped: list[Skipped] = []
    unlabelled: list[Skipped] = []
    groups: dict[str, list[tuple[Header, str]]] = defaultdict(list)
    keys: dict[str, str] = {}
    for header in headers:
        key = next((k for k in (header.sop_instance_uid, header.stem) if k in labelled), None)
        reason = _no_slice(header)
        if reason:
            skipped.append(Skipped("file", header.path, reason))
        elif key is None:
            unlabelled.append(Skipped("slice", header.path, "no labels"))
        elif key in keys:
            skipped.append(Skipped("file", header.path, f"the same slice as {keys[key]}"))
        else:
            keys[key] = header.path
            groups[header.series].append((header, key))
    tasks = []
    size = 0
    for name, members in sorted(groups.items()):
        problem = _no_series(name, [header for header, _ in members])
        if problem:
            skipped.append(Skipped("series", name, problem))
            continue
        tasks.append(_task(name, members, images))
        size += sum(2 * header.rows * header.columns for header, _ in members)
    return Sorted(tuple(tasks), tuple(skipped), tuple(unlabelled), frozenset(keys), size)


def _no_slice(header: Header) -> str:
    if header.modality not in ("CT", ""):
        return f"modality {header.modality}, not CT"
    if header.frames > 1:
        return f"{header.frames} frames in one file, which has but one label"
    if not (header.rows and header.columns):
        return "no image in it"
    if not header.series:
        return "no Series Instance UID"
    return ""


def _no_series(name: str, members: list[Header]) -> str:
    if not is_file_name(name):
        return "its identifier cannot name a file"
    patients = {header.patient for header in members}
    if len(patients) > 1:
        return f"{len(patients)} patients in one series: {', '.join(sorted(patients)[:3])}"
    return ""


def _task(name: str, members: list[tuple[Header, str]], images: Path) -> Task:
    first = members[0][0]
    told = repr([(h.path, h.size, h.modified, key) for h, key in members])
    return Task(
        name=name,
        signature=f"{zlib.crc32(told.encode(errors='replace')):08x}",
        # a patient without an identifier is at least never taken for another one
        patient=first.patient or first.study or name,
        study=first.study or name,
        paths=tuple(images / header.path for header, _ in members),
        keys={h.sop_instance_uid: key for h, key in members if h.sop_instance_uid != key},
    )
