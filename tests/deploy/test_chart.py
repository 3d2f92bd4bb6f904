"""The Helm chart: what it makes is valid for Kubernetes, restricted, and fits the node."""

import re
import textwrap
import tomllib
from collections.abc import Iterator
from typing import Any

import kubernetes_validate as kubernetes
import pytest
import redis
import yaml

from node.broker import EmbeddedBroker
from node.hints import Hints, Queue
from node.settings import Settings
from node.settings.dicomweb import DicomwebSettings
from node.up import parts_of
from tests.deploy.test_parts import EVERYTHING
from tests.deploy.tools import DEPLOY

helm = pytest.importorskip("helm_python", reason="helm-python-sdk is for x86-64 alone")

CHART = DEPLOY / "helm" / "ichnode"

PLAIN: dict[str, Any] = {"existingSecret": "urls"}
FULL: dict[str, Any] = {
    "trial": {"enabled": True, "password": "notASecret42"},
    "config": '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "pacs"\nport = 104\n',
    "filesSecret": "certificates",
    "image": {"pullSecrets": ["pull"]},
    "receive": {"service": {"type": "NodePort", "nodePort": 30104, "sourceRanges": ["10.0.0.0/8"]}},
    "analyze": {
        "gpu": True,
        "imageTag": "cuda",
        "runtimeClassName": "nvidia",
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "keda": {"enabled": True, "minReplicas": 0},
    },
    "web": {
        "enabled": True,
        "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls"},
    },
    "dicomweb": {"enabled": True, "replicas": 2, "ingress": {"enabled": True, "tlsSecret": "tls"}},
    "poll": {"enabled": True},
    "feedback": {"enabled": True, "service": {"sourceRanges": ["10.0.0.5/32"]}},
    "shadow": {
        "bundle": "/var/lib/ichnode/home/models/next",
        "gpu": True,
        "imageTag": "cuda",
        "nodeSelector": {"gpu": "small"},
    },
    "networkPolicy": {
        "enabled": True,
        "dicomFrom": ["10.0.0.0/8"],
        "dicomwebFrom": ["10.1.0.0/16"],
        "hl7From": ["10.0.0.5/32"],
        "pollTo": ["10.0.0.6/32"],
        "webFrom": [{"kubernetes.io/metadata.name": "ingress-nginx"}],
    },
    "serviceAccount": {"annotations": {"a": "b"}},
    "nodeSelector": {"disk": "fast"},
    "podAnnotations": {"c": "d"},
    "env": {"ICHNODE_AUDIT__FILE": "none"},
}


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that `helm template` gives."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name="ich", namespace="radiology")
    return [
        found
        for name, text in files.items()
        if not name.endswith(".txt")
        for found in yaml.safe_load_all(text)
        if found
    ]


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The object of that kind and name."""
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and specification of every Pod that is asked for."""
    for found in objects:
        if found["kind"] in ("Deployment", "StatefulSet"):
            yield found["metadata"]["name"], found["spec"]["template"]["spec"]


def environment(pod: dict[str, Any]) -> dict[str, str]:
    """Variables of a Pod's container; of two of one name the last one counts."""
    return {v["name"]: v.get("value", "") for v in pod["containers"][0]["env"]}


@pytest.mark.parametrize("values", [PLAIN, FULL], ids=["plain", "full"])
def test_helm_lint_finds_no_fault(values: dict[str, Any]) -> None:
    report = helm.lint(CHART, values, strict=True)

    assert report["errors"] == []
    assert [m["error"] for m in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", ["1.27", "1.33"])
@pytest.mark.parametrize("values", [PLAIN, FULL], ids=["plain", "full"])
def test_every_object_is_valid_for_kubernetes(values: dict[str, Any], version: str) -> None:
    objects = [o for o in rendered(values) if not o["apiVersion"].startswith("keda.sh")]

    assert len(objects) >= 9
    for found in objects:
        kubernetes.validate(found, version, strict=True)


@pytest.mark.parametrize("values", [PLAIN, FULL], ids=["plain", "full"])
def test_every_pod_is_restricted(values: dict[str, Any]) -> None:
    for name, pod in pods(rendered(values)):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["requests"], name
            assert {"readinessProbe", "startupProbe"} & set(container), name


def test_every_service_finds_its_pods() -> None:
    objects = rendered(FULL)
    labels = [
        o["spec"]["template"]["metadata"]["labels"]
        for o in objects
        if o["kind"] in ("Deployment", "StatefulSet")
    ]

    for found in objects:
        if found["kind"] == "Service":
            selector = found["spec"]["selector"].items()
            assert len([label for label in labels if selector <= label.items()]) == 1, found


def test_the_variables_of_every_pod_are_a_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name, pod in pods(rendered(PLAIN)):
        with monkeypatch.context() as patch:
            for variable, value in environment(pod).items():
                if variable.endswith("URL_FILE"):
                    file = tmp_path / variable
                    scheme = "redis" if "BROKER" in variable else "postgresql+psycopg"
                    file.write_text(f"{scheme}://server/0")
                    file.chmod(0o400)
                    patch.setenv(variable, str(file))
                elif variable.startswith("ICHNODE_") and variable != "ICHNODE_CONFIG":
                    patch.setenv(variable, value)
            settings = Settings()
        assert settings.dicom.host == "0.0.0.0", name
        assert str(settings.home) == "/var/lib/ichnode/home", name


def test_a_gpu_worker_asks_for_one_gpu_and_all_else_for_none() -> None:
    for name, pod in pods(rendered(FULL)):
        container = pod["containers"][0]
        is_gpu = name in ("ich-analyze", "ich-shadow")
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) is is_gpu, name
        assert container["image"].endswith(":cuda") is is_gpu, name
        if is_gpu:
            assert environment(pod)["ICHNODE_ANALYZE__DEVICE"] == "cuda"
            gpu = {"ich-analyze": "yes", "ich-shadow": "small"}[name]
            assert pod["nodeSelector"] == {"gpu": gpu, "disk": "fast"}


