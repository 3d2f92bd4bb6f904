"""A whole node with a second model: killed, wiped, broken, and never heard of outside."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from ml.identity import Identity, identify
from ml.labels import LABELS
from node.broker import broker_url
from node.drift import DriftLook
from node.ledger import Shadow, ShadowState, State
from node.show.series import details_json
from node.spool import SHADOW, Spool
from tests.e2e.conftest import Series
from tests.e2e.peers import ICHNODE, Node, running_node, running_storescp, wait_for
from tests.models import write_bundle
from tests.receivers import hook_server

pytestmark = pytest.mark.long

NAME = "unheard-of"
QUICK = "[assemble]\ngrace_s = 1\nquiet_s = 4\n[analyze]\nlease_s = 3\nbatch_size = 4\n"
QUICK += "max_attempts = 5\n"


def write_second(folder: Path) -> Identity:
    """Another model than the one that is shipped: other weights, flags everything, takes longer."""
    point = {"name": "all", "chosen_on": "-", "thresholds": {label.value: 0.0 for label in LABELS}}
    write_bundle(folder, name=NAME, version="7.7.7", input_size=320, operating_points=[point])
    return identify(folder)


def with_shadow(bundle: Path) -> str:
    return f'{QUICK}[shadow]\nbundle = "{bundle}"\noperating_point = "all"\n'


def shadow_of(node: Node, series: Series) -> Shadow:
    (revision,) = node.revisions(series.series)
    found = node.ledger.shadow_of(revision.id)
    assert found is not None
    return found


def judged(node: Node, series: Series, timeout_s: float = 90) -> Shadow:
    def is_judged() -> bool:
        return shadow_of(node, series).state is ShadowState.JUDGED

    wait_for(is_judged, timeout_s, f"the shadow to judge: {shadow_of(node, series)}")
    return shadow_of(node, series)


def test_a_shadow_is_compared_survives_and_is_never_sent(
    tmp_path: Path, new_series: Callable[..., Series]
) -> None:
    second = write_second(tmp_path / "second")
    with hook_server() as hook, running_storescp(tmp_path / "pacs") as pacs:
        more = (
            with_shadow(tmp_path / "second")
            + f'[[notify]]\nname = "team"\nto = "{hook.url}"\ntell = "study"\n'
            + "[report]\nkey_objects = true\npresentation_state = true\n"
        )
        with running_node(tmp_path, [("pacs", "PACS", pacs.port)], more) as node:
            wait_for(lambda: "shadow" in node.children(), 30, "the worker of the shadow")
            first = new_series()
            node.send(first.files)
            wait_for(
                lambda: (
                    bool(node.revisions(first.series))
                    and node.ledger.shadow_of(node.revisions(first.series)[0].id) is not None
                    and shadow_of(node, first).state is ShadowState.JUDGING
                ),
                90,
                "the shadow to begin",
            )
            node.kill("shadow")
            redis.Redis.from_url(broker_url(node.settings)).flushall()
            delivered = node.wait_for(first.series, State.DELIVERED)
            found = judged(node, first)
            assert found.attempts >= 2, "it was not killed in the middle"
            assert found.judge is not None and found.judge.digest == second.digest
            assert len(found.flagged) == len(LABELS)

            drift = DriftLook(node.settings, node.ledger).look()
            assert drift.judged == 1
            wait_for(lambda: hook.got, 30, "the team to be told")

            done = subprocess.run(
                [*ICHNODE, "show", first.series, "--config", str(node.config)],
                capture_output=True,
                text=True,
                check=True,
            )
            assert f"judged in the shadow by {NAME} 7.7.7" in done.stdout
            assert "shadow, never sent" in done.stdout
            entry = details_json(node.ledger, Spool(node.settings.home), delivered)
            assert entry["shadow"]["model"]["digest"] == second.digest
            assert entry["shadow"]["probabilities"] == found.maxima
            assert entry["shadow"]["compared_with"]["probabilities"] == entry["probabilities"]
            results = node.ledger.results(delivered)
            deliveries = node.ledger.deliveries(delivered)
        sent = [path.read_bytes() for path in (tmp_path / "pacs").iterdir()]
        told = [body for _, body in hook.got]
    folder = tmp_path / "home" / "results" / first.study / first.series / "r1"
    assert (folder / SHADOW).is_file()
    assert not [r for r in results if r.path.name == SHADOW]
    assert len(sent) == len(results)
    assert {delivery.result.path for delivery in deliveries} == {r.path for r in results}
    made = [path.read_bytes() for path in folder.iterdir() if path.name != SHADOW]
    for words in (NAME, second.digest, second.digest[:12], "7.7.7"):
        assert not [content for content in (*sent, *told, *made) if words.encode() in content]


def test_with_a_broken_shadow_the_node_starts_and_works_and_says_why_it_has_none(
    tmp_path: Path, new_series: Callable[..., Series]
) -> None:
    write_second(tmp_path / "second")
    weights = tmp_path / "second" / "stage1.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with running_node(tmp_path, more=with_shadow(tmp_path / "second")) as node:
        series = new_series()
        node.send(series.files)
        revision = node.wait_for(series.series, State.REPORTED)
        wait_for(lambda: "without shadow" in node.log.read_text(), 60, "the shadow to give up")
        assert node.process.poll() is None
        assert shadow_of(node, series).state is ShadowState.PENDING, "it waits until it is mended"
        assert node.revisions(series.series) == [revision]
        log = node.log.read_text()
    assert "stage1.safetensors is not what bundle.json says" in log
    assert log.count("without shadow") == 1, "it must not be started again and again"


def test_a_worker_of_the_shadow_that_has_no_model_says_so(tmp_path: Path) -> None:
    config = tmp_path / "ichnode.toml"
    config.write_text(f'home = "{tmp_path}"\n')
    done = subprocess.run(
        [*ICHNODE, "work", "--queue", "shadow", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "nothing is to be done for shadow: [shadow] bundle is not set" in done.stderr
