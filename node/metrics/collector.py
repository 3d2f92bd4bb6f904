"""The node's metrics in Prometheus' text format, with the names that its conventions ask for.

References
----------
https://prometheus.io/docs/practices/naming/
"""

import platform
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from ml.labels import LABELS
from node.drift import FLAGGED, Drift, DriftLook
from node.health import ready
from node.hints import queues_of
from node.ledger import (
    DestinationState,
    Ledger,
    Notification,
    NotificationState,
    ShadowState,
    SourceState,
    Tally,
    Waiting,
)
from node.metrics.following import Counts, Histogram
from node.settings import ROUTINE, Settings
from node.spool import Spool
from node.vitals import (
    GPU,
    Background,
    look_at_broker,
    look_at_destinations,
    look_at_disk,
    look_at_model,
    look_at_sources,
    waits_since,
)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

DRIFT_EVERY_S = 60.0


class Metrics(Collector):
    """All metrics of a node, collected when they are asked for.

    What a scrape costs grows with what is under way and with what is new since the last one, not
    with what the ledger has ever seen. What cannot be found out at the moment is left out.

    Parameters
    ----------
    settings : Settings
    ledger : Ledger
    background : Background
        Where what takes long is remembered.
    """

    def __init__(self, settings: Settings, ledger: Ledger, background: Background) -> None:
        self._settings = settings
        self._ledger = ledger
        self._background = background
        self._counts: Counts | None = None
        self._drift = DriftLook(settings, ledger)
        self._drift_seen: tuple[float, Drift] | None = None
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._start_counting()

    def exposition(self) -> bytes:
        """What `/metrics` answers, of the type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing: else the registry would collect to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Look at everything."""
        yield _info("build", "The software.", version=version("ichnode"), python=_PYTHON)
        yield from self._model()
        findings = ready(self._settings, self._ledger)
        yield _gauge(
            "ready",
            "Whether a part is as the node needs it: 1, or 0.",
            {(finding.subject,): finding.trouble is None for finding in findings},
            "subject",
        )
        yield from self._disk()
        yield from self._workers()
        yield from self._of_ledger()

    def _start_counting(self) -> None:
        try:
            self._counts = Counts(self._ledger, Spool(self._settings.home), self._priorities)
        except SQLAlchemyError:  # the ledger is away: counting begins when it is back
            self._counts = None

    @property
    def _priorities(self) -> list[str]:
        return [*(rule.name for rule in self._settings.priorities), ROUTINE]

    def _model(self) -> Iterator[Metric]:
        model, _ = look_at_model(self._settings)
        if model is not None:
            yield _info(
                "model",
                "The model that is configured.",
                name=model.name,
                version=model.version,
                digest=model.digest,
            )

    def _disk(self) -> Iterator[Metric]:
        try:
            disk = look_at_disk(self._settings, self._background)
        except OSError:  # home is not there
            return
        yield _gauge("disk_size_bytes", "Of the disk of home.", {(): disk.size})
        yield _gauge("disk_free_bytes", "Free on the disk of home.", {(): disk.free})
        yield _gauge(
            "disk_least_free_bytes", "With less free no image is taken.", {(): disk.least_free}
        )
        yield _gauge(
            "folder_bytes",
            "What a folder of home held when it was last walked through, hourly at most.",
            {(folder.name,): folder.size for folder in disk.folders},
            "folder",
        )

    def _workers(self) -> Iterator[Metric]:
        workers = self._background.workers
        if workers is None:  # not asked yet
            return
        yield _gauge(
            "workers",
            "Workers that answer.",
            {
                (queue,): sum(w.queue is queue for w in workers)
                for queue in queues_of(self._settings)
            },
            "queue",
        )
        gpus: dict[tuple[str, ...], GPU] = {
            (w.machine, w.device or "", w.gpu.name): w.gpu for w in workers if w.gpu is not None
        }
        labels = ("machine", "device", "gpu")
        yield _gauge(
            "gpu_memory_bytes",
            "Memory of a GPU that a worker uses.",
            {key: gpu.memory for key, gpu in gpus.items()},
            *labels,
        )
        yield _gauge(
            "gpu_memory_used_bytes",
            "Of the memory of a GPU, by all that use it.",
            {key: gpu.memory_used for key, gpu in gpus.items()},
            *labels,
        )

    def _of_ledger(self) -> Iterator[Metric]:
        """What only the ledger knows; nothing while it is away."""
        try:
            found = list(self._ask_ledger())
        except SQLAlchemyError:
            return
        yield from found

    def _look_at_drift(self) -> Drift:
        """What has changed; it does so over days, and is looked at again after a while."""
        now = time.monotonic()
        with self._lock:
            if self._drift_seen is None or now - self._drift_seen[0] > DRIFT_EVERY_S:
                self._drift_seen = now, self._drift.look()
            return self._drift_seen[1]

    def _ask_ledger(self) -> Iterator[Metric]:
        standing = self._ledger.standing()
        unsent_since = self._ledger.unsent_since()
        destinations = look_at_destinations(self._settings, self._ledger)
        now = self._ledger.clock()
        yield _gauge(
            "series",
            "Series under way now, by state, and those that have failed.",
            {(state,): found.revisions for state, found in standing.items()},
            "state",
        )
        yield from _of_priorities(self._priorities, self._ledger.waiting(), now)
        messages, _ = look_at_broker(self._settings)
        yield _gauge(
            "queue_length",
            "Messages that wait in the broker.",
            {(queue,): length for queue, length in messages.items()},
            "queue",
        )
        waiting = waits_since(self._settings, self._ledger, standing, unsent_since)
        yield _gauge(
            "queue_oldest_seconds",
            "For how long what the ledger has for a queue has waited, at most; 0: nothing waits.",
            {
                (queue,): 0.0 if since is None else max(0.0, now - since.timestamp())
                for queue, since in waiting.items()
            },
            "queue",
        )
        yield from _of_destinations(destinations)
        yield from _of_sources(look_at_sources(self._settings, self._ledger))
        rules = [rule.name for rule in self._settings.notify]
        yield from _of_notifications(rules, self._ledger.untaken_notifications())
        yield from _of_drift(self._look_at_drift())
        last = self._ledger.last_received()
        if last is not None:
            yield _gauge(
                "last_received_timestamp_seconds",
                "When the last new image came.",
                {(): last.timestamp()},
            )
        yield self._outcomes()
        with self._lock:
            if self._counts is None:
                self._start_counting()
            if self._counts is not None:
                self._counts.catch_up(destinations)
                yield from _of_counts(self._counts)

    def _outcomes(self) -> Metric:
        """How the configured model compares with readers."""
        model, _ = look_at_model(self._settings)
        point = self._settings.model.operating_point
        known = next(
            (
                known.id
                for known in self._ledger.models()
                if model is not None
                and (known.model.digest, known.model.operating_point) == (model.digest, point)
            ),
            None,
        )
        tallies = {} if known is None else self._ledger.tallies(known)
        return _gauge(
            "outcomes",
            "Labelled series that the configured model has judged, by what it and the label say.",
            {
                (label, outcome): getattr(tallies.get(label, Tally()), f"{outcome}s")
                for label in LABELS
                for outcome in OUTCOMES
            },
            "finding",
            "outcome",
        )


