"""A destination, asked step by step, so that what is wrong with it has a name.

Its name, its port, TLS, the association (PS3.8, 9.3.4) and a C-ECHO (PS3.7, 9.1.5) come one
after the other; the first that fails is what an administrator has to look at. A DICOMweb server
is asked for one study (PS3.18, 10.6) instead.
"""

import socket
import ssl
from http import HTTPStatus

from ml.errors import first_line
from node.deliver import RejectedError, echo
from node.dicomweb import DICOMwebError, Web
from node.errors import ConfigError, DeliveryError
from node.settings import Called, Destination
from node.tls import why_not

ECHO_TIMEOUT_S = 5.0


class ReachError(DeliveryError):
    """A destination does not answer.

    Parameters
    ----------
    trouble : str
        What is wrong, in one line.
    cure : str
        What to do about it.
    """

    def __init__(self, trouble: str, cure: str) -> None:
        super().__init__(trouble)
        self.cure = cure


def reach(ae_title: str, peer: Destination) -> None:
    """Send a C-ECHO to a destination, or a search to a DICOMweb server.

    Parameters
    ----------
    ae_title : str
        The node's.
    peer : Destination

    Raises
    ------
    ReachError
        If it does not answer with Success.
    """
    if peer.is_web:
        search(peer)
    else:
        _connect(peer)
        _echo(ae_title, peer)


def search(server: Called) -> None:
    """Send a search to a DICOMweb server.

    Raises
    ------
    ReachError
        If it does not answer it.
    """
    _connect(server)
    try:
        with Web(server, ECHO_TIMEOUT_S) as web:
            web.probe()
    except ConfigError as error:
        raise ReachError(str(error), "see its keys in the configuration") from None
    except DICOMwebError as error:
        if error.status in (None, HTTPStatus.BAD_REQUEST) and server.tls != _takes_tls(server):
            raise _one_sided(server) from None
        cure = error.cure or "does a DICOMweb server listen there? its log may say more"
        raise ReachError(error.trouble, cure) from None


def _one_sided(server: Called) -> ReachError:
    if server.tls:
        return ReachError("it takes no TLS", "set http:// in url, or the port that it takes TLS on")
    return ReachError(
        "it takes TLS only", "set https:// in url, and tls_ca to what issued its certificate"
    )


def _connect(peer: Called) -> None:
    host, port = peer.address
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise ReachError(
            f"the name {host} is not known", "is it spelt right? an address does, too"
        ) from None
    try:
        socket.create_connection((host, port), ECHO_TIMEOUT_S).close()
    except ConnectionRefusedError:
        what = (
            "the port of its web server?"
            if peer.is_web
            else ("its DICOM port? (104, 11112 and 4242 are common)")
        )
        raise ReachError("nothing listens there", f"is it up, and is {port} {what}") from None
    except TimeoutError:
        raise ReachError(
            f"no connection within {ECHO_TIMEOUT_S:.0f} s",
            "is the address right? does a firewall lie between?",
        ) from None
    except OSError as error:
        raise ReachError(
            first_line(error), "is the address right? does the network lead there?"
        ) from None


def _echo(ae_title: str, peer: Destination) -> None:
    try:
        echo(ae_title, peer, ECHO_TIMEOUT_S)
    except RejectedError as error:
        raise ReachError(
            f"it rejects the association: {error.reason}", _cure(ae_title, peer, error)
        ) from None
    except DeliveryError as error:
        raise _without_association(peer, error) from None


def _cure(ae_title: str, peer: Destination, error: RejectedError) -> str:
    if error.has_another_title:
        return f"set its ae_title to what it calls itself; it is not {peer.ae_title}"
    if error.knows_not_the_node:
        return f"make {ae_title} with this machine's address known to it"
    return f"does it know {ae_title} with this machine's address, and call itself {peer.ae_title}?"


def _without_association(peer: Destination, error: DeliveryError) -> ReachError:
    """Why it takes connections and no association: mostly TLS on one side alone."""
    if peer.tls:
        complaint = why_not(peer, ECHO_TIMEOUT_S)
        if complaint is not None and "certificate" in complaint:
            return ReachError(
                complaint, "see tls_ca and tls_check_host, tls_certificate and tls_key"
            )
        if _takes_tls(peer):
            return ReachError(
                complaint or first_line(error), "does it ask for a certificate? see tls_certificate"
            )
        return ReachError("it takes no TLS", "set tls = false, or the port that it takes TLS on")
    if _takes_tls(peer):
        return ReachError(
            "it takes TLS only", "set tls = true, and tls_ca to what issued its certificate"
        )
    return ReachError(
        "it takes the connection, but answers no association",
        "does a DICOM application listen there? its log may say why it does not answer",
    )


def _takes_tls(peer: Called) -> bool:
    """Whether it begins a TLS handshake; whose certificate it shows does not matter here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(peer.address, ECHO_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=peer.address[0]),
        ):
            return True
    except ssl.SSLError as error:
        # It speaks TLS, and is not content with the node's.
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
