"""A connection of an association, in place of the one that pynetdicom makes."""

import ssl

from pynetdicom.transport import AssociationSocket


class Connection(AssociationSocket):
    """The bytes of a connection, with a limit on the time that what is sent may take.

    Parameters
    ----------
    made : AssociationSocket
        What pynetdicom has made; this takes its place.
    timeout_s : float
        For a peer that does not read.
    """

    def __init__(self, made: AssociationSocket, timeout_s: float) -> None:
        vars(self).update(vars(made))
        assert self.socket is not None
        self.socket.settimeout(timeout_s)

    @property
    def is_decrypted(self) -> bool:
        """Whether there is something to read that was taken off the network already."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0