OUTCOMES = ("true_positive", "false_positive", "true_negative", "false_negative")

_PYTHON = platform.python_version()


def _of_priorities(
    names: Iterable[str], found: Mapping[str, Waiting], now: float
) -> Iterator[Metric]:
    """Of each priority that there is; one of an earlier configuration while something has it."""
    waits = {(name,): found.get(name) for name in (*names, *found)}
    yield _gauge(
        "series_waiting",
        "Series that are ready and wait for a worker, by the rule of [[priorities]] that fits.",
        {name: 0 if waiting is None else waiting.revisions for name, waiting in waits.items()},
        "priority",
    )
    yield _gauge(
        "series_waiting_oldest_seconds",
        "For how long the first of them has waited; 0: none waits.",
        {
            name: 0.0 if waiting is None else max(0.0, now - waiting.since.timestamp())
            for name, waiting in waits.items()
        },
        "priority",
    )


def _of_destinations(destinations: Iterable[DestinationState]) -> Iterator[Metric]:
    by_name = {(destination.name,): destination for destination in destinations}
    yield _gauge(
        "destination_waiting",
        "Objects that are to be sent to a destination.",
        {name: destination.waiting for name, destination in by_name.items()},
        "destination",
    )
    yield _gauge(
        "destination_given_up",
        "Objects that are not sent to a destination any more until `ichnode retry`.",
        {name: destination.given_up for name, destination in by_name.items()},
        "destination",
    )
    yield _gauge(
        "destination_failures",
        "How often in a row a destination could not be sent to.",
        {name: destination.failures for name, destination in by_name.items()},
        "destination",
    )


def _of_sources(sources: Iterable[SourceState]) -> Iterator[Metric]:
    by_name = {(source.name,): source for source in sources}
    yield _gauge(
        "fetch_waiting",
        "Series that are to be fetched from a source.",
        {name: source.waiting for name, source in by_name.items()},
        "source",
    )
    yield _gauge(
        "fetch_given_up",
        "Series that are not fetched from a source any more until `ichnode retry`.",
        {name: source.given_up for name, source in by_name.items()},
        "source",
    )
    yield _gauge(
        "fetch_failures",
        "How often in a row a source did not answer.",
        {name: source.failures for name, source in by_name.items()},
        "source",
    )
    yield _gauge(
        "fetch_answered_timestamp_seconds",
        "When a source that is polled last answered what it has.",
        {
            name: source.answered_at.timestamp()
            for name, source in by_name.items()
            if source.answered_at is not None
        },
        "source",
    )
    yield _counter(
        "fetch_series",
        "Series of a source that were fetched, were known already, or were given up.",
        {
            (*name, outcome): count
            for name, source in by_name.items()
            for outcome, count in (
                ("fetched", source.fetched),
                ("known", source.known),
                ("failed", source.failed),
            )
        },
        "source",
        "outcome",
    )
    yield _counter(
        "fetch_images",
        "New images that came with what was fetched from a source.",
        {name: source.images for name, source in by_name.items()},
        "source",
    )


