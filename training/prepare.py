"""Turn DICOM series and a label file into arrays that train fast.

Series are read, ordered and turned into HU by `ml.series`, as the node does it.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ml.errors import SeriesError
from ml.frames import read_frames, read_header
from ml.series import arrange, load_volume
from training import cli
from training.data import SOURCE, Series, read_labels, write_baked
from training.errors import TrainingError
from training.jobs import mapped


def group_series(images: Path) -> dict[tuple[str, str], list[Path]]:
    """Sort files by the series they say they belong to.

    Returns
    -------
    dict of tuple of 2 str to list of pathlib.Path
        From patient and Series Instance UID to files.
    """
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(images.rglob("*.dcm")):
        header = read_header(path)
        key = (str(header.get("PatientID", "")), str(header.get("SeriesInstanceUID", "")))
        groups.setdefault(key, []).append(path)
    if not groups:
        raise TrainingError(f"{images}: no *.dcm files in it")
    return groups


def bake(key: tuple[str, str], paths: list[Path], out: Path) -> tuple[Series, list[str]]:
    """Write the array of one series; its labels are not known yet."""
    patient, name = key
    try:
        frames = [frame for path in paths for frame in read_frames(read_header(path), path)]
        volume = load_volume(arrange(frames))
    except SeriesError as error:
        raise TrainingError(f"series {name} ({paths[0].parent}): {error}") from error
    target = out / "hu" / f"{name}.npy"
    np.save(target, volume.hu, allow_pickle=False)
    series = Series(
        name=name,
        patient=patient,
        sop_instance_uids=tuple(s.sop_instance_uid for s in volume.slices),
        positions_mm=tuple(s.position_mm for s in volume.slices),
        labels=np.zeros((len(volume), 6), dtype=np.uint8),
        path=target,
    )
    return series, list(volume.warnings)


def prepare(images: Path, labels: Path, out: Path, jobs: int) -> None:
    """Bake every series below `images`.

    Raises
    ------
    TrainingError
        If a slice has no labels, labels have no slice, or a series is unreadable.
    """
    truth = read_labels(labels)
    groups = group_series(images)
    (out / "hu").mkdir(parents=True, exist_ok=True)
    baked: list[Series] = []
    results = mapped(partial(bake, out=out), groups.keys(), groups.values(), jobs=jobs, chunk=4)
    for done, (series, warnings) in enumerate(results, start=1):
        for warning in warnings:
            print(f"series {series.name}: {warning}", file=sys.stderr)
        missing = [uid for uid in series.sop_instance_uids if uid not in truth]
        if missing:
            raise TrainingError(f"{labels}: no labels for slice {missing[0]} of {series.name}")
        rows = np.stack([truth.pop(uid) for uid in series.sop_instance_uids])
        baked.append(
            Series(
                series.name,
                series.patient,
                series.sop_instance_uids,
                series.positions_mm,
                rows,
                series.path,
            )
        )
        if done % 50 == 0 or done == len(groups):
            print(f"{done} of {len(groups)} series", flush=True)
    if truth:
        raise TrainingError(
            f"{labels}: {len(truth)} labelled slices have no image below {images}, "
            f"for instance {next(iter(truth))}"
        )
    source = images / SOURCE
    if not source.is_file():
        source = images.parent / SOURCE
    told = source.read_text(encoding="utf-8").strip() if source.is_file() else images.name
    write_baked(out, told, baked)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.prepare``."""
    parser = cli.parser("prepare", "Turn DICOM series and RSNA labels into arrays.")
    parser.add_argument("images", type=cli.existing, help="folder of DICOM files (*.dcm)")
    parser.add_argument("labels", type=cli.existing, help="CSV with the columns ID,Label")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--jobs", type=cli.positive, default=1, help="processes")
    args = parser.parse_args(arguments)
    return cli.run(lambda: prepare(args.images, args.labels, args.out, args.jobs))


if __name__ == "__main__":
    sys.exit(main())
