"""The images of a revision as a model takes them: all there and unaltered, or lost by name."""

from ml.errors import IchnodeError
from node.headers import SeriesHeaders, read_headers_beside
from node.judgement import digest_of_instances
from node.ledger import Instance, Ledger, Revision
from node.spool import Spool


class InstancesLost(IchnodeError):
    """Files of a series are gone from the spool or altered there."""

    def __init__(self, instances: list[Instance]) -> None:
        super().__init__(f"{len(instances)} images are gone from the spool or altered there")
        self.instances = instances


def read_series(ledger: Ledger, spool: Spool, revision: Revision) -> tuple[SeriesHeaders, str]:
    """Read the headers of a revision and see that its files are what was received.

    Returns
    -------
    SeriesHeaders
    str
        What stands for the set of its instances.

    Raises
    ------
    InstancesLost
        If some are not.
    SpoolError
        If that cannot be told.
    """
    instances = ledger.instances(revision)
    series, lost = read_headers_beside(
        [spool.path(instance.path) for instance in instances],
        lambda: [i for i in instances if not spool.holds(i.path, i.digest)],
    )
    if lost:
        raise InstancesLost(lost)
    return series, digest_of_instances((i.sop_instance_uid, i.digest) for i in instances)