def test_workers_on_a_cpu_take_as_many_threads_as_they_ask_for_cores() -> None:
    pod = dict(pods(rendered(PLAIN)))["ich-analyze"]

    cores = pod["containers"][0]["resources"]["requests"]["cpu"]
    assert environment(pod)["ICHNODE_ANALYZE__THREADS"] == cores


def test_nothing_new_runs_before_somebody_wants_it() -> None:
    names = {name for name, _ in pods(rendered(PLAIN))}

    assert names == {"ich-receive", "ich-analyze", "ich-deliver"}


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"dicomweb": {"enabled": True}}, "dicomweb"),
        ({"poll": {"enabled": True}}, "poll"),
        ({"feedback": {"enabled": True}}, "feedback"),
        ({"shadow": {"bundle": "next"}}, "shadow"),
    ],
)
def test_one_value_turns_a_part_on(values: dict[str, Any], part: str) -> None:
    before, after = (dict(pods(rendered({**PLAIN, **more}))) for more in ({}, values))

    assert set(after) - set(before) == {f"ich-{part}"}


def test_the_chart_runs_every_part() -> None:
    arguments = {tuple(pod["containers"][0].get("args", ())) for _, pod in pods(rendered(FULL))}

    assert set(map(tuple, parts_of(EVERYTHING).values())) <= arguments


def test_the_values_that_the_readme_shows_turn_everything_on() -> None:
    page = (DEPLOY / "README.md").read_text()
    shown = re.findall(r"^    # values.yaml\n((?: {4}.*\n)+)", page, re.MULTILINE)
    for_good, off_by_default = (yaml.safe_load(textwrap.dedent(text)) for text in shown)
    values = for_good | off_by_default
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(values)

    assert len(dict(pods(rendered(values)))) == 7
    keys = tomllib.loads(for_good["config"] + off_by_default["config"])
    settings = Settings.model_validate(keys | {"dicomweb": {}})
    assert settings.polled
    assert set(keys["dicomweb"]) <= set(DicomwebSettings.model_fields)


def test_every_part_knows_of_the_second_model() -> None:
    """What is judged is put before it by the others, and shown by the page."""
    servers = {"ich-redis", "ich-postgres"}
    parts = {name: pod for name, pod in pods(rendered(FULL)) if name not in servers}

    assert len(parts) == 8
    for name, pod in parts.items():
        assert environment(pod)["ICHNODE_SHADOW__BUNDLE"].endswith("/next"), name
    for name, pod in pods(rendered(PLAIN)):
        assert "ICHNODE_SHADOW__BUNDLE" not in environment(pod), name


