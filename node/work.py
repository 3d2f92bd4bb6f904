"""A worker: takes Celery's hints and does what the ledger says is to be done."""

import gc
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery.worker.control import inspect_command

from ml.errors import IchnodeError, NotAHeadError, first_line
from node.assemble import Reason
from node.audit import Auditor, Study
from node.commit import ask, tell
from node.deliver import Deliverer
from node.drift.measure import judge_of, said_of, traits_of
from node.environment import is_passing
from node.facts import SeriesFacts
from node.hints import (
    ASK_TASK,
    HOW_IT_IS,
    PAUSE_AFTER_ERROR_S,
    TELL_TASK,
    Hints,
    Queue,
    celery_app,
    task_name,
)
from node.lease import staying_alive
from node.ledger import (
    Claim,
    JudgingModel,
    Ledger,
    Observed,
    Result,
    digest_of_accession,
    open_ledger,
    patiently,
)
from node.logs import about
from node.report import build, capture_numbers
from node.results import predecessors, recorded
from node.routing import Routing, decide, forms, plan, workitems
from node.series import InstancesLost, read_series
from node.settings import Settings
from node.shadow import ShadowWorker, settings_of_shadow
from node.spool import PROBABILITIES, Spool, write_durably
from node.summary import findings_json, flagged, maxima, model_json, series_json

if TYPE_CHECKING:
    from node.analyze import Analysis, Analyzer

log = logging.getLogger(__name__)

LEAST_PRIORITY = 19
"""Of the shadow's process: what the scheduler of the machine gives others first."""

FIRST_TO_GO = "1000"
"""Of that process: what Linux ends first where memory runs out (proc(5), oom_score_adj)."""

JUDGING = (Queue.ANALYZE, Queue.SHADOW)
"""Queues whose workers have a model."""

RARELY = 50_000, 20, 100
"""How many new objects a worker that analyzes has before their cycles are looked for."""


