"""Who may open an association, and how many: the decisions alone, without a network."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.access import (
    Caller,
    Crowd,
    Rejection,
    Seldom,
    calls_from,
    has_room,
    is_open_to_all,
    is_stranger,
    who_is_unknown,
)
from node.settings import DicomSettings, Peer, Settings
from tests.conftest import Clock

CT1 = {"name": "ct1", "ae_title": "CT1", "networks": ["10.0.1.0/24", "2001:db8::/32"]}


def settings(*peers: dict[str, Any], **dicom: Any) -> Settings:
    return Settings(peers=peers, dicom=dicom)


def caller(address: str = "10.0.1.7", title: str = "CT1", called: str = "ICHNODE") -> Caller:
    return Caller(address, title, called)


# -- who ---------------------------------------------------------------------------


def test_without_peers_everybody_may_call() -> None:
    assert who_is_unknown(settings(), caller("203.0.113.9", "WHOEVER")) is None


def test_who_calls_the_node_by_another_title_is_rejected_by_default() -> None:
    wrong = caller(called="OTHER")

    assert who_is_unknown(settings(), wrong) is Rejection.CALLED_TITLE
    assert who_is_unknown(settings(require_called_ae=False), wrong) is None


def test_padding_around_a_title_does_not_count() -> None:
    padded = caller(title="CT1  ", called="ICHNODE  ")

    assert who_is_unknown(settings(CT1), padded) is None


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (caller(), None),
        (caller("2001:db8::7"), None),
        (caller("::ffff:10.0.1.7"), None),
        (caller("10.0.2.7"), Rejection.ADDRESS),
        (caller("::1"), Rejection.ADDRESS),
        (caller(title="CT2"), Rejection.CALLING_TITLE),
        (caller(title="ct1"), Rejection.CALLING_TITLE),
    ],
)
def test_with_peers_title_and_address_have_to_be_those_of_one(
    who: Caller, expected: Rejection | None
) -> None:
    assert who_is_unknown(settings(CT1), who) is expected


def test_the_address_of_one_peer_does_not_serve_another() -> None:
    other = {"name": "ct2", "ae_title": "CT2", "networks": ["10.0.2.0/24"]}

    assert who_is_unknown(settings(CT1, other), caller("10.0.2.1")) is Rejection.ADDRESS


def test_a_peer_calls_from_its_host_too() -> None:
    peer = Peer(name="pacs", ae_title="PACS", host="localhost", port=104)

    assert calls_from(peer, "127.0.0.1")
    assert not calls_from(peer, "10.0.0.1")


def test_a_peer_without_host_and_networks_calls_from_anywhere() -> None:
    assert calls_from(Peer(name="any", ae_title="ANY"), "203.0.113.9")


def test_a_stranger_is_who_no_peer_calls_from() -> None:
    assert is_stranger(settings(CT1), "203.0.113.9")
    assert not is_stranger(settings(CT1), "10.0.1.9")
    assert not is_stranger(settings(), "203.0.113.9")
    assert not is_stranger(settings(CT1, {"name": "any", "ae_title": "ANY"}), "203.0.113.9")


@pytest.mark.parametrize(
    ("rejection", "answer"),
    [
        (Rejection.CALLED_TITLE, (1, 1, 7)),
        (Rejection.CALLING_TITLE, (1, 1, 3)),
        (Rejection.ADDRESS, (1, 1, 3)),
        (Rejection.TOO_FAST, (2, 3, 1)),
        (Rejection.TOO_MANY, (2, 3, 2)),
    ],
)
def test_the_answers_are_those_of_the_standard(
    rejection: Rejection, answer: tuple[int, int, int]
) -> None:
    """PS3.8, table 9-21."""
    assert rejection.answer == answer
    assert "[" in rejection.text  # tells the key to look at


def test_two_rejections_with_one_answer_are_told_apart_in_the_log() -> None:
    assert Rejection.ADDRESS is not Rejection.CALLING_TITLE
    assert Rejection.ADDRESS.text != Rejection.CALLING_TITLE.text


@pytest.mark.parametrize(
    ("dicom", "is_open"),
    [
        ({}, False),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "10.0.0.1"}, True),
    ],
)
def test_only_what_listens_beyond_this_machine_is_open_to_all(
    dicom: dict[str, Any], is_open: bool
) -> None:
    assert is_open_to_all(settings(**dicom)) is is_open
    assert not is_open_to_all(settings(CT1, **dicom))


# -- how many ----------------------------------------------------------------------


def test_no_more_than_so_many_are_inside() -> None:
    crowd = Crowd(DicomSettings(max_associations=2))

    assert crowd.enter(1, "a") is None
    assert crowd.enter(2, "b") is None
    assert crowd.enter(3, "c") is Rejection.TOO_MANY
    crowd.leave(1)
    assert crowd.enter(4, "c") is None


def test_one_address_leaves_room_for_others() -> None:
    crowd = Crowd(DicomSettings(max_associations=10, max_associations_per_address=2))

    assert [crowd.enter(n, "a") for n in range(3)] == [None, None, Rejection.TOO_MANY]
    assert crowd.enter(10, "b") is None


def test_who_comes_too_often_waits_for_a_minute_at_most(clock: Clock) -> None:
    crowd = Crowd(DicomSettings(associations_per_minute=3), clock)

    def come(who: int) -> Rejection | None:
        answer = crowd.enter(who, "a")
        crowd.leave(who)
        return answer

    assert [come(n) for n in range(4)] == [None, None, None, Rejection.TOO_FAST]
    assert crowd.enter(9, "b") is None
    clock.pass_s(59)
    assert come(5) is Rejection.TOO_FAST
    clock.pass_s(1)
    assert come(6) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.sampled_from("abc"))))
def test_whatever_comes_and_goes_the_limits_hold(steps: list[tuple[bool, int, str]]) -> None:
    limits = DicomSettings(max_associations=5, max_associations_per_address=3)
    crowd = Crowd(limits)
    inside: dict[int, str] = {}
    for comes, who, address in steps:
        if comes and who not in inside:
            if crowd.enter(who, address) is None:
                inside[who] = address
            else:
                assert len(inside) == 5 or Counter(inside.values())[address] == 3
        elif not comes:
            crowd.leave(who)
            inside.pop(who, None)
        assert len(inside) <= 5
        assert max(Counter(inside.values()).values(), default=0) <= 3


def test_connections_that_ask_for_nothing_are_limited_by_address() -> None:
    limits = DicomSettings(max_associations=10, max_associations_per_address=2)

    assert has_room(limits, "a", Counter({"a": 3}))
    assert not has_room(limits, "a", Counter({"a": 4}))
    assert has_room(limits, "b", Counter({"a": 4}))
    assert not has_room(limits, "b", Counter(dict.fromkeys("acdefghijk", 2)))


def test_the_same_is_not_said_twice_in_a_minute(clock: Clock) -> None:
    seldom = Seldom(clock)

    assert seldom.is_new("a")
    assert seldom.is_new("b")
    assert not seldom.is_new("a")
    clock.pass_s(60)
    assert seldom.is_new("a")