def test_who_may_call_whom_is_said_for_each_port() -> None:
    objects = rendered(FULL)
    callers = {
        policy: [
            rule.get("ipBlock", {}).get("cidr") or rule["namespaceSelector"]["matchLabels"]
            for rule in one(objects, "NetworkPolicy", policy)["spec"]["ingress"][0]["from"]
        ]
        for policy in ("ich-dicom", "ich-dicomweb", "ich-feedback")
    }

    assert callers == {
        "ich-dicom": ["10.0.0.0/8"],
        "ich-dicomweb": ["10.1.0.0/16", {"kubernetes.io/metadata.name": "ingress-nginx"}],
        "ich-feedback": ["10.0.0.5/32"],
    }
    (dns, reached) = one(objects, "NetworkPolicy", "ich-poll")["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert [rule.get("ipBlock", {}).get("cidr") for rule in reached["to"]] == ["10.0.0.6/32", None]


def test_the_ports_of_every_policy_are_those_of_its_pods() -> None:
    objects = rendered(FULL)

    for name, part in (("dicom", "receive"), ("dicomweb",) * 2, ("feedback",) * 2, ("web",) * 2):
        policy = one(objects, "NetworkPolicy", f"ich-{name}")["spec"]
        pod = dict(pods(objects))[f"ich-{part}"]
        (rule,) = policy["ingress"]
        assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == part
        assert [port["port"] for port in rule["ports"]] == [
            port["name"] for port in pod["containers"][0]["ports"]
        ]


@pytest.mark.parametrize(
    ("probe", "asked"),
    [
        ("HTTP", {"path": "/health/ready", "port": "http", "scheme": "HTTP"}),
        ("HTTPS", {"path": "/health/ready", "port": "http", "scheme": "HTTPS"}),
        ("TCP", None),
    ],
)
def test_what_takes_instances_is_asked_in_its_own_way(
    probe: str, asked: dict[str, str] | None
) -> None:
    values = {**PLAIN, "dicomweb": {"enabled": True, "probe": probe}}
    (container,) = dict(pods(rendered(values)))["ich-dicomweb"]["containers"]

    assert container["readinessProbe"].get("httpGet") == asked
    assert ("tcpSocket" in container["livenessProbe"]) is (asked is None)


def test_a_study_goes_through_the_ingress_whatever_its_size() -> None:
    ingress = one(rendered(FULL), "Ingress", "ich-dicomweb")

    assert ingress["metadata"]["annotations"] == {
        "nginx.ingress.kubernetes.io/proxy-body-size": "0",
        "nginx.ingress.kubernetes.io/proxy-request-buffering": "off",
    }
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["path"] == "/dicom-web"


def test_what_the_user_sets_goes_before_what_the_chart_sets() -> None:
    pod = dict(pods(rendered(FULL)))["ich-receive"]

    assert environment(pod)["ICHNODE_AUDIT__FILE"] == "none"


def test_keda_counts_what_waits_in_the_queue_to_analyze(tmp_path: Any) -> None:
    objects = rendered(FULL)
    scaled = one(objects, "ScaledObject", "ich-analyze")["spec"]
    (trigger,) = scaled["triggers"]
    one(objects, "Deployment", scaled["scaleTargetRef"]["name"])
    one(objects, "TriggerAuthentication", trigger["authenticationRef"]["name"])

    broker = EmbeddedBroker(tmp_path)
    process = broker.start()
    try:
        hints = Hints(broker.url, Settings(home=tmp_path))
        for revision in (1, 2, 3):
            hints.analyze(revision)
        hints.deliver("pacs")
        with redis.Redis.from_url(broker.url) as client:
            index = broker.url.rpartition("/")[2]
            assert trigger["metadata"]["databaseIndex"] == index
            assert client.llen(trigger["metadata"]["listName"]) == 3
    finally:
        process.terminate()
        process.wait(10)

    assert trigger["metadata"]["listName"] == Queue.ANALYZE
    assert "replicas" not in one(objects, "Deployment", "ich-analyze")["spec"], "KEDA sets them"


def test_the_url_of_the_trial_are_those_of_its_servers() -> None:
    objects = rendered(FULL)
    secret = one(objects, "Secret", "ich-trial")["stringData"]

    assert secret["broker-url"] == "redis://:notASecret42@ich-redis:6379/0"
    assert secret["ledger-url"].endswith("@ich-postgres/ichnode")
    one(objects, "Service", "ich-redis")
    one(objects, "Service", "ich-postgres")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "existingSecret"),
        ({"trial": {"enabled": True}}, "password"),
        ({"trial": {"enabled": True, "password": "short"}}, "password"),
        ({**PLAIN, "analyse": {}}, "analyse"),
        ({**PLAIN, "analyze": {"keda": {"enabled": True}}}, "redisAddress"),
        ({**PLAIN, "receive": {"service": {"sourceRanges": ["everybody"]}}}, "everybody"),
        ({**PLAIN, "web": {"ingress": {"host": ""}}}, "host"),
        ({**PLAIN, "dicomweb": {"probe": "http"}}, "probe"),
        ({**PLAIN, "networkPolicy": {"hl7From": ["the RIS"]}}, "the RIS"),
        ({**PLAIN, "shadow": {"bundel": "next"}}, "bundel"),
    ],
)
def test_values_that_cannot_be_used_are_named(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(helm.HelmError, match=complaint), helm.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        chart.render(values, name="ich", namespace="radiology")
