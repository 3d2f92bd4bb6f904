"""Was anything lost, is anything there twice? A function of what was read in the end."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage

from node.ledger import Delivery, DeliveryState, Instance, Result, Revision, State
from tests.e2e.peers import one_set
from tests.soak.load import SentSeries
from tests.soak.servers import ORTHANC, Held

REPORTS = frozenset({str(Comprehensive3DSRStorage), str(BasicTextSRStorage)})
ENDED = frozenset({State.DELIVERED, State.SKIPPED, State.FAILED})
ENDS_OF_DELIVERY = frozenset({DeliveryState.COMMITTED, DeliveryState.FAILED})
STORED = frozenset({DeliveryState.SENT, DeliveryState.COMMITTED})


class Wrong(StrEnum):
    """What a series can have wrong with it."""

    LOST = "lost"
    TWICE = "twice"
    UNFINISHED = "unfinished"
    ALTERED = "altered"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a series.

    Parameters
    ----------
    wrong : Wrong
    series : str
        Series Instance UID.
    text : str
        What was seen.
    """

    wrong: Wrong
    series: str
    text: str


@dataclass(frozen=True)
class Account:
    """What the ledger says of a revision."""

    revision: Revision
    instances: tuple[Instance, ...]
    results: tuple[Result, ...]
    deliveries: tuple[Delivery, ...]

    @property
    def contents(self) -> frozenset[tuple[str, str]]:
        """What counts for it: UIDs with digests."""
        return frozenset((i.sop_instance_uid, i.digest) for i in self.instances)


def is_quiet(accounts: Sequence[Account], committing: str = ORTHANC) -> bool:
    """Whether nothing of a series is under way any more.

    Parameters
    ----------
    accounts : sequence of Account
    committing : str
        The destination that is asked for storage commitment: there "sent" is not the end.
    """
    return all(
        account.revision.state in ENDED
        and all(
            delivery.state in ENDS_OF_DELIVERY
            or (delivery.state is DeliveryState.SENT and delivery.destination != committing)
            for delivery in account.deliveries
        )
        for account in accounts
    )


def not_come(series: SentSeries, accounts: Sequence[Account]) -> set[str]:
    """UIDs of acknowledged images that the ledger does not have."""
    known = {i.sop_instance_uid for i in accounts[-1].instances} if accounts else set()
    return series.acknowledged - known


def judge(
    series: SentSeries, accounts: Sequence[Account], archives: Mapping[str, Sequence[Held]]
) -> list[Finding]:
    """Everything that is wrong with a series in the end.

    Parameters
    ----------
    series : SentSeries
    accounts : sequence of Account
        Its revisions, in order.
    archives : mapping of str to sequence of Held
        What each archive holds of its study, by the name of the destination. Of
        studies with several series, the results of the others too.
    """
    found = [*_in_the_ledger(series, accounts)]
    if accounts:
        for name, held in archives.items():
            found += _in_an_archive(series, accounts, name, held)
    return found


def _in_the_ledger(series: SentSeries, accounts: Sequence[Account]) -> list[Finding]:
    uid = series.uid
    if not series.is_acknowledged:
        what = f"{len(series.open)} of {len(series.images)} images were never acknowledged"
        return [Finding(Wrong.UNFINISHED, uid, what)]
    found = []
    if missing := not_come(series, accounts):
        what = f"{len(missing)} acknowledged images are not in the ledger"
        found.append(Finding(Wrong.LOST, uid, what))
    for account in accounts:
        if not is_quiet([account]):
            found.append(Finding(Wrong.UNFINISHED, uid, f"still {_told(account)}"))
    if accounts and accounts[-1].revision.state is not State.DELIVERED:
        found.append(Finding(Wrong.LOST, uid, f"no result: {_told(accounts[-1])}"))
    for before, after in pairwise(accounts):
        if before.contents == after.contents:
            what = f"revision {after.revision.number} has the images of the one before"
            found.append(Finding(Wrong.TWICE, uid, what))
    return found


def _told(account: Account) -> str:
    states = Counter(f"{d.destination} {d.state}" for d in account.deliveries)
    revision = account.revision
    return (
        f"revision {revision.number} {revision.state} {revision.reason or ''} "
        f"{revision.detail or ''} {dict(states)}"
    )


def _in_an_archive(
    series: SentSeries, accounts: Sequence[Account], name: str, held: Sequence[Held]
) -> list[Finding]:
    """One current set, all of it, and nothing that no revision has made."""
    uid = series.uid
    results = {r.sop_instance_uid for account in accounts for r in account.results}
    there = {item.uid: item for item in held if item.uid in results}
    newest = {r.sop_instance_uid: r for r in accounts[-1].results}
    found = []
    if missing := set(newest) - set(there):
        what = f"{name} lacks {len(missing)} of {len(newest)} results of {_told(accounts[-1])}"
        found.append(Finding(Wrong.LOST, uid, what))
    if (made := Counter(r.sop_class_uid for r in newest.values())) != one_set(len(series.images)):
        found.append(Finding(Wrong.LOST, uid, f"the results are no whole set: {dict(made)}"))
    for account in accounts:
        for delivery in account.deliveries:
            is_here = delivery.result.sop_instance_uid in there
            if delivery.destination == name and delivery.state in STORED and not is_here:
                what = f"{name} lacks {delivery.result.kind} that counts as {delivery.state}"
                found.append(Finding(Wrong.LOST, uid, what))
    reports = {item.uid: item for item in there.values() if item.sop_class in REPORTS}
    replaced = {before for item in reports.values() for before in item.predecessors}
    current = set(reports) - replaced
    expected = {r.sop_instance_uid for r in newest.values() if r.sop_class_uid in REPORTS}
    if current - expected:
        what = f"{name} has {len(current - expected)} reports of old that nothing replaces"
        found.append(Finding(Wrong.TWICE, uid, what))
    return found


def strangers(
    accounts: Sequence[Sequence[Account]], name: str, held: Sequence[Held]
) -> list[Finding]:
    """Objects in an archive that belong to no revision of any series."""
    known = {r.sop_instance_uid for series in accounts for a in series for r in a.results}
    return [
        Finding(Wrong.TWICE, item.study, f"{name} has {item.uid}, which no revision has made")
        for item in held
        if item.uid not in known
    ]


def altered(name: str, stored: Sequence[Held]) -> list[Finding]:
    """Objects that came again under their UID with other content."""
    digests: dict[tuple[str, str], set[str]] = defaultdict(set)
    for item in stored:
        digests[item.study, item.uid].add(item.digest)
    return [
        Finding(Wrong.ALTERED, study, f"{name} got {uid} with {len(found)} contents")
        for (study, uid), found in digests.items()
        if len(found) > 1
    ]
