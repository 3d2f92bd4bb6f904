"""Who may come in, and what a page of another site cannot have a browser do."""

import base64
import json
import re
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect
from starlette.requests import HTTPConnection

from node.errors import ConfigError
from node.logins import FAILURES_S, MOST_FAILURES, Attempts, TooManyFailures
from node.passwords import hash_password, matches
from node.settings import Settings, WebSettings
from node.web.door import Door
from tests.certificates import Authority
from tests.conftest import Clock
from tests.node.configuration import complaint, load
from tests.web.conftest import Series, Visit
from tests.web.node import Site, Stations, running_page

PASSWORD = "correct horse battery"
HASH = hash_password(PASSWORD)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def ask(
    address: str,
    form: dict[str, str] | None = None,
    method: str | None = None,
    **headers: str,
) -> Answer:
    """Ask for an address without following it elsewhere; a header `_` stands for `-`."""
    body = None if form is None else urlencode(form).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(address, body, named, method=method)
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=20) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, dict(error.headers), error.read())


def basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


@pytest.fixture(scope="module")
def locked(stations: Stations, series: Series) -> Iterator[Site]:
    """A page that asks who one is."""
    with running_page(stations.settings, users={"anna": HASH}) as running:
        yield running


def cookie_of(site: Site) -> str:
    form = {"name": "anna", "password": PASSWORD, "next": "/"}
    answer = ask(f"{site.address}/login", form, Origin=site.address)
    assert answer.status == 303
    return answer.headers["set-cookie"].partition(";")[0]


# -- the configuration -------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "::", "node.example"])
def test_who_listens_to_others_without_a_login_does_not_start(host: str, tmp_path: Path) -> None:
    said = complaint(f'[web]\nhost = "{host}"\n', tmp_path)
    assert "takes users or user_header" in said and host in said


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_on_this_machine_no_login_is_needed(host: str, tmp_path: Path) -> None:
    assert not load(f'[web]\nhost = "{host}"\n', tmp_path).web.asks_who


def test_a_header_of_a_proxy_is_not_taken_from_just_anybody(tmp_path: Path) -> None:
    assert "trusted_proxies" in complaint('[web]\nuser_header = "X-User"\n', tmp_path)


def test_a_password_in_place_of_its_hash_is_refused_and_not_repeated(tmp_path: Path) -> None:
    said = complaint(f'[web.users]\nanna = "{PASSWORD}"\n', tmp_path)
    assert "--hash-password" in said
    assert PASSWORD not in said


def test_the_command_hashes_a_password_that_comes_on_stdin(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "node", "web", "--hash-password"],
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.fullmatch(r'NAME = "(.+)"\n', done.stdout)
    assert found is not None
    assert matches(PASSWORD, found[1])
    assert not matches(PASSWORD + "x", found[1])
    line = done.stdout.replace("NAME", "anna")
    assert load(f'[web]\nhost = "0.0.0.0"\n[web.users]\n{line}', tmp_path).web.asks_who


# -- the login -----------------------------------------------------------------------


def test_a_login_leads_on_to_where_one_wanted_to_go_and_a_logout_ends_it(
    locked: Site, series: Series, visit: Callable[..., Visit]
) -> None:
    page = visit(f"{locked.address}/series/{series.calm.id}", may_refuse=True).page
    expect(page).to_have_title("Log in · ichnode")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill("wrong password")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/series/{series.calm.id}"))
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
    page.get_by_role("button", name="Log out").click()
    page.goto(f"{locked.address}/system")
    expect(page).to_have_title("Log in · ichnode")
    audit = (locked.settings.home / "audit.log").read_text()
    for code in ("110122", "110123"):
        assert code in audit
    assert 'UserID="anna"' in audit


@pytest.mark.parametrize(
    "path", ["/", "/feedback", "/system", "/series/1", "/series/1/pictures/1.png"]
)
def test_without_a_login_nothing_is_shown(locked: Site, path: str) -> None:
    answer = ask(locked.address + path)
    assert answer.status == 303
    assert answer.headers["location"].startswith("/login?next=")


