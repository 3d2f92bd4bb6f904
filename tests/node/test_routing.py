"""Which route fits, who gets which kinds, and what has to be made for that."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from ml.labels import Label
from node.check import Health
from node.check.parts import routes_told
from node.facts import SeriesFacts
from node.ledger import Planned, Result
from node.routing import Routing, Workitem, decide, forms, lacks, plan, workitems
from node.settings import IN_FORMS, Kind, ReportForm, Settings

COMPREHENSIVE_3D, COMPREHENSIVE, ENHANCED = ReportForm

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def destination(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "ae_title": name.upper(), "host": "127.0.0.1", "port": 104, **more}


def peer(name: str, *, port: int | None = 11112) -> dict[str, object]:
    host = None if port is None else "127.0.0.2"
    return {"name": name, "ae_title": name.upper(), "host": host, "port": port}


def settings(**sections: object) -> Settings:
    report = {"key_objects": True, "presentation_state": True, "evidence_maps": True}
    return Settings(**{"home": "/nowhere", "report": report, **sections})


def from_(*senders: str) -> SeriesFacts:
    return SeriesFacts(senders)


def wanted(found: Routing) -> dict[str, set[str]]:
    return {name: set(kinds) for name, kinds in found.wanted.items()}


ALL = set(Kind) - {Kind.WORKITEM}


# -- without routes -------------------------------------------------------------------------


def test_without_routes_every_destination_gets_everything_and_nothing_goes_back() -> None:
    given_ = settings(
        destinations=[destination("pacs"), destination("viewer", ups=True)], peers=[peer("ct")]
    )
    assert wanted(decide(from_("CT"), (), given_)) == {"pacs": ALL, "viewer": set(Kind)}


def test_without_a_destination_results_go_back_to_a_sender_whose_address_is_known() -> None:
    given_ = settings(peers=[peer("ct"), peer("mute", port=None)])
    assert wanted(decide(from_("CT"), (), given_)) == {"ct": ALL}
    assert given_.destination("ct").port == 11112
    nobody = decide(from_("MUTE"), (), given_)
    assert nobody.wanted == {}
    assert nobody.uncalled == ("MUTE",)
    assert nobody.unsent == "results stay here: no address is known of MUTE"


@pytest.mark.parametrize("routes", [[], [{"name": "back", "to": ["sender"]}]])
def test_without_a_known_sender_it_is_said_that_nobody_can_be_called(routes: list[dict]) -> None:
    found = decide(from_(), (), settings(peers=[peer("ct")], routes=routes))
    assert found.wanted == {}
    assert found.unsent == "results stay here: no address is known of whoever sent it"


# -- by routes ------------------------------------------------------------------------------


def test_a_series_of_several_senders_goes_back_to_each_that_can_be_called_once() -> None:
    given_ = settings(
        destinations=[destination("pacs")],
        peers=[peer("ct"), peer("gw"), peer("mute", port=None)],
        routes=[{"name": "back", "to": ["sender"]}],
    )
    found = decide(from_("CT", "GW", "CT", "MUTE", "(spool)"), (), given_)
    assert list(found.wanted) == ["ct", "gw"]
    assert found.uncalled == ("MUTE", "(spool)")


def test_a_sender_that_is_a_destination_too_is_sent_a_thing_once() -> None:
    pacs = destination("pacs")
    same = {**peer("archive"), "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    given_ = settings(
        destinations=[pacs],
        peers=[same],
        routes=[
            {"name": "all", "to": ["pacs"], "kinds": ["sr"]},
            {"name": "back", "to": ["sender"], "kinds": ["sc"]},
        ],
    )
    assert wanted(decide(from_("PACS"), (), given_)) == {"pacs": {"sr", "sc"}}
    assert [recipient.name for recipient in given_.recipients] == ["pacs"]


def test_a_destination_that_sends_is_called_at_its_own_address() -> None:
    given_ = settings(
        destinations=[destination("pacs")], routes=[{"name": "back", "to": ["sender"]}]
    )
    assert list(decide(from_("PACS"), (), given_).wanted) == ["pacs"]


@pytest.mark.parametrize(
    ("route", "flagged", "why_not"),
    [
        ({}, [], None),
        ({"flagged": "only"}, [], "flagged: nothing is"),
        ({"flagged": "only"}, ["any"], None),
        ({"findings": ["subdural"]}, [], "flagged: nothing is"),
        ({"findings": ["subdural"]}, ["any"], "findings: not flagged for subdural"),
        ({"findings": ["subdural", "any"]}, ["any"], None),
        ({"senders": ["ED*"]}, [], "senders: none is ED*"),
        ({"senders": ["ED*", "CT"]}, [], None),
        ({"descriptions": ["stroke"]}, [], "descriptions: none is stroke"),
        ({"descriptions": ["^ct head"]}, [], None),
        (
            {"places": ["ward"], "descriptions": ["x"], "flagged": "only"},
            [],
            "descriptions: none is x; places: none is ward; flagged: nothing is",
        ),
    ],
)
def test_a_route_says_why_it_does_not_fit(
    route: dict[str, object], flagged: list[str], why_not: str | None
) -> None:
    given_ = settings(
        destinations=[destination("pacs")], routes=[{"name": "one", "to": ["pacs"], **route}]
    )
    facts = SeriesFacts(("CT",), ("CT Head",), ("ED",))
    (verdict,) = decide(facts, flagged, given_).verdicts
    assert verdict.why_not == why_not


def test_why_nothing_is_sent_quotes_no_header() -> None:
    given_ = settings(
        destinations=[destination("pacs")],
        routes=[{"name": "one", "to": ["pacs"], "descriptions": ["stroke"]}],
    )
    found = decide(SeriesFacts(("CT",), ("Secret^Patient",)), (), given_)
    assert found.unsent == "results stay here: no route fits (one); `ichnode route` tells why"
    assert found.said is None
    assert "Secret" not in repr(found)


# -- against a plain reference --------------------------------------------------------------

NAMES = ("pacs", "viewer", "list")
TITLES = ("CT", "GW", "MUTE", "PACS", "NOBODY")

routes = st.lists(
    st.fixed_dictionaries(
        {
            "to": st.lists(st.sampled_from([*NAMES, "sender"]), min_size=1, unique=True),
            "senders": st.lists(st.sampled_from(["C*", "G?", "PACS", "*"]), max_size=2),
            "descriptions": st.lists(st.sampled_from(["head", "^ct", "stroke"]), max_size=2),
            "places": st.lists(st.sampled_from([r"\bed\b", "ward"]), max_size=2),
            "flagged": st.sampled_from(["any", "only"]),
            "findings": st.lists(st.sampled_from([*Label]), max_size=2),
            "kinds": st.lists(st.sampled_from(sorted(ALL - {Kind.NOTICE})), max_size=3),
        }
    ),
    max_size=6,
)
facts = st.builds(
    SeriesFacts,
    st.lists(st.sampled_from(TITLES), max_size=3).map(tuple),
    st.lists(st.sampled_from(["CT head", "Stroke", ""]), max_size=2).map(tuple),
    st.lists(st.sampled_from(["ED 1", "Ward 2"]), max_size=2).map(tuple),
)
flags = st.lists(st.sampled_from([*Label]), unique=True)

ADDRESSES = {"CT": "ct", "GW": "gw", "PACS": "pacs", "VIEWER": "viewer", "LIST": "list"}


def reference(rules: list[dict], seen: SeriesFacts, flagged: list[str]) -> dict[str, set[str]]:
    """The same, one thing at a time, with everything written out."""
    pairs = set()
    for kind in ALL | {"ups"}:
        for rule in rules:
            if rule["senders"]:
                likes = [fnmatchcase(s, p) for s in seen.senders for p in rule["senders"]]
                if True not in likes:
                    continue
            if rule["descriptions"]:
                joined = [
                    re.search(w, d, re.I) for d in seen.descriptions for w in rule["descriptions"]
                ]
                if not [hit for hit in joined if hit]:
                    continue
            if rule["places"]:
                joined = [re.search(w, d, re.I) for d in seen.places for w in rule["places"]]
                if not [hit for hit in joined if hit]:
                    continue
            if rule["flagged"] == "only" and not flagged:
                continue
            if rule["findings"] and not [f for f in rule["findings"] if f in flagged]:
                continue
            if rule["kinds"] and kind not in rule["kinds"]:
                continue
            for name in rule["to"]:
                back = [ADDRESSES.get(sender) for sender in seen.senders]
                for recipient in back if name == "sender" else [name]:
                    if recipient is not None and (kind != "ups" or recipient == "list"):
                        pairs.add((recipient, kind))
    found: dict[str, set[str]] = {}
    for recipient, kind in pairs:
        found.setdefault(recipient, set()).add(kind)
    return found


@given(rules=routes, seen=facts, flagged=flags)
def test_what_is_decided_is_what_a_plain_reference_finds(
    rules: list[dict], seen: SeriesFacts, flagged: list[str]
) -> None:
    given_ = settings(
        destinations=[destination("pacs"), destination("viewer"), destination("list", ups=True)],
        peers=[peer("ct"), peer("gw"), peer("mute", port=None)],
        routes=[{"name": f"r{n}", **rule} for n, rule in enumerate(rules)],
    )
    found = decide(seen, flagged, given_)
    if rules:
        assert wanted(found) == reference(rules, seen, flagged)
        assert [v.name for v in found.verdicts] == [f"r{n}" for n in range(len(rules))]
    results = made(COMPREHENSIVE_3D, recipients=["list"])
    planned = plan(found, results, given_).deliveries
    assert len({(p.sop_instance_uid, p.destination) for p in planned}) == len(planned)
    assert {p.destination for p in planned} <= set(found.wanted)


# -- which object, and what is made ---------------------------------------------------------


def made(*in_forms: ReportForm, recipients: list[str] | None = None) -> list[Result]:
    """Results as a revision has them."""

    def result(kind: str, sop_class: str, name: str, recipient: str | None = None) -> Result:
        return Result(kind, "1.2", sop_class, f"{kind}-{name}", Path(f"{kind}.dcm"), recipient)

    found = [result(k, f.sop_class_uid, f.value) for f in in_forms for k in IN_FORMS]
    found += [result("text", "1.2.840.10008.5.1.4.1.1.88.11", "1"), result("sc", CAPTURE, "1")]
    return [*found, *(result("ups", "1.2.3", name, name) for name in recipients or ())]


def test_each_gets_the_report_in_its_class_and_no_class_is_made_that_nobody_wants() -> None:
    given_ = settings(
        destinations=[
            destination("old", structured_report="enhanced"),
            destination("new"),
            destination("pictures", structured_report="comprehensive"),
        ],
        routes=[
            {"name": "reports", "to": ["old", "new"], "kinds": ["sr", "slices"]},
            {"name": "pictures", "to": ["pictures"], "kinds": ["sc"]},
        ],
    )
    found = decide(from_("CT"), (), given_)
    assert forms(found, given_) == (COMPREHENSIVE_3D, ENHANCED)
    planned = plan(found, made(COMPREHENSIVE_3D, ENHANCED), given_).deliveries
    assert {(p.sop_instance_uid, p.destination) for p in planned} == {
        ("sr-enhanced", "old"),
        ("slices-enhanced", "old"),
        ("sr-comprehensive-3d", "new"),
        ("slices-comprehensive-3d", "new"),
        ("sc-1", "pictures"),
    }


def test_where_nobody_gets_a_report_it_is_made_in_the_class_of_the_report_section() -> None:
    given_ = settings(
        destinations=[destination("pacs", structured_report="enhanced")],
        routes=[{"name": "flagged", "to": ["pacs"], "flagged": "only"}],
        report={"structured_report": "comprehensive"},
    )
    assert forms(decide(from_("CT"), (), given_), given_) == (COMPREHENSIVE,)
    assert forms(decide(from_("CT"), ["any"], given_), given_) == (ENHANCED,)


def test_a_workitem_is_last_at_a_destination_that_gets_the_report_itself() -> None:
    given_ = settings(destinations=[destination("pacs"), destination("list", ups=True)])
    found = decide(from_("CT"), (), given_)
    assert workitems(found, given_, {}) == (
        Workitem("list", Kind.STRUCTURED_REPORT, COMPREHENSIVE_3D, "LIST"),
    )
    planned = plan(found, made(COMPREHENSIVE_3D, recipients=["list"]), given_).deliveries
    assert [p for p in planned if p.follows] == [Planned("ups-list", "list", "list")]


def test_a_workitem_follows_whoever_stores_the_report_where_its_own_destination_does_not() -> None:
    given_ = settings(
        destinations=[
            destination("list", ups=True),
            destination("pictures"),
            destination("pacs", structured_report="enhanced"),
        ],
        routes=[
            {"name": "pictures", "to": ["pictures"], "kinds": ["sc"]},
            {"name": "all", "to": ["pacs"]},
            {"name": "look", "to": ["list"], "kinds": ["ups"], "flagged": "only"},
        ],
    )
    found = decide(from_("CT"), ["any"], given_)
    assert workitems(found, given_, {}) == (
        Workitem("list", Kind.STRUCTURED_REPORT, ENHANCED, "PACS"),
    )
    (item,) = (
        p for p in plan(found, made(ENHANCED, recipients=["list"]), given_).deliveries if p.follows
    )
    assert item == Planned("ups-list", "list", "pacs")
    assert workitems(decide(from_("CT"), (), given_), given_, {}) == ()


def test_a_workitem_names_those_of_its_own_recipient_that_it_replaces() -> None:
    given_ = settings(destinations=[destination("list", ups=True), destination("ward", ups=True)])
    found = decide(from_("CT"), (), given_)
    before = {"ward": ("1.2.3", "1.2.4"), "gone": ("1.2.5",)}
    assert [(w.recipient, w.replaces) for w in workitems(found, given_, before)] == [
        ("list", ()),
        ("ward", ("1.2.3", "1.2.4")),
    ]


def test_a_workitem_without_any_report_waits_for_nobody() -> None:
    given_ = settings(
        destinations=[destination("list", ups=True)],
        routes=[{"name": "look", "to": ["list"], "kinds": ["ups"]}],
    )
    found = decide(from_("CT"), (), given_)
    assert workitems(found, given_, {}) == (Workitem("list", None, COMPREHENSIVE_3D, None),)
    planned = plan(found, made(COMPREHENSIVE_3D, recipients=["list"]), given_).deliveries
    assert planned == (Planned("ups-list", "list", None),)


def test_what_was_made_for_others_and_is_wanted_now_is_lacking() -> None:
    given_ = settings(
        destinations=[
            destination("pacs", structured_report="enhanced"),
            destination("list", ups=True),
        ],
        routes=[
            {"name": "all", "to": ["pacs"]},
            {"name": "look", "to": ["list"], "kinds": ["ups"]},
        ],
    )
    found = decide(from_("CT"), (), given_)
    assert lacks(found, made(COMPREHENSIVE_3D, recipients=["list"]), given_)
    assert lacks(found, made(ENHANCED), given_)
    assert not lacks(found, made(ENHANCED, recipients=["list"]), given_)
    notice = SimpleNamespace(kind="notice", sop_class_uid="1", recipient=None)
    assert not lacks(found, [notice], given_), "of a series that was not judged"


def test_the_classes_are_those_of_the_standard() -> None:
    assert [form.sop_class_uid for form in ReportForm] == [
        Comprehensive3DSRStorage,
        ComprehensiveSRStorage,
        EnhancedSRStorage,
    ]


def test_the_doctor_tells_of_a_route_for_senders_that_no_peer_is() -> None:
    given_ = settings(
        destinations=[destination("pacs")],
        peers=[peer("ct1"), peer("ed")],
        routes=[
            {"name": "misspelt", "to": ["pacs"], "senders": ["CTI", "MR*"]},
            {"name": "well", "to": ["pacs"], "senders": ["CT?"]},
            {"name": "any", "to": ["pacs"]},
        ],
    )
    (finding,) = routes_told(given_)
    assert (finding.subject, finding.health) == ("route misspelt", Health.NOTE)
    assert "no peer is CTI, MR*" in finding.text
    assert list(routes_told(given_.model_copy(update={"peers": ()}))) == [], "whoever may send"


def test_the_doctor_tells_of_nothing_else_with_the_routes() -> None:
    given_ = settings(notify=[{"name": "desk", "to": "http://127.0.0.1:1/hook"}])
    assert list(routes_told(given_)) == [], "notifications are told of by themselves, once"
