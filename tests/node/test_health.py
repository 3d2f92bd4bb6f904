"""Ready is a node that can take and judge series now; else it says what is in the way."""

from pathlib import Path

import pytest

from node.broker import EmbeddedBroker, find_redis
from node.errors import ConfigError
from node.health import is_ready, ready
from node.ledger import Ledger, open_ledger
from node.processes import end_process
from node.settings import Settings
from tests import models

NOWHERE = {"url": "redis://127.0.0.1:1/0"}


def troubles(settings: Settings, ledger: Ledger) -> dict[str, str]:
    found = ready(settings, ledger)
    assert [finding.subject for finding in found] == ["ledger", "spool", "broker", "model"]
    assert is_ready(found) is all(finding.trouble is None for finding in found)
    return {f.subject: f.trouble for f in found if f.trouble is not None}


def test_a_node_with_everything_is_ready(ledger: Ledger, tmp_path: Path) -> None:
    try:
        find_redis()
    except ConfigError as error:
        pytest.skip(str(error))
    broker = EmbeddedBroker(tmp_path)
    process = broker.start()
    assert troubles(Settings(home=tmp_path), ledger) == {}
    end_process(process, 10)
    assert list(troubles(Settings(home=tmp_path), ledger)) == ["broker"]
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_node_without_a_broker_is_not(ledger: Ledger, tmp_path: Path) -> None:
    found = troubles(Settings(home=tmp_path, broker=NOWHERE), ledger)
    assert list(found) == ["broker"]
    assert "does not answer" in found["broker"]


def test_nor_one_whose_disk_is_full(ledger: Ledger, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, broker=NOWHERE, dicom={"min_free_gb": 1e9})
    assert "images are not taken" in troubles(settings, ledger)["spool"]


def test_nor_one_whose_spool_is_no_folder(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    assert "cannot be written" in troubles(Settings(home=tmp_path), ledger)["spool"]


def test_nor_one_whose_weights_are_gone(ledger: Ledger, tmp_path: Path) -> None:
    models.write_bundle(tmp_path / "tiny")
    settings = Settings(home=tmp_path, model={"bundle": str(tmp_path / "tiny")})
    assert "model" not in troubles(settings, ledger)
    (tmp_path / "tiny" / "stage2.safetensors").unlink()
    assert "stage2.safetensors cannot be read" in troubles(settings, ledger)["model"]


def test_nor_one_whose_ledger_takes_no_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite").close()
    ledger = open_ledger(f"sqlite:///file:{tmp_path}/ledger.sqlite?mode=ro&uri=true")
    assert "readonly" in troubles(Settings(home=tmp_path), ledger)["ledger"]
    ledger.close()
    assert not (tmp_path / "file:").exists()  # an address of SQLite's own is not a path


def test_nor_one_whose_database_only_reads(postgresql_url: str, tmp_path: Path) -> None:
    open_ledger(postgresql_url).close()
    ledger = open_ledger(f"{postgresql_url}&options=-cdefault_transaction_read_only%3Don")
    assert "read-only" in troubles(Settings(home=tmp_path), ledger)["ledger"]
    ledger.close()