class Worker:
    """What the tasks of one worker process share.

    Parameters
    ----------
    settings : Settings
    ledger : Ledger
    spool : Spool
    hints : Hints
    analyzer : Analyzer, optional
        None in a worker that does not report.
    auditor : Auditor, optional
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        spool: Spool,
        hints: Hints,
        analyzer: "Analyzer | None",
        auditor: Auditor | None = None,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.spool = spool
        self.hints = hints
        self.analyzer = analyzer
        self.auditor = auditor or Auditor.silent()
        self._deliverer = Deliverer(ledger, spool, settings, self.auditor)

    def analyze(self, _revision_id: int) -> None:
        """Stations analyze and report, for the most urgent revision that is ready.

        A hint says that there is one, not which: since it was sent, a more urgent one may
        have come. For each that is ready there is a hint, so each has its turn.
        """
        with _telling_plainly():
            self._claim_and_analyze()

    def _claim_and_analyze(self) -> None:
        assert self.analyzer is not None
        claim = self.ledger.claim_next(self.settings.analyze.lease_s)
        if claim is None:
            return
        with about(claim.revision), _telling_plainly():
            self._go_on(claim, self.analyzer)

    def _go_on(self, claim: Claim, analyzer: "Analyzer") -> None:
        if not self.ledger.is_newest(claim.revision):
            self.ledger.supersede(claim)
            return
        lease_s = self.settings.analyze.lease_s
        try:
            with staying_alive(lambda: self.ledger.extend(claim, lease_s), lease_s):
                analysis = self._analyze(claim, analyzer)
                routing = self._route(claim, analysis)
                results = self._report(claim, analysis, routing)
                self._hand_over(claim, analysis, results, routing)
        except InstancesLost as lost:
            log.error("series %s: %s", claim.revision.series_instance_uid, lost)
            self.ledger.lose(claim.revision, lost.instances)
        except NotAHeadError as verdict:
            log.info("series %s skipped: not a head", claim.revision.series_instance_uid)
            self.ledger.skip_claimed(claim, Reason.NOT_A_HEAD, str(verdict))
        except Exception as error:
            self._after_error(claim, error)

    def _route(self, claim: Claim, analysis: "Analysis") -> Routing:
        facts = SeriesFacts.of(self.ledger.senders(claim.revision), analysis.sources)
        return decide(facts, flagged(analysis.judgement), self.settings)

    def _hand_over(
        self, claim: Claim, analysis: "Analysis", results: list[Result], routing: Routing
    ) -> None:
        where = plan(routing, results, self.settings)
        unsent = None if where.deliveries else routing.unsent
        judge = judge_of(analysis.judgement.model)
        observed = self._observe(analysis, judge)
        reported = patiently(
            lambda: self.ledger.report(
                claim,
                results,
                where,
                warnings=analysis.judgement.warnings,
                maxima=maxima(analysis.judgement),
                flagged=flagged(analysis.judgement),
                said=routing.said or unsent,
                # Without routes results stay until somebody names a destination.
                unsent=unsent if self.settings.routes else None,
                model=judge,
                accession=digest_of_accession(_accession_number(analysis)),
                observed=observed,
            )
        )
        if reported:
            log.info("series %s is reported", claim.revision.series_instance_uid)
            if unsent is not None:
                log.info("series %s: %s", claim.revision.series_instance_uid, unsent)
            self.auditor.series_judged(
                analysis.sources,
                claim.revision.series_instance_uid,
                claim.revision.number,
                analysis.judgement.model,
            )
            for destination in where.destinations:
                self.hints.deliver(destination)

    def _analyze(self, claim: Claim, analyzer: "Analyzer") -> "Analysis":
        from node.analyze import analyze  # noqa: PLC0415  as in `run_worker`

        series, digest = read_series(self.ledger, self.spool, claim.revision)
        return analyze(analyzer, series, digest, claim.revision.warnings)

    def _report(self, claim: Claim, analysis: "Analysis", routing: Routing) -> list[Result]:
        revision = claim.revision
        form, *further = forms(routing, self.settings)
        folder = self.spool.results_folder(
            revision.study_instance_uid, revision.series_instance_uid, revision.number
        )
        objects = build(
            analysis.judgement,
            analysis.volume,
            analysis.sources,
            folder,
            settings=self.settings.report.model_copy(update={"structured_report": form}),
            evidence=analysis.evidence,
            further={other: predecessors(self.ledger, revision, other) for other in further},
            workitems=workitems(routing, self.settings, self.ledger.workitems_before(revision)),
            revision=revision.number,
            predecessors=predecessors(self.ledger, revision, form),
            # Not the clock: doing this step again must give the same bytes.
            created=revision.last_instance_at.astimezone(),
        )
        document = {
            "model": model_json(analysis.judgement.model),
            "series": [series_json(analysis.judgement)],
            "findings": findings_json(analysis.judgement),
            "capture_numbers": capture_numbers(analysis.judgement.slices),
        }
        write_durably(folder / PROBABILITIES, json.dumps(document, indent=1).encode())
        return recorded(objects, self.spool)

    def _observe(self, analysis: "Analysis", judge: JudgingModel) -> Observed:
        """What is counted of a series, and whether the shadow is to judge it too."""
        judgement = analysis.judgement
        said = said_of(maxima(judgement), flagged(judgement), judge)
        try:
            traits = traits_of(analysis.volume, analysis.sources)
        except Exception as error:  # whatever stands in a header must not hold a report up
            log.warning("traits of a series are not counted: %s", type(error).__name__)
            traits = ()
        return Observed(traits, said, is_shadowed=self.settings.shadow.is_on)

    def _after_error(self, claim: Claim, error: Exception) -> None:
        """Try again later, or end the revision, by whose fault it was."""
        uid = claim.revision.series_instance_uid
        if is_passing(error):
            log.error("series %s has to wait: %s", uid, first_line(error))
            pause_s = PAUSE_AFTER_ERROR_S
            patiently(
                lambda: self.ledger.yield_claim(claim, first_line(error), pause_s, counts=False)
            )
        elif isinstance(error, IchnodeError):
            log.error("series %s failed: %s", uid, error)
            self.ledger.fail(claim, _reason(error), str(error))
        else:
            # No traceback by default: its message may quote the patient.
            log.error(
                "series %s: unexpected %s",
                uid,
                type(error).__name__,
                exc_info=log.isEnabledFor(logging.DEBUG),
            )
            detail = f"{type(error).__name__}: {first_line(error)}"
            if claim.attempt >= self.settings.analyze.max_attempts:
                self.ledger.fail(claim, "error", detail)
            else:
                self.ledger.yield_claim(claim, detail, PAUSE_AFTER_ERROR_S * claim.attempt)

    def deliver(self, destination: str) -> None:
        """Station deliver, for all that waits for one destination."""
        with _telling_plainly():
            stored = self._deliverer.deliver(destination)
            if stored:
                log.info("%d objects stored in %s", stored, destination)

    def ask_commitment(self, destination: str) -> None:
        """Ask a destination to commit to what it has stored."""
        with _telling_plainly():
            ask(destination, self.ledger, self.settings)

    def tell_commitment(self, report_id: int) -> None:
        """Tell a sender what the node commits to."""
        with _telling_plainly():
            tell(report_id, self.ledger, self.spool, self.settings)


@contextmanager
def _telling_plainly() -> Iterator[None]:
    """Log an error that ends a task as one line: the sweeper comes again."""
    try:
        yield
    except Exception as error:
        what = first_line(error) if is_passing(error) else f"unexpected {type(error).__name__}"
        log.error("a task ended: %s", what, exc_info=log.isEnabledFor(logging.DEBUG))


def _accession_number(analysis: "Analysis") -> str:
    """Of the first image that was judged; empty where it has none."""
    return Study.of(analysis.sources[0]).accession_number if analysis.sources else ""


def _reason(error: IchnodeError) -> str:
    """An error as a word for the ledger: PixelError becomes pixel-error."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__).lower()


