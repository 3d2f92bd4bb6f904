"""What Dockerfile and compose.yaml say, done by hand in the same order, without containers.

The image is a folder, every container a process, every port another one on loopback; the
servers are Debian's. Commands, environment, files and order are those of the files.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import hl7
import pytest
import yaml
from hl7.client import MLLPClient

from ml.phantom import make_phantom, write_dicom
from node.broker import free_port
from node.deliver import store_files
from node.processes import end_process
from node.settings import Destination, load_settings
from tests.deploy.dockerfile import Image
from tests.deploy.tools import DEPLOY, ROOT, found
from tests.e2e.peers import DICOMWEB, wait_for
from tests.postgresql import binaries

pytestmark = pytest.mark.long

COMPOSE = DEPLOY / "compose"
VIEWER = ROOT / ".viewer" / "ohif" / "dist"

PORTS = (
    *("redis", "postgres", "receive", "dicomweb", "hl7", "web"),
    *("orthanc", "http", "ohif", "proxy", "page"),
)
NODE_PARTS = ("receive", "analyze", "deliver", "web", "dicomweb", "feedback", "poll", "shadow")

TOO_FEW = 9
"""Slices of a series that is received and not judged: `[eligibility] min_slices` is 10."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that other users may enter, as PostgreSQL's has to."""
    path = Path(tempfile.mkdtemp(prefix="ichnode-compose-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def image(folder: Path) -> Image:
    """The image of the target `cpu`."""
    built = Image(folder)
    built.build("cpu")
    return built


def turned_on(text: str) -> str:
    """The node's configuration with all that stands in it for profiles, polled without waiting."""
    return re.sub(r"^#(?=\S)", "", text, flags=re.MULTILINE).replace("poll_s = 60", "poll_s = 1")


def services() -> dict[str, dict[str, Any]]:
    """The services of the compose file, each after those that it waits for."""
    every = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    ordered: dict[str, dict[str, Any]] = {}

    def add(name: str) -> None:
        for before in every[name].get("depends_on", ()):
            if before not in ordered:
                add(before)
        ordered.setdefault(name, every[name])

    for name in every:
        add(name)
    return ordered


class Machine:
    """Stands for the Docker engine: starts services as processes.

    Parameters
    ----------
    image : Image
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self.folder = image.folder
        self.ports = {name: free_port() for name in PORTS}
        self.services = services()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.started: list[str] = []
        for name in ("run/ichnode", "var/lib/ichnode", "etc", "archive", "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def start(self, name: str) -> None:
        """Start a service as its part of the compose file says."""
        service = self.services[name]
        getattr(self, f"_{name}".replace("-", "_"), self._node_part)(name, service)
        self.started.append(name)

    def stop(self) -> None:
        """End every process."""
        for names in (NODE_PARTS, tuple(self.processes)):  # they talk to the others till they end
            ending = [self.processes.pop(name) for name in names if name in self.processes]
            for process in ending:
                process.terminate()
            for process in ending:
                end_process(process, timeout_s=30)

    def log(self, name: str) -> str:
        """What a service printed."""
        return (self.folder / "log" / name).read_text(errors="replace")

    def node(self, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`docker compose exec NAME ichnode ...`."""
        return subprocess.run(
            [*self.image.entrypoint, *arguments],
            env=self._environment(self.services[name]),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            timeout=60,
        )

    def is_healthy(self, name: str, **environment: str) -> bool:
        """What the image's HEALTHCHECK says of a service."""
        assert self.processes[name].poll() is None, self.log(name)
        done = subprocess.run(
            [*self.image.healthcheck, str(self.processes[name].pid)],
            env=self._environment(self.services[name]) | environment,
            capture_output=True,
            check=False,
            cwd=self.folder,
        )
        return done.returncode == 0

    def get(
        self,
        port: str,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> bytes:
        """Ask the proxy for something."""
        url = f"http://127.0.0.1:{self.ports[port]}{path}"
        request = urllib.request.Request(url, body, dict(headers), method=method)
        with urllib.request.urlopen(request, timeout=20) as got:
            return bytes(got.read())

    def series(self) -> list[dict[str, Any]]:
        """What the page tells of every series, the oldest first."""
        found = json.loads(self.get("page", "/api/series"))["series"]
        return sorted(found, key=lambda series: int(series["id"]))

    def oldest(self) -> dict[str, Any]:
        """All that the page tells of the first series."""
        return dict(json.loads(self.get("page", f"/api/series/{self.series()[0]['id']}")))

    def here(self, text: str) -> str:
        """A text with the names and ports of other services as they are on this machine."""
        for name, port, moved in (
            ("redis", 6379, "redis"),
            ("postgres", 5432, "postgres"),
            ("receive", 11112, "receive"),
            ("orthanc", 4242, "orthanc"),
            ("orthanc", 8042, "http"),
            ("ohif", 80, "ohif"),
            ("web", 8042, "web"),
            ("dicomweb", 8043, "dicomweb"),
        ):
            text = re.sub(rf"\b{name}:{port}\b", f"127.0.0.1:{self.ports[moved]}", text)
        return self.image.path(text)

    def _spawn(
        self, name: str, command: list[str], environment: dict[str, str] | None = None
    ) -> None:
        with (self.folder / "log" / name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=self.folder
            )

    def _mounted(self, service: dict[str, Any], path: str) -> str:
        """Where on this machine a file lies that is mounted from beside the compose file."""
        for volume in service["volumes"]:
            source, target, *_ = volume.split(":")
            if target == path and source.startswith("./"):
                return str(COMPOSE / source)
        return self.image.path(path)

    def _environment(self, service: dict[str, Any]) -> dict[str, str]:
        own = {name: self.here(value) for name, value in service["environment"].items()}
        moved = {
            "ICHNODE_DICOM__HOST": "127.0.0.1",
            "ICHNODE_DICOM__PORT": str(self.ports["receive"]),
        }
        if "ICHNODE_CONFIG" in own:
            own["ICHNODE_CONFIG"] = str(self.folder / "etc" / "ichnode.toml")
        if "ICHNODE_WEB__HOST" in own:
            moved["ICHNODE_WEB__HOST"] = "127.0.0.1"
            moved["ICHNODE_WEB__PORT"] = str(self.ports["web"])
            own["ICHNODE_WEB__TRUSTED_PROXIES"] = '["127.0.0.1/32"]'
        for section, port in (("DICOMWEB__", "dicomweb"), ("FEEDBACK__HL7_", "hl7")):
            if f"ICHNODE_{section}HOST" in own:
                moved[f"ICHNODE_{section}HOST"] = "127.0.0.1"
                moved[f"ICHNODE_{section}PORT"] = str(self.ports[port])
                moved[f"ICHNODE_{section}NETWORKS"] = '["127.0.0.1/32"]'
        return {**self.image.variables(), **own, **moved}

    def _secrets(self, name: str, service: dict[str, Any]) -> None:
        command = [
            self._mounted(service, part) for part in (*service["entrypoint"], *service["command"])
        ]
        subprocess.run(command, check=True)
        for url in ("broker.url", "ledger.url"):
            file = self.folder / "run" / "ichnode" / url
            file.write_text(self.here(file.read_text()))

    def _redis(self, name: str, service: dict[str, Any]) -> None:
        port = str(self.ports["redis"])
        command = [self.image.path(part) for part in service["command"]]
        self._spawn(name, [*command, "--bind", "127.0.0.1", "--port", port])
        check = service["healthcheck"]["test"].replace("$$", "$")
        check = self.image.path(check).replace("redis-cli", f"redis-cli -p {port}")
        self._wait_until_healthy(name, check)

    def _postgres(self, name: str, service: dict[str, Any]) -> None:
        """Do what the entry point of PostgreSQL's image does with these variables."""
        programs = binaries()
        assert programs is not None
        data = self.folder / "ledger"
        data.mkdir()
        as_user = []
        if os.geteuid() == 0:
            shutil.chown(data, "postgres")
            as_user = ["runuser", "-u", "postgres", "--"]
        variables = service["environment"]
        user, password = variables["POSTGRES_USER"], variables["POSTGRES_PASSWORD_FILE"]
        options = ["-U", user, "-A", "scram-sha-256", "-N", f"--pwfile={self.image.path(password)}"]
        subprocess.run(
            [*as_user, f"{programs}/initdb", "-D", f"{data}/pg", *options],
            check=True,
            cwd=data,
            stdout=subprocess.DEVNULL,
        )
        command = [*as_user, f"{programs}/postgres", "-D", f"{data}/pg", "-k", str(data)]
        port = str(self.ports["postgres"])
        self._spawn(name, [*command, "-h", "127.0.0.1", "-p", port])
        check = service["healthcheck"]["test"]
        self._wait_until_healthy(name, check.replace("pg_isready", f"pg_isready --port {port}"))
        secret = Path(self.image.path(password)).read_text().strip()
        options = ["-h", "127.0.0.1", "-p", port, "-U", user]
        subprocess.run(
            [f"{programs}/createdb", *options, variables["POSTGRES_DB"]],
            check=True,
            env={**os.environ, "PGPASSWORD": secret},
        )

    def _orthanc(self, name: str, service: dict[str, Any]) -> None:
        config = json.loads((COMPOSE / "orthanc.json").read_text())
        title, host, _ = config["DicomModalities"]["ichnode"]
        assert host in self.services
        config["DicomModalities"]["ichnode"] = [title, "127.0.0.1", self.ports["receive"]]
        config |= {
            "DicomPort": self.ports["orthanc"],
            "HttpPort": self.ports["http"],
            "StorageDirectory": str(self.folder / "archive"),
        }
        if service["environment"]["DICOM_WEB_PLUGIN_ENABLED"] == "true":
            config["Plugins"] = [str(DICOMWEB)]
        (self.folder / "etc" / "orthanc.json").write_text(json.dumps(config))
        self._spawn(
            name,
            [found("Orthanc"), str(self.folder / "etc" / "orthanc.json")],
            {**os.environ, "TCP_NODELAY": "1"},
        )

    def _ohif(self, name: str, service: dict[str, Any]) -> None:
        pages = VIEWER if VIEWER.is_dir() else self.folder / "pages"
        pages.mkdir(exist_ok=True)
        if not (pages / "index.html").exists():
            (pages / "index.html").write_text("<title>OHIF</title>")
        serve = ["-m", "http.server", "--bind", "127.0.0.1", "--directory", str(pages)]
        self._spawn(name, [sys.executable, *serve, str(self.ports["ohif"])])

    def _proxy(self, name: str, service: dict[str, Any]) -> None:
        config = self.here((COMPOSE / "nginx.conf").read_text())
        config = config.replace("listen 8080", f"listen 127.0.0.1:{self.ports['proxy']}")
        config = config.replace("listen 8042", f"listen 127.0.0.1:{self.ports['page']}")
        config = config.replace("/srv/app-config.js", self._mounted(service, "/srv/app-config.js"))
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/nginx-{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "etc" / "nginx.conf").write_text(
            ("user root;\n" if os.geteuid() == 0 else "")
            + f"daemon off; pid {self.folder}/nginx.pid; error_log stderr;\n"
            + f"events {{}}\nhttp {{ access_log off;\n{temporary}{config}}}\n"
        )
        self._spawn(name, [found("nginx"), "-c", str(self.folder / "etc" / "nginx.conf")])

    def _node_part(self, name: str, service: dict[str, Any]) -> None:
        mounted = self._mounted(service, service["environment"]["ICHNODE_CONFIG"])
        config = tomllib.loads(Path(mounted).read_text())
        (destination,) = config["destinations"]
        text = turned_on(Path(mounted).read_text())
        text = text.replace(f'host = "{destination["host"]}"', 'host = "127.0.0.1"')
        text = text.replace(f"port = {destination['port']}", f"port = {self.ports['orthanc']}")
        (self.folder / "etc" / "ichnode.toml").write_text(text)
        command = [*self.image.entrypoint, *service["command"]]
        self._spawn(name, command, self._environment(service))

    def _phantom(self, name: str, service: dict[str, Any]) -> None:
        for before, condition in service["depends_on"].items():
            if condition["condition"] == "service_healthy":
                wait_for(lambda part=before: self.is_healthy(part), 120, f"{before} to be healthy")
        script = [self._mounted(service, part) for part in service["entrypoint"]]
        script[0] = f"{self.folder}/opt/ichnode/bin/{script[0]}"
        subprocess.run(
            [*script, *map(self.here, service["command"])],
            check=True,
            env=self._environment(service),
            cwd=self.folder,
            capture_output=True,
        )

    def _wait_until_healthy(self, name: str, check: str) -> None:
        def passes() -> bool:
            assert self.processes[name].poll() is None, self.log(name)
            done = subprocess.run(["sh", "-c", check], capture_output=True, check=False)
            return done.returncode == 0

        wait_for(passes, 30, f"{name} to be healthy")


@pytest.fixture(scope="module")
def machine(image: Image) -> Iterator[Machine]:
    """Every service of every profile that needs no GPU, in the order that compose starts them."""
    for tool in ("Orthanc", "nginx", "redis-server"):
        found(tool)
    if binaries() is None or not DICOMWEB.exists():
        pytest.skip("PostgreSQL's server or Orthanc's DICOMweb is not installed")
    engine = Machine(image)
    try:
        for name, service in engine.services.items():
            if "gpu" in service.get("profiles", ()):
                continue
            engine.start(name)
        yield engine
    finally:
        engine.stop()


def in_archive(machine: Machine, modality: str) -> list[dict[str, Any]]:
    """The objects of a modality in the archive, asked for as the viewer does."""
    answer = machine.get("proxy", f"/dicom-web/instances?Modality={modality}")
    return list(json.loads(answer)) if answer else []


def test_the_image_holds_the_node_from_its_own_wheel(image: Image) -> None:
    python = image.folder / "opt" / "ichnode" / "bin" / "python"
    where = subprocess.run(
        [python, "-c", "import ml, node; print(node.__file__, ml.__path__[0])"],
        check=True,
        capture_output=True,
        text=True,
        env=image.variables(),
        cwd=image.folder,
    ).stdout.split()

    assert all(path.startswith(f"{image.folder}/opt/ichnode/lib") for path in where)
    assert not (image.folder / "opt" / "ichnode" / "bin" / "pip").exists()


def test_the_image_asks_for_all_that_the_project_depends_on(image: Image) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    requirements = (image.folder / "src" / "requirements.txt").read_text().splitlines()
    assert requirements == project["dependencies"]


def test_services_start_in_the_order_that_they_wait_for_each_other() -> None:
    order = list(services())

    assert order.index("secrets") < order.index("redis") < order.index("receive")
    assert order.index("postgres") < order.index("analyze")
    assert order.index("deliver") < order.index("phantom")


def test_what_has_a_profile_is_off_and_its_configuration_is_one(tmp_path: Path) -> None:
    text = (COMPOSE / "ichnode.toml").read_text()
    file = tmp_path / "ichnode.toml"
    file.write_text(turned_on(text))
    on, off = load_settings(file), load_settings(COMPOSE / "ichnode.toml")

    assert not off.sources
    assert not off.shadow.is_on
    assert [source.poll_s for source in on.sources] == [1]
    assert on.shadow.is_on
    always = {name for name, service in services().items() if "profiles" not in service}
    assert always & set(NODE_PARTS) == {"receive", "analyze", "deliver", "web"}


def test_a_phantom_goes_the_whole_way_and_its_reports_are_seen_through_the_proxy(
    machine: Machine,
) -> None:
    assert machine.started[-1] == "phantom"
    try:
        wait_for(lambda: len(in_archive(machine, "SR")) == 3, 120, "the reports")
    except AssertionError as error:
        logs = "\n".join(f"{name}: {machine.log(name)[-1500:]}" for name in machine.processes)
        raise AssertionError(f"{error}\n{logs}") from None

    study = "0020000D"
    objects = in_archive(machine, "CT") + in_archive(machine, "SR")
    assert len({found[study]["Value"][0] for found in objects}) == 1, "images beside reports"
    status = json.loads(machine.node("receive", "status", "--json").stdout)
    (series,) = status["series"]
    assert series["state"] in ("reported", "delivered")
    assert [d["name"] for d in status["destinations"]] == ["orthanc"]


def test_every_part_of_the_node_is_healthy_and_one_that_hangs_is_not(machine: Machine) -> None:
    for name in NODE_PARTS:  # the shadow has the least priority, and may answer late
        wait_for(lambda part=name: machine.is_healthy(part), 60, f"{name} to be healthy")

    machine.processes["deliver"].send_signal(signal.SIGSTOP)
    try:
        assert not machine.is_healthy("deliver")
    finally:
        machine.processes["deliver"].send_signal(signal.SIGCONT)


def test_a_second_model_judges_the_phantom_in_the_shadow(machine: Machine) -> None:
    wait_for(lambda: (machine.oldest()["shadow"] or {}).get("state") == "judged", 60, "the shadow")


def test_what_is_in_the_archive_alone_is_fetched(machine: Machine, tmp_path: Path) -> None:
    before = len(machine.series())
    title, port = "ORTHANC", machine.ports["orthanc"]
    archive = Destination(name="orthanc", ae_title=title, host="127.0.0.1", port=port)

    phantom = make_phantom(9, size=64, findings=())
    images = write_dicom(phantom, tmp_path, when=datetime.now())[:TOO_FEW]
    assert not store_files("SCANNER", archive, images, lambda: None)

    wait_for(lambda: len(machine.series()) == before + 1, 60, "the series to be fetched")


def test_a_large_request_by_stow_goes_through_the_proxy(machine: Machine, tmp_path: Path) -> None:
    before = len(machine.series())
    files = write_dicom(make_phantom(3, findings=()), tmp_path)[:TOO_FEW]
    slices = [file.read_bytes() for file in files]
    parts = [b"--here\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % s for s in slices]
    body = b"".join(parts) + b"--here--\r\n"
    assert len(body) > 1024**2, "what nginx lets through by itself"
    kind = 'multipart/related; type="application/dicom"; boundary=here'

    answer = machine.get("page", "/dicom-web/studies", "POST", body, {"Content-Type": kind})

    assert len(json.loads(answer)["00081199"]["Value"]) == len(slices)
    wait_for(lambda: len(machine.series()) == before + 1, 30, "the series")


def test_a_reader_is_heard_by_hl7(machine: Machine) -> None:
    uid = machine.oldest()["study_instance_uid"]
    message = (
        "MSH|^~\\&|RIS|HOSPITAL|ICHNODE||20260101083000+0000||ORU^R01^ORU_R01|1|P|2.5.1\r"
        "OBR|1|||18748-4^Diagnostic Imaging Report^LN\r"
        f"OBX|1|ST|110180^Study Instance UID^DCM||{uid}||||||F\r"
        "OBX|2|CWE|1386000^Intracranial hemorrhage^SCT||52101004^Present^SCT||||||F\r"
    )

    with MLLPClient("127.0.0.1", machine.ports["hl7"]) as client:
        answer = hl7.parse(client.send_message(message))

    assert str(answer.segment("MSA")[1]) == "AA", answer
    (reading,) = machine.oldest()["readings"]
    assert (reading["source"], reading["reader"]) == ("hl7", "RIS")


def test_who_takes_labels_is_healthy_only_while_it_listens(machine: Machine) -> None:
    assert machine.is_healthy("feedback")
    assert not machine.is_healthy("feedback", ICHNODE_FEEDBACK__HL7_PORT=str(free_port()))
    assert "may not send" not in machine.log("feedback"), "to look is no call"


def test_viewer_and_archive_share_an_origin_that_only_reads(machine: Machine) -> None:
    assert b"<title>" in machine.get("proxy", "/")
    assert b"/dicom-web" in machine.get("proxy", "/app-config.js")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        machine.get("proxy", "/dicom-web/studies", "POST")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        machine.get("proxy", "/instances")


def test_the_page_of_the_node_is_reached_through_the_proxy(machine: Machine) -> None:
    wait_for(lambda: machine.is_healthy("web"), 30, "the page")

    assert machine.get("page", "/health/live")
    assert b"<html" in machine.get("page", "/").lower()


def test_passwords_are_made_once_and_for_those_who_need_them(tmp_path: Path) -> None:
    command = ["sh", str(COMPOSE / "make-secrets"), str(tmp_path)]
    subprocess.run(command, check=True)
    first = {file.name: file.read_text() for file in tmp_path.iterdir()}
    subprocess.run(command, check=True)

    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == first
    for name in ("broker.url", "ledger.url"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    redis, postgres = first["redis-password"].strip(), first["postgres-password"].strip()
    assert redis in first["broker.url"]
    assert postgres in first["ledger.url"]
    assert redis != postgres
    assert min(len(redis), len(postgres)) == 48
