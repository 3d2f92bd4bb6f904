"""Celery messages: hints to the workers that the ledger has something for them.

A message carries an id and nothing else, and says no more than that there is something:
a worker takes what the ledger calls the most urgent. So one that comes twice finds nothing,
or begins with the next one earlier; one that is lost is sent again by the sweeper.
"""

import logging
import warnings
from enum import StrEnum
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from ml.errors import first_line
from node.settings import Settings

log = logging.getLogger(__name__)


PAUSE_AFTER_ERROR_S = 10.0
"""Before an unexpected error is tried again, times the number of attempts, seconds."""


class Queue(StrEnum):
    """Celery's queues, named after the stations that workers serve."""

    ANALYZE = "analyze"
    DELIVER = "deliver"
    SHADOW = "shadow"


def queues_of(settings: Settings) -> tuple[Queue, ...]:
    """The queues that a node with this configuration has workers for."""
    return tuple(queue for queue in Queue if queue is not Queue.SHADOW or settings.shadow.is_on)


def task_name(queue: Queue) -> str:
    """The name of the task that a queue is there for."""
    return f"ichnode.{queue}"


ASK_TASK = "ichnode.ask_commitment"
TELL_TASK = "ichnode.tell_commitment"
"""Tasks that go through the queue `deliver` too: storage commitment."""

HOW_IT_IS = "ichnode_how_it_is"
"""What workers are asked in Celery's remote control."""


def celery_app(url: str, settings: Settings) -> Celery:
    """Celery as the node uses it: JSON only, acknowledged late, one message at a time."""
    # Celery warns about root because of pickle, which is switched off here.
    warnings.filterwarnings("ignore", message=".*superuser privileges.*")
    app = Celery("ichnode", broker=url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": settings.broker.visibility_timeout_s,
            "socket_connect_timeout": 5,
            "socket_timeout": 30,
        },
        task_create_missing_queues=True,
    )
    return app


class Asking:
    """Asks workers how they are, as often as wanted: each app of Celery leaves something behind.

    Parameters
    ----------
    url : str
        The broker.
    settings : Settings
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self._app = celery_app(url, settings)

    def ask(self, timeout_s: float = 1.0) -> dict[str, dict[str, Any]]:
        """Wait for what workers say.

        Returns
        -------
        dict of str to dict
            What each that answered within `timeout_s` said, by its name: see `work.how_it_is`.
        """
        try:
            with redis.Redis.from_url(self.url, socket_connect_timeout=timeout_s) as client:
                client.ping()  # Celery would try for seconds to reach a broker that is away
            replies = self._app.control.broadcast(HOW_IT_IS, reply=True, timeout=timeout_s)
        except (OperationalError, redis.RedisError, OSError):
            return {}
        return {name: said for reply in replies or () for name, said in reply.items()}


def answering_workers(url: str, settings: Settings, timeout_s: float = 1.0) -> list[str]:
    """Names of the workers that answer within a time, seconds."""
    return sorted(Asking(url, settings).ask(timeout_s))


class Hints:
    """Sends messages, and shrugs if it cannot: the sweeper comes again.

    Parameters
    ----------
    url : str
        The broker.
    settings : Settings
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self._app = celery_app(url, settings)
        self._redis = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)
        self._is_silent = False

    def analyze(self, revision_id: int) -> None:
        """Say that a revision is ready to be analyzed."""
        self._send(Queue.ANALYZE, task_name(Queue.ANALYZE), revision_id)

    def deliver(self, destination: str) -> None:
        """Say that results are to be sent to a destination."""
        self._send(Queue.DELIVER, task_name(Queue.DELIVER), destination)

    def shadow(self, shadow_id: int) -> None:
        """Say that a series waits for the second model."""
        self._send(Queue.SHADOW, task_name(Queue.SHADOW), shadow_id)

    def ask_commitment(self, destination: str) -> None:
        """Say that a destination is to be asked to commit to what it has stored."""
        self._send(Queue.DELIVER, ASK_TASK, destination)

    def tell_commitment(self, report_id: int) -> None:
        """Say that a report on storage commitment is owed to a sender."""
        self._send(Queue.DELIVER, TELL_TASK, report_id)

    def is_empty(self, queue: Queue) -> bool:
        """Whether no message waits; False if the broker cannot be asked."""
        try:
            waiting = self._redis.llen(queue)
        except (redis.RedisError, OSError) as error:
            self._complain(error)
            return False
        self._is_silent = False
        return waiting == 0

    def _send(self, queue: Queue, task: str, *args: object) -> None:
        try:
            self._redis.ping()  # Celery would try for seconds to reach a broker that is away
            self._app.send_task(task, args=args, queue=queue.value, retry=False)
        except (OperationalError, redis.RedisError, OSError) as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        if not self._is_silent:  # once, not at every look
            log.warning("the broker does not answer, trying on: %s", first_line(error))
        self._is_silent = True
