"""A worker: takes Celery's hints and does what the ledger says is to be done."""

import json
import logging
import os
import re

from ml.errors import IchnodeError, first_line
from node.analyze import Analysis, Analyzer, analyze
from node.deliver import deliver
from node.headers import read_headers
from node.hints import Hints, Queue, celery_app, task_name
from node.judgement import digest_of_instances
from node.lease import staying_alive
from node.ledger import Claim, Ledger, Result, open_ledger
from node.report import build
from node.results import predecessors, recorded
from node.settings import Settings
from node.spool import PROBABILITIES, Spool, write_durably
from node.summary import maxima, model_json, series_json

log = logging.getLogger(__name__)

PAUSE_AFTER_ERROR_S = 10.0
"""Before an unexpected error is tried again, times the number of attempts, seconds."""


class Worker:
    """What the tasks of one worker process share.

    Parameters
    ----------
    settings : Settings
    ledger : Ledger
    spool : Spool
    hints : Hints
    analyzer : Analyzer, optional
        None in a worker that only delivers.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        spool: Spool,
        hints: Hints,
        analyzer: Analyzer | None,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.spool = spool
        self.hints = hints
        self.analyzer = analyzer

    def analyze(self, revision_id: int) -> None:
        """Stations analyze and report, for one revision; nothing if another has done it."""
        assert self.analyzer is not None
        claim = self.ledger.claim(revision_id, self.settings.analyze.lease_s)
        if claim is None:
            return
        if not self.ledger.is_newest(claim.revision):
            self.ledger.supersede(claim)
            return
        try:
            lease_s = self.settings.analyze.lease_s
            with staying_alive(lambda: self.ledger.extend(claim, lease_s), lease_s):
                analysis = self._analyze(claim, self.analyzer)
                results = self._report(claim, analysis)
        except IchnodeError as error:
            log.error("series %s failed: %s", claim.revision.series_instance_uid, error)
            self.ledger.fail(claim, _reason(error), str(error))
            return
        except Exception as error:
            # No traceback by default: its message may quote the patient.
            log.error(
                "series %s: unexpected %s",
                claim.revision.series_instance_uid,
                type(error).__name__,
                exc_info=log.isEnabledFor(logging.DEBUG),
            )
            self._after_unexpected(claim, error)
            return
        destinations = [destination.name for destination in self.settings.destinations]
        reported = self.ledger.report(
            claim,
            results,
            destinations,
            warnings=analysis.judgement.warnings,
            maxima=maxima(analysis.judgement),
        )
        if reported:
            log.info("series %s is reported", claim.revision.series_instance_uid)
            for destination in destinations:
                self.hints.deliver(destination)

    def _analyze(self, claim: Claim, analyzer: Analyzer) -> Analysis:
        instances = self.ledger.instances(claim.revision)
        for instance in instances:
            self.spool.check(instance.path, instance.digest)
        series = read_headers([self.spool.path(instance.path) for instance in instances])
        digest = digest_of_instances((i.sop_instance_uid, i.digest) for i in instances)
        return analyze(analyzer, series, digest, claim.revision.warnings)

    def _report(self, claim: Claim, analysis: Analysis) -> list[Result]:
        revision = claim.revision
        folder = self.spool.results_folder(
            revision.study_instance_uid, revision.series_instance_uid, revision.number
        )
        objects = build(
            analysis.judgement,
            analysis.volume,
            analysis.sources,
            folder,
            settings=self.settings.report,
            evidence=analysis.evidence,
            revision=revision.number,
            predecessors=predecessors(self.ledger, revision),
            # Not the clock: doing this step again must give the same bytes.
            created=revision.last_instance_at.astimezone(),
        )
        document = {
            "model": model_json(analysis.judgement.model),
            "series": [series_json(analysis.judgement)],
        }
        write_durably(folder / PROBABILITIES, json.dumps(document, indent=1).encode())
        return recorded(objects, self.spool)

    def _after_unexpected(self, claim: Claim, error: Exception) -> None:
        detail = f"{type(error).__name__}: {first_line(error)}"
        if claim.attempt >= self.settings.analyze.max_attempts:
            self.ledger.fail(claim, "error", detail)
        else:
            self.ledger.yield_claim(claim, detail, PAUSE_AFTER_ERROR_S * claim.attempt)

    def deliver(self, destination: str) -> None:
        """Station deliver, for all that waits for one destination."""
        stored = deliver(destination, self.ledger, self.spool, self.settings)
        if stored:
            log.info("%d objects stored in %s", stored, destination)


def _reason(error: IchnodeError) -> str:
    """An error as a word for the ledger: PixelError becomes pixel-error."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__).lower()


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
        If it is to analyze and the model cannot be loaded.
    """
    analyzer = None
    if queue is Queue.ANALYZE:
        analyzer = Analyzer.load(settings)
        model = analyzer.model
        log.info("model %s %s on %s", model.name, model.version, analyzer.detector.device)
        threads = 1  # one model, one GPU; and what waits is left to other workers
    worker = Worker(
        settings,
        open_ledger(settings.ledger_url),
        Spool(settings.home),
        Hints(url, settings),
        analyzer,
    )
    app = celery_app(url, settings)
    app.task(worker.analyze if queue is Queue.ANALYZE else worker.deliver, name=task_name(queue))
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
