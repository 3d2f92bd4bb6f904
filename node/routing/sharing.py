"""Which objects go to whom, and what has to be made for that: pure functions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from node.ledger import Plan, Planned, Result
from node.routing.rules import Routing
from node.settings import IN_FORMS, Destination, Kind, ReportForm, Settings

_READ = (Kind.STRUCTURED_REPORT, Kind.TEXT_REPORT)
"""What a workitem refers to: the first of these that is there."""


@dataclass(frozen=True)
class Workitem:
    """A workitem that is to be made: one for each recipient.

    Parameters
    ----------
    recipient : str
        Name of the destination that it is for.
    kind : Kind, optional
        Of the report that it refers to.
    form : ReportForm
        In which SR class that is, where it has one.
    retrieve_from : str, optional
        AE title or URL of who has stored that report by then; None: nobody gets one.
    replaces : tuple of str
        UIDs of those that earlier revisions of the series had for the recipient.
    """

    recipient: str
    kind: Kind | None
    form: ReportForm
    retrieve_from: str | None
    replaces: tuple[str, ...] = ()


def form_of(recipient: Destination, settings: Settings) -> ReportForm:
    """The SR class that a recipient gets."""
    return recipient.structured_report or settings.report.structured_report


def forms(routing: Routing, settings: Settings) -> tuple[ReportForm, ...]:
    """The SR classes that recipients want, that of [report] first; it alone if nobody wants any."""
    wanted = {
        form_of(recipient, settings)
        for recipient, kinds in _recipients(routing, settings)
        if kinds & set(IN_FORMS)
    }
    usual = settings.report.structured_report
    found = sorted(wanted, key=lambda form: (form is not usual, [*ReportForm].index(form)))
    return tuple(found) or (usual,)


def workitems(
    routing: Routing, settings: Settings, before: Mapping[str, tuple[str, ...]]
) -> tuple[Workitem, ...]:
    """The workitems that recipients want.

    Parameters
    ----------
    routing : Routing
    settings : Settings
    before : mapping of str to tuple of str
        By recipient the UIDs of those that earlier revisions of the series had.
    """
    found = []
    for recipient, kinds in _recipients(routing, settings):
        if Kind.WORKITEM in kinds:
            keeper = _keeper(recipient, routing, settings)
            read = () if keeper is None else routing.wanted[keeper.name]
            found.append(
                Workitem(
                    recipient.name,
                    next((kind for kind in _read(settings) if kind in read), None),
                    form_of(keeper or recipient, settings),
                    None if keeper is None else keeper.url or keeper.ae_title,
                    before.get(recipient.name, ()),
                )
            )
    return tuple(found)


def plan(routing: Routing, results: Sequence[Result], settings: Settings) -> Plan:
    """Plan where results go.

    Parameters
    ----------
    routing : Routing
    results : sequence of Result
        Of one revision, those made last at the end.
    settings : Settings
    """
    planned = []
    for recipient, kinds in _recipients(routing, settings):
        keeper = _keeper(recipient, routing, settings)
        for result in _for_recipient(recipient, kinds, results, settings):
            first = keeper if result.kind == Kind.WORKITEM else None
            follows = None if first is None else first.name
            planned.append(Planned(result.sop_instance_uid, recipient.name, follows))
    return Plan(tuple(planned))


def lacks(routing: Routing, results: Sequence[Result], settings: Settings) -> bool:
    """Whether a recipient wants something that was made for others, and not for it."""
    made = {(result.kind, result.sop_class_uid) for result in results}
    kinds_made = {kind for kind, _ in made}
    with_workitem = {result.recipient for result in results}
    for recipient, kinds in _recipients(routing, settings):
        sop_class_uid = form_of(recipient, settings).sop_class_uid
        in_form = kinds & set(IN_FORMS) & kinds_made
        if any((kind, sop_class_uid) not in made for kind in in_form):
            return True
        is_judged = Kind.STRUCTURED_REPORT in kinds_made
        if is_judged and Kind.WORKITEM in kinds and recipient.name not in with_workitem:
            return True
    return False


def _recipients(
    routing: Routing, settings: Settings
) -> Iterator[tuple[Destination, frozenset[Kind]]]:
    """Who gets something, and which kinds, in the order of the configuration."""
    for recipient in settings.recipients:
        if recipient.name in routing.wanted:
            yield recipient, routing.wanted[recipient.name]


def _read(settings: Settings) -> tuple[Kind, ...]:
    return _READ if settings.report.text_report else _READ[:1]


def _keeper(recipient: Destination, routing: Routing, settings: Settings) -> Destination | None:
    """Who stores what a workitem refers to: its recipient, or else the first that gets a report."""
    readable = set(_read(settings))
    keepers = [r for r, kinds in _recipients(routing, settings) if kinds & readable]
    return recipient if recipient in keepers else next(iter(keepers), None)


def _for_recipient(
    recipient: Destination,
    kinds: frozenset[Kind],
    results: Sequence[Result],
    settings: Settings,
) -> Iterator[Result]:
    sop_class_uid = form_of(recipient, settings).sop_class_uid
    workitem = None
    is_judged = any(result.kind == Kind.STRUCTURED_REPORT for result in results)
    for result in results:
        if result.kind not in kinds or (is_judged and result.kind == Kind.NOTICE):
            continue  # a notice that nothing was analyzed is not true any more
        if result.kind == Kind.WORKITEM:
            workitem = result if result.recipient == recipient.name else workitem
        elif result.kind not in IN_FORMS or result.sop_class_uid == sop_class_uid:
            yield result
    if workitem is not None:  # the one that was made last
        yield workitem
