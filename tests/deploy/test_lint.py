"""Programs that know Dockerfiles, compose files and shell have nothing to say to ours."""

import json
import re

import yaml

from node.settings import load_settings
from tests.deploy.tools import DEPLOY, ROOT, look

COMPOSE = DEPLOY / "compose"
SCRIPTS = ("install", "debian-packages", "systemd/ichnode", "compose/make-secrets")


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    look("hadolint", "--failure-threshold", "style", DEPLOY / "docker" / "Dockerfile")


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    look("shellcheck", "--shell", "sh", *(DEPLOY / script for script in SCRIPTS))


def test_yamllint_finds_nothing() -> None:
    chart = DEPLOY / "helm" / "ichnode"
    files = [COMPOSE / "compose.yaml", chart / "Chart.yaml", chart / "values.yaml"]
    look("yamllint", "--strict", "--config-file", DEPLOY / ".yamllint", *files)


def test_docker_compose_understands_every_profile() -> None:
    text = look("docker-compose", "-f", COMPOSE / "compose.yaml", "--profile", "*", "config")
    services = yaml.safe_load(text)["services"]

    assert {"receive", "analyze", "analyze-gpu", "deliver", "web", "phantom"} <= set(services)
    assert services["analyze-gpu"]["build"]["target"] == "cuda"


def test_what_compose_starts_of_the_node_can_do_little_to_the_machine() -> None:
    text = look("docker-compose", "-f", COMPOSE / "compose.yaml", "--profile", "*", "config")
    for name, service in yaml.safe_load(text)["services"].items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if service["image"].startswith("ichnode:"):
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name


def test_only_the_ports_for_dicom_are_open_to_other_machines() -> None:
    text = look("docker-compose", "-f", COMPOSE / "compose.yaml", "--profile", "*", "config")
    published = [
        port
        for service in yaml.safe_load(text)["services"].values()
        for port in service.get("ports", ())
    ]

    assert [p["target"] for p in published if p.get("host_ip") != "127.0.0.1"] == [11112]


def test_files_beside_the_compose_file_can_be_read_by_those_they_are_for() -> None:
    orthanc = json.loads((COMPOSE / "orthanc.json").read_text())
    settings = load_settings(COMPOSE / "ichnode.toml")
    look("node", "--check", COMPOSE / "app-config.js")

    (destination,) = settings.destinations
    assert (destination.ae_title, destination.port) == (orthanc["DicomAet"], orthanc["DicomPort"])
    assert orthanc["DicomModalities"]["ichnode"] == [
        settings.dicom.ae_title,
        "receive",
        settings.dicom.port,
    ]


def test_no_file_names_the_host_of_a_registry() -> None:
    image = re.compile(r"(?:image: |FROM |repository: |Image: )(\S+)")
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            for name in image.findall(file.read_text()):
                assert "." not in name.partition("/")[0] or "/" not in name, (file, name)


def test_both_images_run_as_a_user_that_is_not_root_and_have_a_check() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n((?:(?!FROM ).*\n?)*)", text, re.MULTILINE))

    for stage in ("cpu", "cuda"):
        assert stages[stage].rstrip().endswith("USER 10001:10001"), stage
    assert "HEALTHCHECK" in stages["base"]
    assert list(stages)[-1] == "cpu", "what is built without --target"


def test_what_the_dockerfile_copies_goes_to_the_builder_and_nothing_else() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    }
    ignore = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()

    assert {line[1:] for line in ignore if line.startswith("!")} == copied
    assert "*" in ignore
    assert all((ROOT / source).exists() for source in copied)
