"""Which routes fit a series, and what each recipient is to get: pure functions."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from node.facts import SeriesFacts
from node.settings import SENDER, Condition, Kind, Route, Settings

BACK = "back to the sender"
"""Stands for a route where there is none, and no destination."""

WHOEVER = "whoever sent it"
"""Stands for the senders of a series where none is known."""


@dataclass(frozen=True)
class Verdict:
    """What a route says of a series.

    Parameters
    ----------
    name : str
        Of the route.
    why_not : str, optional
        Why it does not fit; None if it does. It quotes no header.
    to : tuple of str
        Names of the recipients, where it fits.
    """

    name: str
    why_not: str | None
    to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Routing:
    """Where the results of a series go.

    Parameters
    ----------
    verdicts : tuple of Verdict
        Of each route, in the order of the configuration.
    wanted : mapping of str to frozenset of Kind
        By name of a recipient the kinds of objects that it gets; some may not be made.
    uncalled : tuple of str
        Senders that results would go back to, and whose address is not known.
    """

    verdicts: tuple[Verdict, ...]
    wanted: Mapping[str, frozenset[Kind]]
    uncalled: tuple[str, ...] = ()

    @property
    def said(self) -> str | None:
        """By which routes something goes where, for the history of a series."""
        fitting = [f"{v.name}: {', '.join(v.to)}" for v in self.verdicts if v.to]
        return "; ".join(fitting) or None

    @property
    def unsent(self) -> str:
        """Why nothing is sent, where that is so."""
        if self.uncalled:
            return f"results stay here: no address is known of {', '.join(self.uncalled)}"
        if any(verdict.why_not is None for verdict in self.verdicts):
            return "results stay here: the routes that fit are for other kinds of objects"
        names = ", ".join(verdict.name for verdict in self.verdicts)
        return f"results stay here: no route fits ({names}); `ichnode route` tells why"


def decide(facts: SeriesFacts, flagged: Collection[str], settings: Settings) -> Routing:
    """Decide where results of a series go.

    All routes that fit count together. Without any route everything goes to every
    destination, and without a destination back to the sender.

    Parameters
    ----------
    facts : SeriesFacts
    flagged : collection of str
        The findings that the model's operating point calls present; none of a notice.
    settings : Settings
    """
    if not settings.routes:
        everything = tuple(d.name for d in settings.destinations) or (SENDER,)
        wanted, uncalled = _share(everything, (), facts, settings)
        back = () if settings.destinations else (Verdict(BACK, None, tuple(wanted)),)
        return Routing(back, wanted, uncalled)
    verdicts = []
    wanted_by_all: dict[str, frozenset[Kind]] = {}
    uncalled_by_all: dict[str, None] = {}
    for route in settings.routes:
        why_not = "; ".join(_against(route, facts, flagged)) or None
        if why_not is not None:
            verdicts.append(Verdict(route.name, why_not))
            continue
        wanted, uncalled = _share(route.to, route.kinds, facts, settings)
        verdicts.append(Verdict(route.name, None, tuple(wanted)))
        for name, kinds in wanted.items():
            wanted_by_all[name] = wanted_by_all.get(name, frozenset()) | kinds
        uncalled_by_all.update(dict.fromkeys(uncalled))
    return Routing(tuple(verdicts), wanted_by_all, tuple(uncalled_by_all))


def _against(route: Route, facts: SeriesFacts, flagged: Collection[str]) -> Iterator[str]:
    """What does not hold of a series that a route asks for."""
    for key in Condition.model_fields:
        asked = getattr(route, key)
        if not facts.meet(Condition(**{key: asked})):
            yield f"{key}: none is {', '.join(map(str, asked))}"
    if route.is_for_flagged and not flagged:
        yield "flagged: nothing is"
    elif route.findings and not set(route.findings) & set(flagged):
        yield f"findings: not flagged for {', '.join(route.findings)}"


def _share(
    to: Collection[str], kinds: Collection[Kind], facts: SeriesFacts, settings: Settings
) -> tuple[dict[str, frozenset[Kind]], tuple[str, ...]]:
    """What those get that something goes to, and the senders among them that cannot be called."""
    wanted: dict[str, frozenset[Kind]] = {}
    uncalled = []
    recipients = [d for d in settings.destinations if d.name in to]
    for sender in (facts.senders or (WHOEVER,)) if SENDER in to else ():
        recipient = settings.recipient(sender)
        if recipient is None:
            uncalled.append(sender)
        else:
            recipients.append(recipient)
    for recipient in recipients:
        unwanted = set() if recipient.ups else {Kind.WORKITEM}
        wanted[recipient.name] = frozenset(kinds or Kind) - unwanted
    return {name: kinds for name, kinds in wanted.items() if kinds}, tuple(uncalled)
