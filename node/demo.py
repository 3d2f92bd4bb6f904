"""`ichnode demo`: the whole way on one machine, as a user would see it at a PACS."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pydicom
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ml.labels import Label
from ml.phantom import Phantom, make_phantom, write_dicom
from node.broker import broker_url, free_port
from node.deliver import echo, store_files
from node.errors import ConfigError, DeliveryError
from node.hints import answering_workers
from node.ledger import Ledger, Result, Revision, State, open_ledger
from node.offline import FoundSeries, scan
from node.report import Kind
from node.settings import Destination, Settings, load_settings
from node.show.series import details_json
from node.show.slices import probability_table, study, warnings
from node.spool import Spool
from node.standin import standin_pacs, stored_file
from node.up import Supervisor, one_at_a_time, receivers, workers

START_TIMEOUT_S = 60.0
STILL_TIMEOUT_S = 180.0
"""Nothing has moved for this long: something is wrong, seconds."""

LOG = "node.log"

_CONFIG = """\
# Written by `ichnode demo`.
home = "{home}"

[dicom]
ae_title = "ICHNODE"
port = {port}

[[destinations]]
name = "stand-in"
ae_title = "STANDIN"
host = "127.0.0.1"
port = {pacs_port}

[assemble]
quiet_s = 5
"""

_ENDS = (State.DELIVERED, State.SKIPPED, State.FAILED)


@dataclass(frozen=True)
class _Stage:
    """Everything that stands while the demo runs."""

    out: Path
    config: Path
    settings: Settings
    node: Destination


def run_demo(path: Path | None, out: Path, seed: int, console: Console) -> bool:
    """Run the demo.

    Parameters
    ----------
    path : pathlib.Path, optional
        DICOM to send; a phantom without it.
    out : pathlib.Path
        Folder for everything.
    seed : int
        Of the phantom.
    console : rich.console.Console

    Returns
    -------
    bool
        Whether a series came all the way back.

    Raises
    ------
    ConfigError
        If `out` is in use for something else, or nothing can be sent.
    """
    stage = _set_up(out)
    phantom: Phantom | None = None
    if path is None:
        phantom = make_phantom(seed, size=512, findings=(Label.INTRAPARENCHYMAL,))
        write_dicom(phantom, stage.out / "phantom", when=datetime.now())
        path = stage.out / "phantom"
        bleeds = ", ".join(finding.label.value for finding in phantom.findings)
        console.print(
            f"A phantom head CT of {len(phantom)} slices with a known finding: "
            f"[bold]{bleeds}[/bold] (seed {seed})",
            highlight=False,
        )
    series = _sendable(path, console)
    pacs = stage.settings.destinations[0]
    with (
        standin_pacs(pacs.application.ae_title, pacs.application.port, stage.out / "pacs"),
        _running_node(stage, console) as supervisor,
    ):
        began = time.time()
        _send(stage, series, console)
        sent_at = time.time()
        ledger = open_ledger(stage.settings.ledger_url)
        revisions = _watch(ledger, series, began, supervisor, console)
    came_back = [r for r in revisions if r.state is State.DELIVERED]
    for revision in came_back:
        if len(series) > 1:
            console.print(f"\n[bold]Series[/bold] {revision.series_instance_uid}", highlight=False)
        _tell(stage, ledger, revision, phantom, sent_at, console)
    _tell_what_did_not(revisions, console)
    return bool(came_back)


def _set_up(out: Path) -> _Stage:
    """Make the folder and a configuration in it that a user can look at."""
    out = out.absolute()
    config = out / "ichnode.toml"
    if out.exists() and not config.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty and not from an earlier demo; choose --out")
    shutil.rmtree(out, ignore_errors=True)
    try:
        (out / "home").mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{out} cannot be made: {error.strerror}; choose --out") from error
    home = str(out / "home").replace("\\", "\\\\").replace('"', '\\"')
    config.write_text(_CONFIG.format(home=home, port=free_port(), pacs_port=free_port()))
    settings = load_settings(config)
    dicom = settings.dicom
    node = Destination(name="node", ae_title=dicom.ae_title, host=dicom.host, port=dicom.port)
    return _Stage(out, config, settings, node)


def _sendable(path: Path, console: Console) -> list[FoundSeries]:
    """The series below a path whose images a DICOM association can carry."""
    found = []
    for series in scan(path).series:
        header = pydicom.dcmread(series.files[0], stop_before_pixels=True)
        if header.get("SOPClassUID"):
            found.append(series)
        else:
            console.print(
                f"not sent: {escape(series.description or series.series_instance_uid)} has no "
                "SOP Class UID (`ichnode analyze` can judge it)",
                highlight=False,
            )
    if not found:
        raise ConfigError(f"no DICOM series that can be sent in {path}")
    return found


@contextmanager
def _running_node(stage: _Stage, console: Console) -> Iterator[Supervisor]:
    log_file = stage.out / LOG
    parts = receivers(stage.settings) | workers(stage.settings)
    supervisor = Supervisor(
        stage.settings, parts, stage.config, with_broker=True, log_file=log_file
    )
    with one_at_a_time(stage.settings.home):
        try:
            with console.status("starting the node"):
                supervisor.start()
                _wait_for_answer(stage, supervisor, log_file)
            console.print(
                f"The node listens as {stage.node.ae_title} on "
                f"{stage.node.host}:{stage.node.port}; a stand-in PACS waits for results",
                highlight=False,
            )
            yield supervisor
        finally:
            with console.status("ending the node"):
                supervisor.stop()


def _wait_for_answer(stage: _Stage, supervisor: Supervisor, log_file: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            supervisor.keep_running()
        except ConfigError:
            raise ConfigError(f"the node cannot start: {last_line(log_file)}") from None
        try:
            echo("DEMO", stage.node, timeout_s=2)
        except DeliveryError:
            time.sleep(0.2)
        else:
            if len(answering_workers(broker_url(stage.settings), stage.settings)) >= len(
                workers(stage.settings)
            ):
                return
    raise ConfigError(f"the node does not start, see {log_file}")


def last_line(log_file: Path) -> str:
    """What a part of the node said last."""
    lines = log_file.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing in its log"


def _send(stage: _Stage, series: Sequence[FoundSeries], console: Console) -> None:
    """C-STORE every file."""
    files = [file for item in series for file in item.files]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("C-STORE to the node", total=len(files))
        refused = store_files("DEMO", stage.node, files, lambda: progress.advance(task))
    for file, why in refused[:5]:
        console.print(f"[yellow]not taken:[/yellow] {escape(file.name)}: {escape(why)}")
    if len(refused) == len(files):
        raise ConfigError("the node took none of the files")


def _watch(
    ledger: Ledger,
    series: Sequence[FoundSeries],
    began: float,
    supervisor: Supervisor,
    console: Console,
) -> list[Revision]:
    """Print states as they pass, until every series has come to its end."""
    numbers = {item.series_instance_uid: n for n, item in enumerate(series, start=1)}
    moved = time.time()
    told: set[tuple[int, State]] = set()
    with console.status("waiting for results"):
        while True:
            supervisor.keep_running()
            revisions = [r for r in ledger.recent(1000) if r.series_instance_uid in numbers]
            for revision in reversed(revisions):
                for event in ledger.history(revision):
                    if (revision.id, event.state) in told:
                        continue
                    told.add((revision.id, event.state))
                    moved = time.time()
                    detail = f"  {escape(event.detail)}" if event.detail else ""
                    which = f"series {numbers[revision.series_instance_uid]}: " * (len(series) > 1)
                    console.print(
                        f"  {event.at.timestamp() - began:6.1f} s  {which}{event.state}{detail}",
                        highlight=False,
                    )
            newest = {r.series_instance_uid: r for r in sorted(revisions, key=lambda r: r.number)}
            if newest and all(r.state in _ENDS for r in newest.values()):
                return list(newest.values())
            if time.time() - moved > STILL_TIMEOUT_S:
                console.print("[red]nothing moves any more; see node.log[/red]")
                return list(newest.values())
            time.sleep(0.2)


def _tell(
    stage: _Stage,
    ledger: Ledger,
    revision: Revision,
    phantom: Phantom | None,
    sent_at: float,
    console: Console,
) -> None:
    """Print what came back of a series, and say where it lies."""
    spool = Spool(stage.settings.home)
    details = details_json(ledger, spool, revision)
    truth = None if phantom is None else phantom.labels.tolist()
    console.print()
    console.print(probability_table(details["slices"], truth))
    warnings(console, details["warnings"])
    study(console, details["slices"])
    results = ledger.results(revision)
    report = next(r for r in results if r.kind == Kind.STRUCTURED_REPORT)
    capture = next(r for r in results if r.kind == Kind.SECONDARY_CAPTURE)
    pacs = stage.out / "pacs"
    stored = stored_file(pacs, report.sop_class_uid, report.sop_instance_uid)
    ready = next(e.at for e in ledger.history(revision) if e.state is State.READY)
    console.print()
    console.print(
        f"From the last slice sent to the SR stored: "
        f"[bold]{stored.stat().st_mtime - sent_at:.1f} s[/bold], "
        f"{ready.timestamp() - sent_at:.1f} s of it waiting for more slices",
        highlight=False,
    )
    for what, where in (
        ("structured report", stored),
        (
            "secondary captures",
            stored_file(pacs, capture.sop_class_uid, capture.sop_instance_uid).parent,
        ),
        (
            "the same as PNG",
            _save_pictures(stage.out / "png" / revision.series_instance_uid, results, spool),
        ),
        ("configuration", stage.config),
        ("log of the node", stage.out / LOG),
    ):
        console.print(f"  {what:19} {where}", highlight=False, soft_wrap=True)


def _tell_what_did_not(revisions: Sequence[Revision], console: Console) -> None:
    for revision in revisions:
        if revision.state in (State.SKIPPED, State.FAILED):
            console.print(
                f"{revision.state}: {revision.series_instance_uid}: {revision.reason}: "
                f"{escape(revision.detail or '')}",
                highlight=False,
                soft_wrap=True,
            )


def _save_pictures(folder: Path, results: Sequence[Result], spool: Spool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        if result.kind == Kind.SECONDARY_CAPTURE:
            picture = pydicom.dcmread(spool.results / result.path).pixel_array
            Image.fromarray(picture).save(folder / f"{result.path.stem}.png")
    return folder
