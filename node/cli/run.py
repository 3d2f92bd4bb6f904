"""Commands that run the node, and its parts one by one."""

import signal
import socket
import sys
import threading
from typing import Annotated

import typer
from rich.console import Console

from node.cli.common import (
    Config,
    Panel,
    Verbose,
    command,
    ledger_of,
    service_settings,
    settings_of,
    start_service_logging,
)
from node.errors import ConfigError


@command(Panel.RUN)
def up(config: Config = None, *, verbose: Verbose = False) -> None:
    """Run the node on this machine: broker, receiver, workers and web page, kept running.

    Ends with Ctrl-C or SIGTERM. Whatever is under way then goes on at the next start.
    """
    from node.up import Supervisor, one_at_a_time, parts_of, run_until_told

    settings = service_settings(config)
    start_service_logging(settings, "up", verbose=verbose)
    with one_at_a_time(settings.home):
        parts = parts_of(settings)
        run_until_told(Supervisor(settings, parts, config, with_broker=True, verbose=verbose))


@command(Panel.RUN)
def receive(
    config: Config = None,
    listening: Annotated[
        int | None,
        typer.Option("--socket", hidden=True, help="An open port: this is one of its processes."),
    ] = None,
    *,
    further: Annotated[
        bool, typer.Option("--further", hidden=True, help="Another one assembles.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Receive series and assemble them (one part of `up`, for many machines)."""
    from node.audit import Auditor
    from node.broker import broker_url
    from node.hints import Hints
    from node.notify import Notifier
    from node.processes import keep_freed_memory
    from node.receive import start_receiver
    from node.reconcile import reconcile_in_background
    from node.spool import Spool
    from node.sweep import Sweeper
    from node.up import Supervisor, receivers, run_until_told

    settings = service_settings(config)
    start_service_logging(settings, "receive", verbose=verbose)
    hints = Hints(broker_url(settings), settings)
    if listening is None and settings.dicom.processes > 1:
        run_until_told(Supervisor(settings, receivers(settings), config, verbose=verbose))
        return
    port = None if listening is None else socket.socket(fileno=listening)
    keep_freed_memory(4 * 1024**2)  # an image of 1024 x 1024, and what becomes of it
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    ledger = ledger_of(settings)
    spool = Spool(settings.home)
    if not further:
        reconcile_in_background(settings, spool, ledger)
    with Auditor.open(settings, "receive") as auditor:
        if not further:
            Notifier(settings, spool, ledger, auditor).start(stop)
        receiver = start_receiver(settings, spool, ledger, auditor, port)
        try:
            if further:
                stop.wait()
            else:
                Sweeper(settings, spool, ledger, hints).run(stop)
        finally:
            receiver.stop()


@command(Panel.RUN)
def dicomweb(
    config: Config = None,
    *,
    new_token: Annotated[
        bool, typer.Option("--new-token", help="Make a bearer token; print it and its hash.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Take instances by STOW-RS (one part of `up` where it is configured, for many machines)."""
    if new_token:
        _print_token()
        return
    from node.audit import Auditor
    from node.processes import keep_freed_memory
    from node.spool import Spool
    from node.stow.serve import serve

    settings = service_settings(config)
    start_service_logging(settings, "dicomweb", verbose=verbose)
    keep_freed_memory(4 * 1024**2)  # as where instances come in by C-STORE
    ledger = ledger_of(settings)
    with Auditor.open(settings, "dicomweb") as auditor:
        serve(settings, Spool(settings.home), ledger, auditor)


@command(Panel.RUN)
def work(
    config: Config = None,
    queue: Annotated[
        str | None,
        typer.Option(
            help="Serve only this one, analyze, deliver or shadow; else a process for each."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Deliveries at the same time; else one for each destination, and one more.",
            show_default=False,
        ),
    ] = None,
    *,
    verbose: Verbose = False,
) -> None:
    """Analyze and deliver (one part of `up`, for many machines)."""
    from node.broker import broker_url, check_broker
    from node.hints import Queue, queues_of
    from node.up import Supervisor, run_until_told, workers
    from node.work import run_worker

    settings = service_settings(config)
    start_service_logging(settings, queue or "work", verbose=verbose)
    if queue is None:
        run_until_told(Supervisor(settings, workers(settings), config, verbose=verbose))
        return
    if queue not in list(Queue):
        raise ConfigError(f"no queue {queue!r}; there are: {', '.join(Queue)}")
    if queue not in queues_of(settings):
        raise ConfigError(f"nothing is to be done for {queue}: [{queue}] bundle is not set")
    url = broker_url(settings)
    check_broker(url)
    # No destination has two senders, and so a slow one holds no other up.
    run_worker(settings, url, Queue(queue), threads or len(settings.recipients) + 1)


@command(Panel.RUN)
def web(
    config: Config = None,
    *,
    hash_password: Annotated[
        bool,
        typer.Option(
            "--hash-password", help="Ask for a password, or read it from stdin; print its hash."
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Serve the web page and the same as JSON (one part of `up`, for many machines).

    A worklist, every series with its slices, deliveries, queues, workers and destinations.
    """
    if hash_password:
        _print_hash()
        return
    from node.web.serve import serve

    settings = settings_of(config)
    start_service_logging(settings, "web", verbose=verbose)
    serve(settings)


def _print_token() -> None:
    """Print a token for a sender, and what stands in `[dicomweb.tokens]` for it."""
    import secrets

    from node.stow.door import token_hash

    token = secrets.token_urlsafe(32)
    print(f'token: {token}\nNAME = "{token_hash(token)}"')
    Console(stderr=True).print(
        "Give the token to the sender, and put the second line below [dicomweb.tokens], with the "
        "sender's name instead of NAME",
        highlight=False,
    )


def _print_hash() -> None:
    """Print what stands in `[web.users]` for a password."""
    import getpass

    from node.passwords import SHORTEST, hash_password

    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise ConfigError("these were two different passwords")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if len(password) < SHORTEST:
        raise ConfigError(f"a password has {SHORTEST} characters at least")
    print(f'NAME = "{hash_password(password)}"')
    Console(stderr=True).print(
        "Put this line below [web.users], with the user's name instead of NAME", highlight=False
    )
