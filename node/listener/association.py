"""What of an association of the library is ours."""

from typing import TYPE_CHECKING

from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler

from node.listener.connection import Bell, TimedConnection
from node.listener.gathering import Gathering
from node.listener.upper_layer import States, Telling, UpperLayer

if TYPE_CHECKING:
    from node.listener.port import Listener


class Handler(RequestHandler):
    """Makes an association of a connection, with our limits in it."""

    server: "Listener"

    def _create_association(self) -> Association:
        association = super()._create_association()
        limits = self.server.ae.settings.dicom
        dul = association.dul
        assert dul.socket is not None
        bell = Bell()
        dul.socket = TimedConnection(dul.socket, limits.idle_s, bell)
        dul.state_machine = States(dul)
        dul.to_provider_queue = Telling(lambda _: bell.ring())
        gathering = Gathering(association, self.server.ae.memory, limits.max_instance_mb * 1024**2)
        dul.to_user_queue = Telling(gathering.wake)
        dul._run_loop_delay = 0.0  # the connection waits instead
        dul.__class__ = UpperLayer
        association.dimse = gathering
        return association
