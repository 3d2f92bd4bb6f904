"""What the doctor looks at on this machine, and the order in which it looks at everything."""

import errno
import os
import socket
import ssl
import stat
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from ml.errors import IchnodeError, first_line
from node.check.finding import Finding, Health
from node.disk import Disk, Fullness
from node.errors import SourceError
from node.facts import SeriesFacts
from node.settings import (
    Condition,
    Destination,
    DicomwebSettings,
    Retrieve,
    Settings,
    SourceSettings,
)
from node.settings.web import is_this_machine

ECHO_TIMEOUT_S = 5.0
SOON = timedelta(days=30)
"""A certificate that ends within this is told of."""


def check(settings: Settings) -> Iterator[Finding]:
    """Look at everything, one after the other."""
    yield _guarded("home", lambda: _home(settings))
    yield _guarded("disk", lambda: _disk(settings))
    yield _guarded(
        "ledger",
        lambda: _ledger(settings),
        "see [ledger] url; is the database up, may the user in?",
    )
    yield _guarded("broker", lambda: _broker(settings), "see [broker] url; is the Redis up?")
    yield _guarded(
        "port", lambda: _port(settings), "end what listens there, or change [dicom] port"
    )
    if settings.feedback.hl7_port is not None:
        yield _guarded("hl7", lambda: _hl7(settings), "see [feedback] hl7_host and hl7_port")
    yield _guarded("access", lambda: _access(settings))
    if settings.dicomweb.port is not None:
        taking = partial(_dicomweb, settings.dicomweb, settings.dicomweb.port)
        yield _guarded("dicomweb", taking)
    for name, certificate, key in _certificates(settings):
        yield _guarded(
            f"certificate {name}",
            partial(_certificate, name, certificate, key),
            "renew it",
        )
    judging = (
        _guarded(
            "model",
            lambda: _bundle("model", settings.model.bundle, settings.model.operating_point),
            "set [model] bundle to one that is whole, or copy it again",
        ),
        _guarded(
            "device",
            lambda: _device(settings),
            'is its driver loaded (nvidia-smi)? else set [analyze] device = "auto"',
        ),
    )
    yield from judging
    if not any(finding.health is Health.BAD for finding in judging):
        yield _guarded("stage 1", lambda: _stage_1(settings), "see [analyze] runtime")
    if settings.shadow.bundle is not None:
        yield _guarded(
            "shadow",
            lambda: _bundle(
                "shadow", settings.shadow.bundle or "", settings.shadow.operating_point
            ),
            "the node goes on without it; set [shadow] bundle to one that is whole",
        )
    yield _guarded("decoders", _decoders, "reinstall ichnode: a decoder is missing")
    if not settings.recipients:
        yield Finding(
            "destinations",
            Health.NOTE,
            "none: results stay in home",
            "add a [[destinations]] table",
        )
    for destination in settings.recipients:
        yield _guarded(
            f"destination {destination.name}", partial(_destination, settings, destination)
        )
        if not destination.commit or not settings.peers:
            continue
        ae_title = destination.application.ae_title
        if settings.peer(ae_title) is None:
            yield Finding(
                f"commitment of {destination.name}",
                Health.BAD,
                f"{ae_title} is no peer: its storage commitment reports are rejected",
                f'add a [[peers]] table with ae_title = "{ae_title}"',
            )
    yield from routes_told(settings)
    for source in settings.sources:
        if source.is_web:
            yield _guarded(f"source {source.name}", partial(_web_source, source))
        else:
            yield from _source(settings, source)
    yield from _notify_rules(settings)


def routes_told(settings: Settings) -> Iterator[Finding]:
    """Routes for senders that may not send: a title is soon misspelt."""
    titles = tuple(peer.ae_title for peer in settings.peers)
    for route in settings.routes:
        if titles and not SeriesFacts(titles).meet(Condition(senders=route.senders)):
            yield Finding(
                f"route {route.name}",
                Health.NOTE,
                f"no peer is {', '.join(route.senders)}: nothing that peers send fits it",
                "see its senders, and ae_title of [[peers]]",
            )


