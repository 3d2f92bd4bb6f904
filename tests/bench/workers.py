"""What a series costs a worker, and how series per minute grow with the workers of a machine."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, generate_uid

from ml.anatomy import look_at_anatomy
from ml.labels import LABELS, Label
from ml.phantom import make_phantom, phantom_uid, write_dicom
from ml.series import Volume, load_volume
from node.broker import EmbeddedBroker
from node.headers import SeriesHeaders, read_headers
from node.hints import Hints, answering_workers
from node.judgement import Judgement
from node.ledger import Instance, Ledger, Revision, State, open_ledger
from node.processes import end_process, start_process
from node.report import build
from node.settings import Compression, ReportSettings, Settings, load_settings
from node.spool import Spool, digest_of
from tests.bench.row import Comparison, Figure, LeftOut, Row
from tests.bench.turns import in_turns
from tests.cases import MODEL
from tests.e2e.peers import ICHNODE, one_set, wait_for
from tests.postgresql import Postgresql, binaries

T = TypeVar("T")

WORKERS = 1, 2, 3
SERIES = 6
"""In each turn: a number that each pool can share out evenly."""

TIMES = 3
GOAL = 1.6
SIZE = 256
ALL = slice(None)

CONFIG = """
home = {home}
[analyze]
threads = 1
[broker]
url = {broker}
[ledger]
url = {ledger}
"""
"""A thread each: workers that share a machine should share its cores."""


class Images:
    """A phantom's slices, as a new series each time.

    Parameters
    ----------
    folder : pathlib.Path
        Room for the files.
    size : int
        Pixels along an edge.
    which : slice
        Of the phantom's slices.
    """

    def __init__(self, folder: Path, size: int = SIZE, which: slice = ALL) -> None:
        phantom = make_phantom(8, size=size, findings=[Label.INTRAPARENCHYMAL])
        self._images = [pydicom.dcmread(path) for path in write_dicom(phantom, folder)[which]]

    def __len__(self) -> int:
        return len(self._images)

    def received(self, spool: Spool, ledger: Ledger) -> Revision:
        """Put a new series into spool and ledger, ready to be analyzed."""
        revision = self.stored(spool, ledger)
        assert ledger.ready(revision, [])
        return revision

    def stored(self, spool: Spool, ledger: Ledger) -> Revision:
        """Put a new series into spool and ledger."""
        study, series = str(generate_uid()), str(generate_uid())
        for image in self._images:
            instance = str(generate_uid())
            image.StudyInstanceUID, image.SeriesInstanceUID = study, series
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = instance
            file = BytesIO()
            image.save_as(file, enforce_file_format=True)
            content = file.getvalue()
            digest = digest_of(content)
            path = spool.keep(study, series, instance, digest, content)
            stored = ledger.store(
                Instance(study, series, instance, CTImageStorage, digest, path, "SCANNER"), 3600
            )
        revision = ledger.revision(stored.revision_id)
        assert revision is not None
        return revision


class Pool:
    """Workers on one queue, started once and kept for all turns.

    Parameters
    ----------
    settings : Settings
    ledger : Ledger
    images : Images
        Of the series that they judge.
    """

    def __init__(self, settings: Settings, ledger: Ledger, images: Images) -> None:
        self._ledger, self._images = ledger, images
        self._spool = Spool(settings.home)
        assert settings.broker.url is not None
        self._hints = Hints(settings.broker.url, settings)

    def series_per_minute(self) -> float:
        """From the first claim to the last report, by the ledger."""
        waiting = [self._images.received(self._spool, self._ledger) for _ in range(SERIES)]
        for revision in waiting:
            self._hints.analyze(revision.id)
        wait_for(lambda: all(self._is_reported(one) for one in waiting), 120, "reports")
        begun, ended = zip(*(self._judged_once(revision) for revision in waiting), strict=True)
        return SERIES * 60 / (max(ended) - min(begun))

    def _is_reported(self, revision: Revision) -> bool:
        now = self._ledger.revision(revision.id)
        assert now is not None
        assert now.state not in (State.FAILED, State.SKIPPED), now.detail
        return now.state in (State.REPORTED, State.DELIVERED)

    def _judged_once(self, revision: Revision) -> tuple[float, float]:
        """When it was claimed and when it was reported; its results are there exactly once."""
        now = self._ledger.revision(revision.id)
        assert now is not None
        assert now.attempts == 1
        results = self._ledger.results(now)
        assert len({result.sop_instance_uid for result in results}) == len(results)
        assert len(results) == one_set(len(self._images)).total()
        events = self._ledger.history(now)
        (begun,) = [event.at for event in events if event.state is State.ANALYZING]
        (ended,) = [event.at for event in events if event.state is State.REPORTED]
        return begun.timestamp(), ended.timestamp()


def rows(folder: Path) -> Iterator[Row | LeftOut]:
    """A series without its forward pass, its results in every form, then workers."""
    yield from _costs(folder / "costs")
    work = f"analyze and report, ledger in PostgreSQL, {SERIES} phantoms of {SIZE} x {SIZE}"
    if binaries() is None:
        yield LeftOut(work, "PostgreSQL's server is not installed")
        return
    images = Images(folder / "phantom")
    with ExitStack() as stack:
        server = Postgresql()
        stack.callback(server.remove)
        server.create()
        ledger = open_ledger(server.url)
        stack.callback(ledger.close)
        broker = EmbeddedBroker(folder)
        stack.callback(end_process, broker.start(), 10)
        pools = {}
        for count in WORKERS:
            settings = _start(stack, folder, count, server.url, broker.url)
            pools[str(count)] = Pool(settings, ledger, images)
        found = in_turns({name: pool.series_per_minute for name, pool in pools.items()}, TIMES)
    one, *more = (
        Figure(f"{count} worker{'s' * (count > 1)}", found[str(count)], "series/min")
        for count in WORKERS
    )
    cores = os.cpu_count() or 1
    for count, figure in zip(WORKERS[1:], more, strict=True):
        yield Row(
            f"{work}: {figure.who}",
            figure,
            [Comparison(one, GOAL if count == 2 and cores >= count else None)],
            note=f"{len(images)} slices each; a worker has one thread, start-up is left out; "
            f"every series was judged once, and its results are there once",
        )


def _start(stack: ExitStack, folder: Path, count: int, ledger: str, broker: str) -> Settings:
    """Start workers, on a queue of their own, and wait until all of them answer."""
    config = folder / f"{count}.toml"
    queue = f"{broker.removesuffix('/0')}/{count}"
    values = {"home": folder / "home", "broker": queue, "ledger": ledger}
    config.write_text(CONFIG.format(**{key: json.dumps(str(v)) for key, v in values.items()}))
    settings = load_settings(config)
    command = [*ICHNODE, "work", "--queue", "analyze", "--config", str(config)]
    for _ in range(count):
        process = start_process(command, folder / f"{count}.log")
        stack.callback(end_process, process, 20)
    wait_for(lambda: len(answering_workers(queue, settings)) == count, 90, f"{count} workers")
    return settings


def _costs(folder: Path) -> Iterator[Row]:
    """CPU time of what is not the forward pass, and the size of the results."""
    phantom = make_phantom(8, size=512, findings=[Label.INTRAPARENCHYMAL])
    files = write_dicom(phantom, folder / "images")
    of = f"of a series of {len(files)} slices of 512 x 512"

    def read() -> tuple[SeriesHeaders, Volume]:
        for file in files:
            digest_of(file.read_bytes())
        series = read_headers(files)
        assert series.arrangement is not None
        volume = load_volume(series.arrangement)
        look_at_anatomy(volume.hu, volume.spacing_mm, [s.position_mm for s in volume.slices])
        return series, volume

    reading_s, (series, volume) = _cpu_s(read)
    judgement = Judgement(
        study_instance_uid=phantom_uid(phantom, "study"),
        series_instance_uid=phantom_uid(phantom, "series"),
        model=MODEL,
        input_digest=64 * "a",
        slices=volume.slices,
        probabilities=np.random.default_rng(7).random((len(volume), len(LABELS)), np.float32),
    )
    plain = None
    for compression in Compression:
        rules = ReportSettings(compression=compression)
        building_s, built = _cpu_s(
            lambda rules=rules: build(
                judgement,
                volume,
                series.headers,
                folder / rules.compression,
                settings=rules,
                created=datetime(2024, 1, 1, tzinfo=UTC),
            )
        )
        if plain is None:
            yield Row(
                f"all but the forward pass {of}",
                Figure("ichnode", reading_s + building_s, "CPU-s"),
                note=f"{reading_s:.2f} s to digest, headers, pixels and anatomy, "
                f"{building_s:.2f} s to build the results, look at them and write them",
            )
        size = Figure("ichnode", sum(result.path.stat().st_size for result in built) / 1e6, "MB")
        yield Row(
            f"results {of}, compression {compression}",
            size,
            [] if plain is None else [Comparison(plain)],
            note=f"{len(built)} objects, {building_s:.2f} s of a core",
        )
        plain = plain or Figure("without compression", size.value, "MB")


def _cpu_s(work: Callable[[], T]) -> tuple[float, T]:
    """CPU time of the second time, seconds, and what the work gives."""
    work()
    begun = time.process_time()
    done = work()
    return time.process_time() - begun, done
