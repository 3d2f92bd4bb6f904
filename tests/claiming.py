"""A series begins to be analyzed, as a worker begins with it."""

from node.ledger import Claim, Ledger


def claimed(ledger: Ledger, revision_id: int, lease_s: float = 30) -> Claim:
    """Claim a revision, which has to be the next one.

    Parameters
    ----------
    ledger : Ledger
    revision_id : int
    lease_s : float
        Seconds.
    """
    claim = ledger.claim_next(lease_s)
    assert claim is not None, "nothing is ready"
    assert claim.revision.id == revision_id, "another one goes before it"
    return claim
