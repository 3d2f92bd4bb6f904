"""Rules of whom to tell: what can be meant, and the one line that says what cannot."""

from pathlib import Path

import pytest

from node.settings import Detail, Occasion, Way
from tests.node.configuration import complaint, load

RULE = '[[notify]]\nname = "team"\n'


@pytest.mark.parametrize(
    ("to", "way"),
    [
        ("https://hooks.example/ich?x=1", Way.HTTPS),
        ("http://hooks.example:8080/", Way.HTTP),
        ("mailto:a@example,b@example", Way.MAIL),
    ],
)
def test_the_address_says_the_way(tmp_path: Path, to: str, way: Way) -> None:
    (rule,) = load(f'{RULE}to = "{to}"\n', tmp_path).notify

    assert rule.way is way
    assert (rule.on, rule.tell) == ((Occasion.FLAGGED, Occasion.FAILED), Detail.EVENT)


@pytest.mark.parametrize(
    "to",
    [
        "",
        "team@example",
        "ftp://host/",
        "https://",
        "https://user:password@host/",
        "mailto:",
        "mailto:nobody",
        "mailto:a@example,",
        "mailto:a@example\\nBcc: x@example",
        "mllp://host",
        "mllps://host",
        "https://host:port/",
        "https://host/ space",
    ],
)
def test_an_address_that_is_none_is_told_in_one_line(tmp_path: Path, to: str) -> None:
    said = complaint(f'{RULE}to = "{to}"\n', tmp_path)

    assert "notify.0.to" in said
    assert "takes https://host/path, mailto:someone@example, mllp://host:port" in said


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ('to = "mllp://host:2575"', 'takes tell = "patient" with mllp'),
        ('to = "http://host/"\ntell = "study"', 'takes https where tell is not "event"'),
        ('to = "mailto:a@example"\nsecret_file = "/x"', "takes secret_file for a webhook alone"),
        ('to = "mllps://host:2575"', 'takes tell = "patient" with mllp'),
        ('to = "http://host/"\nca = "/x"', "takes ca for https and mllps alone"),
        ('to = "mllps://h:1"\nkey = "/x"', "takes certificate and key together"),
        (
            'to = "https://host/"\nkey = "/x"\ncertificate = "/y"',
            "takes certificate and key for mllps alone",
        ),
        ('to = "https://host/"\non = []', "notify.0.on"),
        ('to = "https://host/"\non = ["reported"]', "notify.0.on.0"),
        ('to = "https://host/"\nfindings = ["bleed"]', "notify.0.findings.0"),
        ('to = "https://host/"\nwhen = "always"', "unknown key notify.0.when"),
        ("", "notify.0.to is missing"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tmp_path: Path, keys: str, word: str) -> None:
    assert word in complaint(f"{RULE}{keys}\n", tmp_path)


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = f'{RULE}to = "https://host/"\n' * 2

    assert "takes each name once" in complaint(twice, tmp_path)


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ('user = "me"', "takes user and password_file together"),
        ('user = "me"\npassword_file = "/x"', "takes security = starttls or tls"),
        ('ca = "/x"', "takes security = starttls or tls"),
        ('security = "ssl"', "smtp.security"),
    ],
)
def test_a_password_does_not_go_in_the_clear(tmp_path: Path, keys: str, word: str) -> None:
    assert word in complaint(f"[smtp]\n{keys}\n", tmp_path)
