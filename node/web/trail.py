"""Who looked at what and who pressed what, for the audit trail."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from node.audit import Auditor, Authentication, Person, Study, header_of
from node.ledger import ReadingSource, Revision
from node.web.desk import Desk
from node.web.door import Visitor

ONCE_S = 600.0
"""A page that shows itself anew, and its pictures, are one look: recorded once in this time."""

_MOST_KEPT = 10_000


class Trail:
    """Records of people at the web page.

    Parameters
    ----------
    auditor : Auditor
    desk : Desk
        Knows where the images lie that say whose a series is.
    clock : callable
        Gives seconds that never go back.
    """

    def __init__(
        self, auditor: Auditor, desk: Desk, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._auditor = auditor
        self._desk = desk
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str, int], float] = OrderedDict()
        self._lock = threading.Lock()

    def seen(self, visitor: Visitor, revision: Revision) -> None:
        """Somebody looks at a series or one of its pictures."""
        key = visitor.name, visitor.address, revision.id
        with self._lock:
            if self._clock() - self._seen.get(key, -ONCE_S) < ONCE_S:
                return
            self._seen[key] = self._clock()
            self._seen.move_to_end(key)
            if len(self._seen) > _MOST_KEPT:
                self._seen.popitem(last=False)
        self._auditor.series_seen(
            _person(visitor), self._study(revision), revision.series_instance_uid
        )

    def begun_again(self, visitor: Visitor, revision: Revision) -> None:
        """Somebody has begun again with a series."""
        self._auditor.series_begun_again(
            _person(visitor), self._study(revision), revision.series_instance_uid
        )

    def has_read(self, visitor: Visitor, revision: Revision) -> None:
        """Somebody has said what is on a series."""
        self._auditor.series_read(
            _person(visitor),
            self._study(revision),
            revision.series_instance_uid,
            ReadingSource.PAGE,
        )

    def logged_in(self, visitor: Visitor, *, succeeded: bool) -> None:
        """Somebody has come in, or was not let in."""
        self._auditor.user_authenticated(
            _person(visitor), Authentication.LOGIN, succeeded=succeeded
        )

    def logged_out(self, visitor: Visitor) -> None:
        """Somebody has gone."""
        self._auditor.user_authenticated(_person(visitor), Authentication.LOGOUT)

    def _study(self, revision: Revision) -> Study:
        """The study, and whose it is, as far as an image of it still says so."""
        first = self._desk.ledger.first_instances([revision]).get(revision.id)
        if first is None:
            return Study(revision.study_instance_uid)
        found = Study.of(header_of(self._desk.spool.path(first.path)))
        return Study(revision.study_instance_uid, found.patient_id, found.accession_number)


def _person(visitor: Visitor) -> Person:
    return Person(visitor.name, visitor.address)
