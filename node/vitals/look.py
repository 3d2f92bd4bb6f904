"""One look at the node: what is asked at once, and what the background remembers."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime

import redis

from ml.errors import BundleError, first_line
from ml.identity import Identity, identify
from node.broker import broker_url
from node.errors import ConfigError
from node.hints import Queue, queues_of
from node.ledger import DestinationState, Ledger, SourceState, Standing, State
from node.settings import Settings
from node.vitals.background import Background
from node.vitals.records import Disk, Vitals, WaitingQueue

DAY_S = 86_400.0
BROKER_TIMEOUT_S = 2.0


def look(settings: Settings, ledger: Ledger, background: Background) -> Vitals:
    """How the node is now.

    What it costs grows with what is under way and with what ended in a day, not with what the
    ledger has ever seen.

    Parameters
    ----------
    settings : Settings
    ledger : Ledger
    background : Background
        Where what takes long is remembered.

    Raises
    ------
    OSError
        If home is not there.
    sqlalchemy.exc.DBAPIError
        If the ledger does not answer.
    """
    now = ledger.clock()
    standing = ledger.standing()
    unsent_since = ledger.unsent_since()
    messages, broker_trouble = look_at_broker(settings)
    model, model_trouble = look_at_model(settings)
    return Vitals(
        at=datetime.fromtimestamp(now, UTC),
        disk=look_at_disk(settings, background),
        broker_trouble=broker_trouble,
        queues=tuple(
            WaitingQueue(queue, messages.get(queue), since)
            for queue, since in waits_since(settings, ledger, standing, unsent_since).items()
        ),
        workers=background.workers,
        destinations=look_at_destinations(settings, ledger),
        unsent_since=unsent_since,
        sources=look_at_sources(settings, ledger),
        echoes=background.echoes,
        model=model,
        model_trouble=model_trouble,
        standing=standing,
        ended_today=ledger.ended_since(now - DAY_S),
        last_received=ledger.last_received(),
    )


def waits_since(
    settings: Settings,
    ledger: Ledger,
    standing: Mapping[State, Standing],
    unsent_since: Mapping[str, datetime],
) -> dict[Queue, datetime | None]:
    """Since when the ledger has something for each queue, UTC; None where nothing waits."""
    found = {
        Queue.ANALYZE: standing[State.READY].since,
        Queue.DELIVER: min(unsent_since.values(), default=None),
    }
    if settings.shadow.is_on:
        found[Queue.SHADOW] = ledger.shadow_waits_since()
    return found


def look_at_disk(settings: Settings, background: Background) -> Disk:
    """How full the disk of home is.

    Raises
    ------
    OSError
        If home is not there.
    """
    usage = shutil.disk_usage(settings.home)
    least_free = int(settings.dicom.min_free_gb * 1024**3)
    return Disk(usage.total, usage.free, least_free, background.folders)


def look_at_broker(settings: Settings) -> tuple[dict[Queue, int], str | None]:
    """How many messages wait in each queue; or none, and why the broker cannot be asked."""
    try:
        with redis.Redis.from_url(
            broker_url(settings),
            socket_connect_timeout=BROKER_TIMEOUT_S,
            socket_timeout=BROKER_TIMEOUT_S,
        ) as client:
            return {queue: int(client.llen(queue.value)) for queue in queues_of(settings)}, None
    except ConfigError as error:
        return {}, str(error)
    except (redis.RedisError, OSError, ValueError) as error:
        return {}, f"the broker does not answer: {first_line(error)}"


def look_at_model(settings: Settings) -> tuple[Identity | None, str | None]:
    """Which model is configured; or none, and why it cannot be read."""
    try:
        return identify(settings.model.bundle), None
    except BundleError as error:
        return None, str(error)


def look_at_destinations(settings: Settings, ledger: Ledger) -> tuple[DestinationState, ...]:
    """How each destination is that is configured or that anything was ever planned for."""
    known = {state.name: state for state in ledger.destinations()}
    for destination in settings.recipients:
        known.setdefault(destination.name, DestinationState(destination.name, 0, 0, 0, None, None))
    return tuple(known[name] for name in sorted(known))


def look_at_sources(settings: Settings, ledger: Ledger) -> tuple[SourceState, ...]:
    """How each source is that is configured or that was ever asked."""
    known = {state.name: state for state in ledger.sources()}
    for source in settings.sources:
        known.setdefault(source.name, SourceState(source.name))
    return tuple(known[name] for name in sorted(known))