def _of_notifications(rules: Iterable[str], untaken: Iterable[Notification]) -> Iterator[Metric]:
    counted = Counter((item.rule, item.state) for item in untaken)
    for name, state, what in (
        ("notification_waiting", NotificationState.PENDING, "was not taken, and is told again."),
        ("notification_given_up", NotificationState.FAILED, "is not told until `ichnode retry`."),
    ):
        by_rule: dict[tuple[str, ...], float] = {(rule,): counted[rule, state] for rule in rules}
        yield _gauge(name, f"What a rule of [[notify]] tells that {what}", by_rule, "rule")


def _of_drift(drift: Drift) -> Iterator[Metric]:
    compared = [(item.of, item.trait.name, item.shift) for item in drift.traits]
    yield _gauge(
        "drift_psi",
        "Population stability index of a trait; left out with too few series.",
        {(of, name): shift.psi for of, name, shift in compared if shift.psi is not None},
        "of",
        "trait",
    )
    yield _gauge(
        "drift_psi_by_chance",
        "What that index reaches without any change in one of a thousand comparisons.",
        {
            (of, name): shift.by_chance
            for of, name, shift in compared
            if shift.by_chance is not None
        },
        "of",
        "trait",
    )
    flagged = [item for item in drift.traits if item.trait is FLAGGED]
    of_windows = [
        (item.of, window, mean)
        for item in flagged
        for window, mean in (("reference", item.reference_mean), ("recent", item.recent_mean))
    ]
    yield _gauge(
        "flagged_ratio",
        "Of the series that a model has judged, those that it flags.",
        {(of, window): mean for of, window, mean in of_windows if mean is not None},
        "of",
        "window",
    )
    if drift.shadow is None:
        return
    yield _gauge(
        "shadow_series",
        "Series that wait for the shadow, are judged by it now, or could not be; and those that "
        "were in the recent days.",
        {
            **{(state,): count for state, count in drift.standing.items()},
            (ShadowState.JUDGED,): drift.judged,
        },
        "state",
    )
    yield _gauge(
        "shadow_agreement",
        "Series of the recent days by which of both models call a finding present.",
        {
            ("flagged" if item.finding is None else item.finding, verdict): count
            for item in drift.agreements
            for verdict, count in item.counts.items()
        },
        "finding",
        "verdict",
    )


def _of_counts(counts: Counts) -> Iterator[Metric]:
    yield _counter(
        "series_entered",
        "Series that came into a state.",
        {(state,): count for state, count in counts.entered.items()},
        "state",
    )
    yield _histogram(
        "station_seconds",
        "Time that a series spent at a station.",
        {(station,): histogram for station, histogram in counts.stations.items()},
        "station",
    )
    yield _histogram(
        "wait_seconds",
        "Time that a series waited for a worker, by the rule of [[priorities]] that fits.",
        {(priority,): histogram for priority, histogram in counts.waits.items()},
        "priority",
    )
    yield _histogram(
        "turnaround_seconds",
        "Time from the last image of a series to its report.",
        {(): counts.turnaround},
    )
    yield _counter(
        "instances_received",
        "New images that came in, by the way that they came.",
        {(way,): count for way, count in counts.instances.items()},
        "way",
    )
    yield _counter(
        "received_bytes", "Size of the new images that came in.", {(): counts.received_bytes}
    )
    yield _counter(
        "labels",
        "Labels of readers that came in.",
        {(source,): count for source, count in counts.labels.items()},
        "source",
    )
    yield _counter(
        "delivery_failures",
        "Attempts to send to a destination that failed.",
        {(name,): count for name, count in counts.failures.items()},
        "destination",
    )


def _info(name: str, text: str, /, **values: str) -> Metric:
    return InfoMetricFamily(f"ichnode_{name}", text, value=values)


def _gauge(name: str, text: str, values: dict[tuple[str, ...], float], *labels: str) -> Metric:
    family = GaugeMetricFamily(f"ichnode_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, text: str, values: dict[tuple[str, ...], float], *labels: str) -> Metric:
    family = CounterMetricFamily(f"ichnode_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(
    name: str, text: str, values: dict[tuple[str, ...], Histogram], *labels: str
) -> Metric:
    family = HistogramMetricFamily(f"ichnode_{name}", text, labels=labels)
    for key, histogram in values.items():
        family.add_metric(key, buckets=histogram.buckets(), sum_value=histogram.total)
    return family
