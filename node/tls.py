"""DICOM over TLS: by BCP 195, to those who call the node and to those whom it calls.

References
----------
BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile: DICOM PS3.15,
B.12. Suites, versions and what else is switched off: RFC 9325, 3 and 4.
"""

import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from node.errors import ConfigError
from node.settings import Called, ClientCertificates, NotifyRule, Settings, TakesTLS, TLSSettings
from node.settings.security import check_private

SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2 (RFC 9325, 4.2); those of 1.3 are all good, and OpenSSL's own."""

_REQUIREMENTS = {
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.NONE: ssl.CERT_NONE,
}


def server_context(settings: TLSSettings, where: str = "[dicom.tls]") -> ssl.SSLContext | None:
    """How the node answers those who call it; None without TLS.

    Parameters
    ----------
    settings : TLSSettings
    where : str
        The section that they come from, for messages.

    Raises
    ------
    ConfigError
        If a certificate or key cannot be used.
    """
    if settings.certificate is None or settings.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_key(context, settings.certificate, settings.key, where, "")
    if settings.ca is not None:
        _load_ca(context, settings.ca, f"{where} ca")
    context.verify_mode = _REQUIREMENTS[settings.client_certificates]
    return context


def client_context(peer: TakesTLS) -> ssl.SSLContext | None:
    """How the node calls a peer; None without TLS.

    Raises
    ------
    ConfigError
        If a certificate or key cannot be used.
    """
    if not peer.tls:
        return None
    where = f"{type(peer).__name__.removesuffix('Settings').lower()} {peer.name}:"
    context = _calling(where, "tls_", peer.tls_ca, peer.tls_certificate, peer.tls_key)
    context.check_hostname = peer.tls_check_host
    return context


def receiver_context(rule: NotifyRule) -> ssl.SSLContext:
    """How the node calls who is to be told.

    Raises
    ------
    ConfigError
        If a certificate or key cannot be used.
    """
    return _calling(f"notify {rule.name}:", "", rule.ca, rule.certificate, rule.key)


def _calling(
    where: str, prefix: str, ca: Path | None, certificate: Path | None, key: Path | None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    if ca is not None:
        _load_ca(context, ca, f"{where} {prefix}ca")
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if certificate is not None and key is not None:
        _load_key(context, certificate, key, where, prefix)
    return context


def check_files(settings: Settings) -> None:
    """Look at every certificate and key of the configuration.

    Raises
    ------
    ConfigError
        If one cannot be used.
    """
    server_context(settings.dicom.tls)
    server_context(settings.dicomweb.tls, "[dicomweb.tls]")
    server_context(settings.feedback.tls, "[feedback.tls]")
    for peer in (*settings.destinations, *settings.peers, *settings.sources):
        client_context(peer)
    for rule in settings.notify:
        if rule.ca is not None or rule.certificate is not None:
            receiver_context(rule)


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def _load_ca(context: ssl.SSLContext, ca: Path, where: str) -> None:
    try:
        context.load_verify_locations(ca)
    except OSError as error:  # ssl.SSLError too
        raise ConfigError(f"{where}: {ca} {_what_is_wrong(error)}") from None


def _load_key(
    context: ssl.SSLContext, certificate: Path, key: Path, where: str, prefix: str
) -> None:
    try:
        check_private(key)
    except OSError as error:
        raise ConfigError(f"{where} {prefix}key: {key} {_what_is_wrong(error)}") from None
    except ValueError as error:
        raise ConfigError(f"{where} {prefix}key: {error}") from None
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except _EncryptedKeyError:
        raise ConfigError(
            f"{where} {prefix}key: {key} has a passphrase: give one without, "
            "which its mode protects"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{where} {prefix}certificate {certificate} with {prefix}key {key} "
            f"{_what_is_wrong(error)}"
        ) from None


class _EncryptedKeyError(Exception):
    """OpenSSL asks for a passphrase, which nobody is there to type."""


def _no_passphrase() -> str:
    raise _EncryptedKeyError


def _what_is_wrong(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return f"cannot be read: {error.strerror}"
    if error.reason == "KEY_VALUES_MISMATCH":
        return "cannot be used: the key is that of another certificate"
    if error.reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        return f"is too weak: {error.reason.replace('_', ' ').lower()}"
    return "cannot be used: is it PEM?"


def expires(certificate: Path, key: Path) -> datetime:
    """When a certificate of the node ends.

    OpenSSL tells the dates of a certificate that it has verified only, so it
    is shown to itself.

    Raises
    ------
    ConfigError
        If it cannot be used, or has ended or not begun.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_key(server, certificate, key, "", "")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    try:
        _shake_hands((one, other))
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(f"{certificate}: {error.verify_message}") from None
    found = one.getpeercert()
    assert found is not None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found["notAfter"])), UTC)


def _shake_hands(sides: Sequence[ssl.SSLObject]) -> None:
    waiting = list(sides)
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)


def why_not(peer: Called, timeout_s: float) -> str | None:
    """What TLS says of a peer that could not be called; None if it has no complaint.

    pynetdicom says no more than that it did not come about.

    Parameters
    ----------
    peer : Called
    timeout_s : float
    """
    context = client_context(peer)
    if context is None:
        return None
    try:
        with (
            socket.create_connection(peer.address, timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=peer.address[0]) as connection,
        ):
            # With TLS 1.3 a server refuses the node's certificate only after the handshake.
            connection.settimeout(min(timeout_s, 1.0))
            connection.recv(1)
    except ssl.SSLError as error:
        return complaint(error)
    except OSError:
        return None
    return None


def complaint(error: ssl.SSLError) -> str:
    """What OpenSSL has to say of a peer that was called."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not taken: {error.verify_message}"
    reason = error.reason or "no handshake"
    return f"TLS fails: {reason.replace('_', ' ').lower()}"
