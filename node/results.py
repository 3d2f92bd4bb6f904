"""Between report and ledger: what was built is recorded, what it replaces is found."""

from collections.abc import Iterable

from node.ledger import Ledger, Result, Revision
from node.report import ResultObject, ResultReference
from node.settings import IN_FORMS, Kind, ReportForm
from node.spool import Spool


def recorded(objects: Iterable[ResultObject], spool: Spool) -> list[Result]:
    """Results as the ledger keeps them, their files below the spool's folder of results."""
    return [
        Result(
            item.kind,
            item.series_instance_uid,
            item.sop_class_uid,
            item.sop_instance_uid,
            item.path.relative_to(spool.results),
            item.recipient,
        )
        for item in objects
    ]


def predecessors(
    ledger: Ledger, revision: Revision, form: ReportForm
) -> dict[Kind, ResultReference]:
    """For each kind of report the one that a new one of the revision replaces.

    A notice that nothing was analyzed is replaced by every report, and a report in an SR
    class by one in the same class, where there is one.
    """
    found = {}
    for kind in (*IN_FORMS, Kind.TEXT_REPORT, Kind.NOTICE):
        sop_class_uid = form.sop_class_uid if kind in IN_FORMS else None
        before = ledger.predecessor(revision, kind, Kind.NOTICE, sop_class_uid)
        if before is not None:
            found[kind] = ResultReference(
                before.series_instance_uid, before.sop_class_uid, before.sop_instance_uid
            )
    return found