def _source(settings: Settings, source: SourceSettings) -> Iterator[Finding]:
    """Ask a source for a study that nobody has: it has to answer that."""
    from pydicom.uid import generate_uid

    from node.fetch import Query, open_source

    subject = f"source {source.name}"
    nobodys = Query(study_instance_uid=generate_uid(prefix=None))
    try:
        found = list(open_source(settings, source).find(nobodys))
    except SourceError as error:
        trouble = first_line(error)
        cure = (
            f"is it up? does it know {settings.dicom.ae_title} with this machine's address, and "
            "does it answer questions?"
        )
        if source.tls and ("certificate" in trouble or "TLS" in trouble):
            cure = "see its tls_ca and tls_check_host, tls_certificate and tls_key"
        yield Finding(subject, Health.BAD, trouble, cure)
        return
    if found:
        text = f"{source.where} answers with series that it was not asked for"
        yield Finding(subject, Health.BAD, text, "is that its port for Query/Retrieve?")
        return
    yield Finding(subject, Health.GOOD, f"{source.where} answers a C-FIND")
    sends_here = source.retrieve is Retrieve.MOVE and source.ae_title is not None
    if sends_here and settings.peers and settings.peer(source.ae_title or "") is None:
        yield Finding(
            f"retrieval from {source.name}",
            Health.BAD,
            f"{source.ae_title} is no peer: what it sends by C-MOVE is rejected",
            f'add a [[peers]] table with ae_title = "{source.ae_title}", or set retrieve = "get"',
        )


def _notify_rules(settings: Settings) -> Iterator[Finding]:
    from node.notify.ways import reach

    for rule in settings.notify:
        subject = f"notify {rule.name}"
        try:
            reach(rule, settings.smtp)
        except (IchnodeError, OSError, ValueError) as error:
            yield Finding(
                subject,
                Health.BAD,
                f"{rule.to}: {first_line(error)}",
                f"is it up? `ichnode notify {rule.name}` tries it",
            )
        else:
            text = f"{rule.to} can be reached; `ichnode notify {rule.name}` tries it"
            yield Finding(subject, Health.GOOD, text)


def _guarded(subject: str, look: Callable[[], Finding], cure: str = "") -> Finding:
    try:
        return look()
    except (IchnodeError, OSError) as error:
        return Finding(subject, Health.BAD, first_line(error), cure)


def _home(settings: Settings) -> Finding:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=settings.home):
            pass
    except OSError as error:
        return Finding(
            "home",
            Health.BAD,
            f"{settings.home} cannot be written: {error.strerror}",
            "change its owner, or set home to a folder that this user may write",
        )
    if settings.home.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding(
            "home",
            Health.NOTE,
            f"{settings.home} is open to others on this machine",
            f"chmod 700 {settings.home}",
        )
    return Finding("home", Health.GOOD, str(settings.home))


def _disk(settings: Settings) -> Finding:
    disk = Disk.of(settings.home)
    health = {Fullness.ROOM: Health.GOOD, Fullness.HIGH: Health.NOTE, Fullness.FULL: Health.BAD}
    return Finding(
        "disk",
        health[disk.fullness(settings)],
        disk.told(settings),
        "make room: `ichnode purge` shows what may go; see [retention]",
    )


def _ledger(settings: Settings) -> Finding:
    from sqlalchemy import make_url

    from node.ledger import newest_revision, revision_at

    found, newest = revision_at(settings.ledger_url), newest_revision()
    name = make_url(settings.ledger_url).render_as_string(hide_password=True)
    then = "" if found == newest else f"; a node that starts brings it to {newest}"
    return Finding("ledger", Health.GOOD, f"{name}, revision {found or 'none'}{then}")