@pytest.mark.parametrize(
    "path",
    [
        *("/api/series", "/api/series/1", "/api/system", "/api/openapi.json", "/api/find?uid=1"),
        *("/api/feedback", "/api/feedback/unlabelled"),
    ],
)
def test_without_a_login_nothing_is_told(locked: Site, path: str) -> None:
    answer = ask(locked.address + path)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "x",
        "a.b.c",
        "YW5uYQ==.9999999999.",
        "YW5uYQ==.9999999999." + "0" * 64,
        "YW5uYQ==.ä." + "0" * 64,
        "\x7f" * 4000,
        "Ym9i.9999999999." + "0" * 64,
    ],
)
def test_a_cookie_that_the_node_has_not_signed_opens_nothing(locked: Site, cookie: str) -> None:
    cookie = cookie.encode().decode("latin-1")
    assert ask(f"{locked.address}/system", Cookie=f"ichnode={cookie}").status == 303


def test_a_cookie_ends_with_time_and_with_the_password(stations: Stations, clock: Clock) -> None:
    def opened(door: Door, cookie: str) -> bool:
        scope = {"type": "http", "client": ("127.0.0.1", 1), "scheme": "http", "path": "/"}
        headers = [(b"cookie", f"ichnode={cookie}".encode()), (b"host", b"x")]
        return door.visitor(HTTPConnection(scope | {"headers": headers})) is not None

    door = Door(WebSettings(users={"anna": HASH}, session_h=1), b"k" * 32, clock)
    cookie = door.cookie("anna")
    assert opened(door, cookie)
    other = Door(WebSettings(users={"anna": hash_password("another one")}), b"k" * 32, clock)
    assert not opened(other, cookie)
    assert not opened(Door(WebSettings(users={"anna": HASH}), b"j" * 32, clock), cookie)
    clock.pass_s(3601)
    assert not opened(door, cookie)


def test_who_tries_passwords_has_to_wait() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(MOST_FAILURES):
        assert attempts.wait_s("user anna", "from 10.0.0.1") == 0
        attempts.failed("user anna", "from 10.0.0.1")
    assert attempts.wait_s("user anna", "from 10.0.0.2") > 0
    assert attempts.wait_s("user otto", "from 10.0.0.1") > 0
    assert attempts.wait_s("user otto", "from 10.0.0.2") == 0
    clock.pass_s(FAILURES_S + 1)
    assert attempts.wait_s("user anna", "from 10.0.0.1") == 0


def test_the_right_password_does_not_help_who_has_to_wait() -> None:
    door = Door(WebSettings(users={"anna": HASH}), b"k" * 32)
    for _ in range(MOST_FAILURES):
        assert not door.log_in("anna", "wrong", "10.0.0.1")
    with pytest.raises(TooManyFailures):
        door.log_in("anna", PASSWORD, "10.0.0.1")


