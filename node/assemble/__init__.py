"""Station 2: find out whether a series is whole, and whether the model may judge it."""

import logging
from datetime import datetime, timedelta

from node.assemble.completeness import declared_counts, evidence, lacking
from node.assemble.eligibility import Reason, Verdict, judge, read_traits
from node.headers import SeriesHeaders, read_headers
from node.ledger import Ledger, Revision
from node.settings import AssembleSettings, EligibilitySettings, Settings
from node.spool import Spool

__all__ = ["Reason", "Verdict", "assemble", "look_at", "wait_until"]

log = logging.getLogger(__name__)


def look_at(series: SeriesHeaders, rules: EligibilitySettings) -> Verdict:
    """Whether the model may judge a series, with all that is to be warned of."""
    verdict = judge(read_traits(series.headers, rules), series.arrangement, rules)
    warnings = [*series.warnings, *verdict.warnings]
    declared = declared_counts(series.headers)
    if declared is not None and declared[0] < declared[1]:
        warnings.append(f"{declared[0]} of {declared[1]} declared images came: slices are missing")
    return Verdict(verdict.reason, verdict.detail, tuple(warnings))


def wait_until(
    revision: Revision, series: SeriesHeaders, rules: AssembleSettings
) -> datetime | None:
    """When to look again whether more has come; None if the series counts as whole.

    Parameters
    ----------
    revision : Revision
        In the state receiving.
    series : SeriesHeaders
    rules : AssembleSettings

    Notes
    -----
    Evidence counts only once the association that brought the last slice has
    ended; an association that is silent for `quiet_s` no longer holds it up.
    """
    quiet_end = revision.last_instance_at + timedelta(seconds=rules.quiet_s)
    released = revision.released_at
    if released is None:
        return quiet_end
    count = revision.count
    if evidence(series.headers, series.arrangement, rules.min_coverage_mm, count) is None:
        return quiet_end
    return released + timedelta(seconds=rules.grace_s)


def assemble(
    revision: Revision, ledger: Ledger, spool: Spool, settings: Settings, now: datetime
) -> bool:
    """Move a revision that is due on from receiving, if its time has come.

    Returns
    -------
    bool
        Whether it is ready to be analyzed.
    """
    instances = ledger.instances(revision)
    series = read_headers([spool.path(instance.path) for instance in instances])
    until = wait_until(revision, series, settings.assemble)
    if until is not None and until > now:
        ledger.postpone(revision, until)
        return False
    verdict = look_at(series, settings.eligibility)
    replaced = ledger.replaced(revision)
    warnings = [*verdict.warnings]
    if missing := lacking(len(instances), revision.count):
        warnings.append(missing)
    if replaced:
        warnings.append(f"{replaced} images came again with other content; the newest count")
    if removed := ledger.removed(revision):
        warnings.append(f"{removed} images that came earlier were removed after their time")
    if verdict.reason is not None:
        if ledger.skip(revision, verdict.reason, verdict.detail, warnings):
            log.info("series %s skipped: %s", revision.series_instance_uid, verdict.reason)
        return False
    if ledger.ready(revision, warnings):
        log.info("series %s is ready: %d images", revision.series_instance_uid, len(instances))
        return True
    return False