def _broker(settings: Settings) -> Finding:
    from node.broker import broker_url, check_broker, find_redis, url_file

    if settings.broker.url is None and not url_file(settings.home).exists():
        return Finding("broker", Health.GOOD, f"`ichnode up` starts {find_redis()}")
    check_broker(broker_url(settings))
    return Finding("broker", Health.GOOD, "answers")


def _port(settings: Settings) -> Finding:
    from node.deliver import RejectedError, echo
    from node.errors import DeliveryError

    dicom = settings.dicom
    where = f"{dicom.host}:{dicom.port}"
    family = socket.AF_INET6 if ":" in dicom.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((dicom.host, dicom.port))
        return Finding("port", Health.GOOD, f"{where} is free for `ichnode up`")
    except OSError as error:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(dicom.host, dicom.host)  # noqa: S104
        node = Destination(name="node", ae_title=dicom.ae_title, host=host, port=dicom.port)
        try:
            if dicom.tls.is_on:
                ssl.get_server_certificate((host, dicom.port), timeout=ECHO_TIMEOUT_S)
                return Finding("port", Health.GOOD, f"a node with TLS answers on {where}")
            echo(dicom.ae_title, node, ECHO_TIMEOUT_S)
        except RejectedError:
            return Finding("port", Health.GOOD, f"a node answers on {where}: it is no peer itself")
        except (DeliveryError, OSError):
            return Finding(
                "port",
                Health.BAD,
                f"{where} cannot be opened ({error.strerror}) and no node answers there",
                "end what listens there, or change [dicom] host and port",
            )
        return Finding("port", Health.GOOD, f"a node answers a C-ECHO on {where}")


def _hl7(settings: Settings) -> Finding:
    """Whether labels can come in by HL7; whoever listens there already is taken for the node."""
    where = settings.feedback.hl7_host, settings.feedback.hl7_port
    text = f"{where[0]}:{where[1]}"
    with socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return Finding("hl7", Health.GOOD, f"something listens for labels on {text}")
    return Finding("hl7", Health.GOOD, f"{text} is free for labels")


def _access(settings: Settings) -> Finding:
    from node.access import is_open_to_all

    if is_open_to_all(settings):
        return Finding(
            "access",
            Health.NOTE,
            f"whoever reaches {settings.dicom.host}:{settings.dicom.port} may send to the node",
            "add [[peers]] tables, or [dicom.tls]",
        )
    tls = f"with TLS, certificates of peers {settings.dicom.tls.client_certificates}"
    peers = f"{len(settings.peers)} peers" if settings.peers else "anyone who reaches the port"
    return Finding(
        "access", Health.GOOD, f"{peers}, {tls if settings.dicom.tls.is_on else 'without TLS'}"
    )


def _dicomweb(rules: DicomwebSettings, port: int) -> Finding:
    from node.port import listen

    where = f"{rules.host}:{port}"
    try:
        listen(rules.host, port, "[dicomweb]").close()
        state = "is free"
    except IchnodeError:
        if not _answers_as_stow(rules, port):
            return Finding(
                "dicomweb",
                Health.BAD,
                f"{where} cannot be opened and no node answers there",
                "end what listens there, or change [dicomweb] host and port",
            )
        state = "is taken by a node"
    senders = len(rules.users) + len(rules.tokens)
    who = f"{senders} senders" if senders else "anyone who reaches the port"
    tls = "with TLS" if rules.tls.is_on else "without TLS"
    text = f"{where} {state}; {who}, {tls}"
    if senders and not rules.tls.is_on and not is_this_machine(rules.host):
        cure = "set certificate and key in [dicomweb.tls]"
        return Finding("dicomweb", Health.NOTE, f"{text}: passwords and tokens in clear", cure)
    return Finding("dicomweb", Health.GOOD, text)


