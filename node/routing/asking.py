"""Where the results of a series in the ledger go by the routes of now."""

from node.facts import SeriesFacts
from node.headers import read_headers
from node.ledger import Ledger, Revision, State
from node.routing.rules import Routing, decide
from node.routing.sharing import lacks, plan
from node.settings import Settings
from node.spool import Spool


def facts_of(revision: Revision, ledger: Ledger, spool: Spool, settings: Settings) -> SeriesFacts:
    """What routes go by; headers are read where a route asks for them."""
    senders = ledger.senders(revision)
    if not any(route.descriptions or route.places for route in settings.routes):
        return SeriesFacts(senders)
    paths = [spool.path(instance.path) for instance in ledger.instances(revision)]
    return SeriesFacts.of(senders, read_headers(paths).headers)


def routing_of(revision: Revision, ledger: Ledger, spool: Spool, settings: Settings) -> Routing:
    """Decide anew where results of a series go."""
    return decide(facts_of(revision, ledger, spool, settings), revision.flagged, settings)


def begin_again(revision: Revision, ledger: Ledger, spool: Spool, settings: Settings) -> bool:
    """Begin again with what has failed, was skipped, or was not delivered.

    Results that are there are planned for whoever the routes name by now; what somebody
    of them needs and nobody needed before is made.

    Returns
    -------
    bool
        False if there is nothing to do again.
    """
    if revision.state is not State.REPORTED or revision.images_removed_at is not None:
        return ledger.retry(revision, ())
    results = ledger.results(revision)
    routing = routing_of(revision, ledger, spool, settings)
    if lacks(routing, results, settings):
        return ledger.make_again(revision.id, "a destination wants what was not made before")
    return ledger.retry(revision, plan(routing, results, settings))