@pytest.mark.parametrize(
    "wanted", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_a_login_leads_nowhere_else(locked: Site, wanted: str) -> None:
    form = {"name": "anna", "password": PASSWORD, "next": wanted}
    answer = ask(f"{locked.address}/login", form, Origin=locked.address)
    assert (answer.status, answer.headers["location"]) == (303, "/")


# -- others who say who it is ----------------------------------------------------------


def test_basic_authentication_opens_the_json(locked: Site) -> None:
    address = f"{locked.address}/api/series"
    assert ask(address, Authorization=basic("anna", PASSWORD)).status == 200
    assert ask(address, Authorization=basic("anna", "wrong")).status == 401
    for broken in ("Basic", "Basic %%%", "Bearer x", "Basic " + "A" * 5000):
        assert ask(address, Authorization=broken).status == 401


def test_a_proxy_names_the_user_and_nobody_else_does(stations: Stations, series: Series) -> None:
    keys = {"user_header": "X-Remote-User"}
    with running_page(stations.settings, trusted_proxies=["127.0.0.1"], **keys) as behind:
        answer = ask(f"{behind.address}/", X_Remote_User="otto", X_Forwarded_For="10.1.2.3")
        assert answer.status == 200 and b"otto" in answer.body
        ask(f"{behind.address}/series/{series.calm.id}", X_Remote_User="otto")
        assert ask(f"{behind.address}/").status == 303
        assert ask(f"{behind.address}/login").status == 403
    with running_page(stations.settings, trusted_proxies=["10.9.9.9"], **keys) as direct:
        assert ask(f"{direct.address}/", X_Remote_User="otto").status == 303
    assert 'UserID="otto"' in (stations.settings.home / "audit.log").read_text()


# -- what another site's page tries --------------------------------------------------


def test_a_page_of_another_site_cannot_press_a_button(
    site: Site, locked: Site, series: Series
) -> None:
    address = f"{site.address}/series/{series.failed.id}/retry"
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", ""):
        assert ask(address, {}, Origin=origin).status == 403
    assert ask(address, {}, Sec_Fetch_Site="cross-site").status == 403
    # A browser always says where a form is from; a cookie alone is not enough.
    pressed = ask(f"{locked.address}/series/1/retry", {}, Cookie=cookie_of(locked))
    assert pressed.status == 403


def test_a_name_that_an_attacker_lets_point_to_this_machine_is_refused(
    site: Site, stations: Stations
) -> None:
    for host in ("evil.example", "evil.example:8042", "127.0.0.1.evil.example", "[::1].evil", ""):
        assert ask(site.address, Host=host).status in (400, 421), host
    for host in ("localhost:8042", "127.0.0.1", "[::1]:99"):
        assert ask(site.address, Host=host).status == 200, host
    with running_page(stations.settings, names=["node.example"]) as named:
        assert ask(named.address, Host="node.example").status == 200


def test_every_answer_forbids_what_no_page_needs(site: Site) -> None:
    for path in ("/", "/static/ichnode.js", "/nowhere", "/api/series"):
        headers = ask(site.address + path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
    assert ask(f"{site.address}/").headers["cache-control"] == "no-store"


def test_a_form_that_is_too_long_is_refused(site: Site) -> None:
    assert ask(f"{site.address}/search", {"for": "1" * 20_000}, Origin=site.address).status == 413


# -- TLS, and a port that is taken -------------------------------------------------------


def test_with_a_certificate_the_page_speaks_tls_and_its_cookie_nothing_else(
    stations: Stations, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("127.0.0.1")
    keys = {"certificate": pair.certificate, "key": pair.key, "users": {"anna": HASH}}
    with running_page(stations.settings, **keys) as running:
        port = running.settings.web.port
        address = f"https://127.0.0.1:{port}"
        context = ssl.create_default_context(cafile=str(authority.certificate))
        body = urlencode({"name": "anna", "password": PASSWORD}).encode()
        request = urllib.request.Request(f"{address}/login", body, {"Origin": address})
        opener = urllib.request.build_opener(_Stay, urllib.request.HTTPSHandler(context=context))
        with pytest.raises(urllib.error.HTTPError) as caught:
            opener.open(request, timeout=20)
        assert caught.value.code == 303
        assert caught.value.headers["set-cookie"].startswith("__Host-ichnode=")
        assert "secure" in caught.value.headers["set-cookie"].lower()


def test_a_port_that_is_taken_ends_the_command_with_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = tmp_path / "ichnode.toml"
        port = taken.getsockname()[1]
        config.write_text(f'home = "{tmp_path / "home"}"\n[web]\nport = {port}\n')
        done = subprocess.run(
            [sys.executable, "-m", "node", "web", "--config", str(config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1  # not 2: the rest of the node goes on without it
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path / "home",
        web={"certificate": tmp_path / "no.pem", "key": tmp_path / "no.key"},
    )
    with pytest.raises(ConfigError, match=r"\[web\] key"), running_page(settings):
        pass


def test_the_key_of_cookies_is_for_the_nodes_user_alone(site: Site) -> None:
    assert (site.settings.home / "web.key").stat().st_mode & 0o777 == 0o600
    assert json.loads(ask(f"{site.address}/api/series").body)["series"]