def _answers_as_stow(rules: DicomwebSettings, port: int) -> bool:
    """Whether a node takes instances there; with TLS, whether anybody shows a certificate."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(rules.host, rules.host)  # noqa: S104
    connection = HTTPConnection(host, port, timeout=ECHO_TIMEOUT_S)
    try:
        if rules.tls.is_on:
            return bool(ssl.get_server_certificate((host, port), timeout=ECHO_TIMEOUT_S))
        connection.request("GET", "/health/live")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _certificates(settings: Settings) -> Iterator[tuple[str, Path, Path]]:
    """Name, certificate and key of each that the node shows of itself."""
    for name, tls in (
        ("of the node", settings.dicom.tls),
        ("for dicomweb", settings.dicomweb.tls),
        ("for HL7", settings.feedback.tls),
    ):
        if tls.certificate is not None and tls.key is not None:
            yield name, tls.certificate, tls.key
    for peer in (*settings.destinations, *settings.peers, *settings.sources):
        if peer.tls_certificate is not None and peer.tls_key is not None:
            yield f"for {peer.name}", peer.tls_certificate, peer.tls_key
    for rule in settings.notify:
        if rule.certificate is not None and rule.key is not None:
            yield f"for {rule.name}", rule.certificate, rule.key


def _certificate(name: str, certificate: Path, key: Path) -> Finding:
    from node.tls import expires

    end = expires(certificate, key)
    left = end - datetime.now(UTC)
    text = f"{certificate} expires on {end:%Y-%m-%d}, in {left.days} days"
    if left < SOON:
        return Finding(f"certificate {name}", Health.NOTE, text, "renew it in time")
    return Finding(f"certificate {name}", Health.GOOD, text)


def _bundle(subject: str, name: str, operating_point: str) -> Finding:
    """Whether the model of a section can be loaded, and flags anything."""
    from ml.bundle import load_bundle

    bundle = load_bundle(name)
    manifest = bundle.manifest
    told = f"{manifest.name} {manifest.version} ({manifest.backbone}, digest {bundle.digest[:12]})"
    points = [point.name for point in manifest.operating_points]
    if operating_point not in points:
        return Finding(
            subject,
            Health.NOTE,
            f"{told} has no operating point {operating_point!r}: nothing is flagged",
            f"set [{subject}] operating_point to one of: {', '.join(points) or 'none'}",
        )
    return Finding(subject, Health.GOOD, told)


def _device(settings: Settings) -> Finding:
    import torch

    from ml.detector import choose_device

    device = choose_device(settings.analyze.device)
    if device.type == "cuda":
        return Finding("device", Health.GOOD, torch.cuda.get_device_name(device))
    return Finding("device", Health.NOTE, f"CPU, {os.cpu_count()} cores: no GPU in use")


def _stage_1(settings: Settings) -> Finding:
    from node.analyze import Analyzer

    wanted = settings.analyze.runtime
    detector = Analyzer.load(settings).detector
    if wanted == "auto" and detector.device.type == "cpu" and detector.runtime == "torch":
        return Finding(
            "stage 1",
            Health.NOTE,
            "by torch, which takes longer: OpenVINO is missing, or cannot run the model",
            'set [analyze] runtime = "openvino" to see why',
        )
    return Finding("stage 1", Health.GOOD, f"by {detector.runtime}")


def _decoders() -> Finding:
    from node.intake import transfer_syntaxes

    return Finding("decoders", Health.GOOD, f"{len(transfer_syntaxes())} transfer syntaxes")


def _destination(settings: Settings, peer: Destination) -> Finding:
    from node.reach import ReachError, reach

    subject = f"destination {peer.name}"
    try:
        reach(settings.dicom.ae_title, peer)
    except ReachError as error:
        return Finding(subject, Health.BAD, f"{peer.where}: {error}", error.cure)
    return Finding(subject, Health.GOOD, f"{peer.where} answers a {peer.question}")


def _web_source(source: SourceSettings) -> Finding:
    from node.reach import ReachError, search

    subject = f"source {source.name}"
    try:
        search(source)
    except ReachError as error:
        return Finding(subject, Health.BAD, f"{source.where}: {error}", error.cure)
    return Finding(subject, Health.GOOD, f"{source.where} answers a {source.question}")
