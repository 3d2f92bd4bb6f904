"""The configuration as a file of its own: it says what the settings say, key by key."""

import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.settings import Destination, Peer, Settings
from node.settings.reference import LONGEST, Key, Table, as_markdown, as_toml, tables
from tests.node.configuration import load

TABLES = list(tables())
KEYS = [(table, key) for table in TABLES for key in table.keys]

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
titles = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\"),
    min_size=1,
    max_size=16,
)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=30)
ports = st.integers(1, 65535)
destinations = st.lists(
    st.builds(
        Destination, name=names, ae_title=titles, host=words, port=ports, commit=st.booleans()
    ),
    max_size=3,
    unique_by=lambda destination: destination.name,
)
networks = st.sampled_from(["10.0.0.0/8", "192.168.1.7/32", "fe80::/10", "::/0"]).map(ip_network)
peers = st.lists(
    st.builds(Peer, name=names, ae_title=titles, networks=st.lists(networks, max_size=2)),
    max_size=3,
    unique_by=(lambda peer: peer.name, lambda peer: peer.ae_title),
)


@given(destinations=destinations, peers=peers, title=titles, port=ports, bundle=words)
def test_what_is_written_is_read_again_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    destinations: list[Destination],
    peers: list[Peer],
    title: str,
    port: int,
    bundle: str,
) -> None:
    settings = Settings(
        home=Path("/somewhere"),
        dicom={"ae_title": title, "port": port},  # type: ignore[arg-type]
        model={"bundle": bundle},  # type: ignore[arg-type]
        destinations=tuple(destinations),
        peers=tuple(peers),
    )

    assert load(as_toml(settings), tmp_path_factory.mktemp("written")) == settings


def test_what_is_as_by_default_is_not_written() -> None:
    written = tomllib.loads(as_toml(Settings(home=Path("/somewhere"))))

    assert {name: table for name, table in written.items() if table} == {
        "home": "/somewhere",
        "dicom": {"tls": {}},
        "dicomweb": {"tls": {}},
        "feedback": {"tls": {}},
    }


@pytest.mark.parametrize(("table", "key"), KEYS, ids=lambda part: part.name)
def test_every_key_is_shown_with_its_default_or_an_example(table: Table, key: Key) -> None:
    assert key.description
    text = as_toml(Settings(home=Path("/somewhere")))
    section = text.partition(f"{table.header}\n")[2] if table.name else text
    line = next(
        line.removeprefix("# ")
        for line in section.splitlines()
        if line.removeprefix("# ").startswith(f"{key.name} = ")
    )
    shown = line.removeprefix(f"{key.name} = ").partition("  #")[0].strip()
    if shown == "[...]":
        assert len(str(key.default)) > LONGEST
    elif key.name != "home":
        value = tomllib.loads(f"value = {shown}")["value"]
        assert value == (key.default or key.example or key.default)


def test_the_page_has_a_row_for_every_key() -> None:
    page = as_markdown()

    for table, key in KEYS:
        section = page.partition(f"`{table.header}`" if table.name else "Above")[2]
        assert f"\n| `{key.name}` | " in section.partition("\n## ")[0]