def how_it_is(analyzer: "Analyzer | None") -> dict[str, Any]:
    """What a worker says of itself when it is asked: the device that it judges on."""
    if analyzer is None:
        return {}
    device = analyzer.detector.device
    if device.type != "cuda":
        return {"device": str(device)}
    import torch  # noqa: PLC0415  as in `run_worker`

    free, memory = torch.cuda.mem_get_info(device)
    gpu = {
        "name": torch.cuda.get_device_name(device),
        "memory": memory,
        "memory_used": memory - free,
    }
    return {"device": str(device), "gpu": gpu}


def step_back() -> None:
    """Leave cores and memory of the machine to every other process."""
    os.nice(LEAST_PRIORITY)
    with suppress(OSError):  # it is not Linux
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)


def run_worker(settings: Settings, url: str, queue: Queue, threads: int) -> None:
    """Serve a queue until the process is told to end.

    Parameters
    ----------
    settings : Settings
    url : str
        The broker.
    queue : Queue
    threads : int
        Deliveries at the same time; series are judged one at a time.

    Raises
    ------
    BundleError
        If it is to judge and the model cannot be loaded.
    """
    analyzer = None
    if queue is Queue.SHADOW:
        step_back()
    if queue in JUDGING:
        # Here alone: who only delivers needs no PyTorch, neither its seconds nor its memory.
        from node.analyze import Analyzer  # noqa: PLC0415

        is_shadow = queue is Queue.SHADOW
        analyzer = Analyzer.load(settings_of_shadow(settings) if is_shadow else settings)
        model, detector = analyzer.model, analyzer.detector
        log.info(
            "model %s %s on %s by %s", model.name, model.version, detector.device, detector.runtime
        )
        threads = 1  # one model, one GPU; and what waits is left to other workers
        # Else all that is loaded is walked through again and again while trees of content
        # items are built, which takes a fifth of the time that a report does.
        gc.collect()
        gc.set_threshold(*RARELY)
    with Auditor.open(settings, queue) as auditor:
        ledger, spool = open_ledger(settings.ledger_url), Spool(settings.home)
        worker = Worker(settings, ledger, spool, Hints(url, settings), analyzer, auditor)
        app = celery_app(url, settings)
        if queue is Queue.ANALYZE:
            app.task(worker.analyze, name=task_name(queue))
        elif queue is Queue.SHADOW:
            assert analyzer is not None
            shadow = ShadowWorker(settings, ledger, spool, analyzer, auditor)

            def judge(shadow_id: int) -> None:
                with _telling_plainly():
                    shadow.judge(shadow_id)

            app.task(judge, name=task_name(queue))
        else:
            app.task(worker.deliver, name=task_name(queue))
            app.task(worker.ask_commitment, name=ASK_TASK)
            app.task(worker.tell_commitment, name=TELL_TASK)
        inspect_command(name=HOW_IT_IS)(lambda _state: how_it_is(analyzer))
        # Threads: CUDA does not survive a fork. No gossip between workers: the ledger knows.
        app.worker_main(
            [
                "--quiet",
                "worker",
                f"--hostname={queue}-{os.getpid()}@%h",
                "--pool=threads",
                f"--concurrency={threads}",
                f"--queues={queue}",
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
            ]
        )
