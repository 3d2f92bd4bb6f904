"""Where audit records go: a file that several processes write, and real syslog receivers."""

import errno
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.audit import Alert, events
from node.audit.events import Process
from node.audit.message import AuditMessage
from node.audit.sinks import FileSink, SyslogSink, tls_context
from node.errors import ConfigError
from node.settings import AuditSettings
from tests.node.audit_schema import check

AT = datetime(2026, 11, 24, 2, 30, 15, 123456, tzinfo=UTC)
PROCESS = Process("receive", "ICHNODE", "node 1", 4711)
AUTHPRIV = 10
LARGE = 10**9
LONG = timedelta(days=30)


def start(at: datetime = AT) -> AuditMessage:
    """A record that is as good as any other."""
    return events.application_activity(PROCESS, at, starts=True)


def records(folder: Path) -> list[bytes]:
    """The lines of all files there."""
    return [line for file in sorted(folder.iterdir()) for line in file.read_bytes().splitlines()]


# -- the file --------------------------------------------------------------------


def test_a_record_is_a_line_of_a_file_that_is_private(tmp_path: Path) -> None:
    path = tmp_path / "made" / "audit.log"
    old = os.umask(0)
    try:
        with closing(FileSink(path, LARGE, LONG)) as sink:
            sink.write(start())
            sink.write(start())
            sink.settle()
    finally:
        os.umask(old)

    assert path.read_bytes() == (start().xml() + b"\n") * 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_is_put_aside_when_it_is_large(tmp_path: Path) -> None:
    length = len(start().xml()) + 1
    with closing(FileSink(tmp_path / "audit.log", 3 * length, LONG)) as sink:
        for second in range(10):
            sink.write(start(AT + timedelta(seconds=second)))

    sizes = {file.name: file.stat().st_size // length for file in tmp_path.iterdir()}
    assert sizes.pop("audit.log") == 1
    assert list(sizes.values()) == [3, 3, 3]
    assert all(re.fullmatch(r"audit-20261124T0230\d{8}-1\.log", name) for name in sizes)
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in tmp_path.iterdir())


def test_a_file_is_put_aside_when_its_first_record_is_old_whoever_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    for days, files in ((0, 1), (29, 1), (31, 2), (60, 2), (62, 3)):
        with closing(FileSink(path, LARGE, LONG)) as sink:
            sink.write(start(AT + timedelta(days=days)))
        assert len(list(tmp_path.iterdir())) == files, days
    assert len(records(tmp_path)) == 5


@pytest.mark.parametrize(
    "before",
    [b"what is this?\n", b'<AuditMessage EventDateTime="2020-01-01T00:00:00"/>\n', b"\xff"],
)
def test_a_file_that_does_not_say_when_it_began_begins_now(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(before)
    with closing(FileSink(path, LARGE, LONG)) as sink:
        sink.write(start())

    assert path.read_bytes() == before.rstrip(b"\n") + b"\n" + start().xml() + b"\n"


def test_one_record_larger_than_a_file_may_be_is_written_all_the_same(tmp_path: Path) -> None:
    with closing(FileSink(tmp_path / "audit.log", 10, LONG)) as sink:
        for _ in range(4):
            sink.write(start())

    assert len({file.name for file in tmp_path.iterdir()}) == 4, "of one time, each its name"
    assert records(tmp_path) == [start().xml()] * 4


def test_a_file_that_was_moved_or_deleted_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with closing(FileSink(path, LARGE, LONG)) as sink:
        sink.write(start())
        path.rename(tmp_path / "by-logrotate.log")
        sink.write(start())
        path.unlink()
        sink.write(start())

    assert {f.name: len(f.read_bytes().splitlines()) for f in tmp_path.iterdir()} == {
        "by-logrotate.log": 1,
        "audit.log": 1,
    }


WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from node.audit import events
from node.audit.sinks import FileSink

process = events.Process(sys.argv[2], "ICHNODE", "node1", 1)
sink = FileSink(Path(sys.argv[1]), 100_000, timedelta(days=30))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(400):
    sink.write(events.application_activity(process, datetime.now(UTC), starts=True))
"""


def test_processes_that_write_and_rotate_at_once_lose_and_tear_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "trail"
    command = [sys.executable, "-c", WRITER, str(folder / "audit.log")]
    writers = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in ("a", "b", "c")
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
    for writer in writers:
        writer.communicate(b"go\n", timeout=60)
        assert writer.returncode == 0

    names = [
        check(line).find("ActiveParticipant").get("UserName")  # type: ignore[union-attr]
        for line in records(folder)
    ]
    assert {name: names.count(name) for name in names} == {
        "ichnode a": 400,
        "ichnode b": 400,
        "ichnode c": 400,
    }
    assert len(list(folder.iterdir())) > 3, "the file was put aside while others wrote it"


def test_a_line_that_a_killed_process_tore_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(start().xml() + b"\n" + start().xml()[:100])

    with closing(FileSink(path, LARGE, LONG)) as sink:
        sink.write(start())

    first, torn, last = path.read_bytes().splitlines()
    assert first == last == start().xml()
    assert torn == start().xml()[:100]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_takes_whole_lines_or_none_and_goes_on_when_there_is_room(
    small_disk: Path,
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(50_000))
    with closing(FileSink(small_disk / "audit.log", LARGE, LONG)) as sink:
        with pytest.raises(OSError, match="No space left") as caught:
            for _ in range(100):
                sink.write(start())
        assert caught.value.errno == errno.ENOSPC
        full = (small_disk / "audit.log").read_bytes()
        assert full.endswith(b"\n")

        ballast.unlink()
        sink.write(start())

    lines = (small_disk / "audit.log").read_bytes().splitlines()
    assert len(lines) == len(full.splitlines()) + 1
    assert {line == start().xml() for line in lines} == {True}


def test_a_device_without_room_is_an_error() -> None:
    with (
        closing(FileSink(Path("/dev/full"), LARGE, LONG)) as sink,
        pytest.raises(OSError, match="No space left"),
    ):
        sink.write(start())


# -- syslog ----------------------------------------------------------------------

RFC5424 = re.compile(
    rb"<(?P<pri>\d{1,3})>1 (?P<at>\S+) (?P<host>\S+) (?P<app>\S+) (?P<pid>\S+) (?P<msgid>\S+) - "
    rb"(?P<msg>.*)",
    re.DOTALL,
)


def parsed(frame: bytes) -> dict[str, str]:
    """The fields of a syslog message (RFC 5424, 6); its record is checked by the schema."""
    found = RFC5424.fullmatch(frame)
    assert found is not None, frame
    check(found["msg"])
    return {name: value.decode() for name, value in found.groupdict().items() if name != "msg"}


EXPECTED = {
    "pri": "85",
    "at": "2026-11-24T02:30:15.123456Z",
    "host": "node_1",
    "app": "ichnode",
    "pid": "4711",
    "msgid": "DICOM+RFC3881",
}


def test_over_udp_a_record_is_a_datagram() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        target = f"udp://127.0.0.1:{server.getsockname()[1]}"
        with closing(SyslogSink(target, AUTHPRIV, PROCESS)) as sink:
            sink.write(start())
            assert parsed(server.recv(65536)) == EXPECTED


def test_what_failed_is_a_warning() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        target = f"udp://127.0.0.1:{server.getsockname()[1]}"
        with closing(SyslogSink(target, 16, PROCESS)) as sink:
            sink.write(events.security_alert(PROCESS, AT, Alert.REFUSED_PEER, "rejected"))
            assert parsed(server.recv(65536))["pri"] == str(16 * 8 + 4)


def test_on_this_machine_a_record_looks_as_syslog_3_writes_it(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as server:
        server.bind(str(tmp_path / "log"))
        server.settimeout(5)
        with closing(SyslogSink(f"unix:{tmp_path}/log", AUTHPRIV, PROCESS)) as sink:
            sink.write(start())
            found = re.fullmatch(
                rb"<85>Nov 2[345] \d\d:\d\d:\d\d ichnode\[4711\]: (.*)", server.recv(65536)
            )
    assert found is not None
    check(found[1])


class Streams:
    """A server of syslog over TCP, with TLS if it is given a context."""

    def __init__(self, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.frames: list[bytes] = []
        self.connections: list[socket.socket] = []
        self.changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        """Octet counting: length, space, message (RFC 5425, 4.3)."""
        try:
            with connection.makefile("rb") as stream:
                while True:
                    length = b""
                    while (digit := stream.read(1)) not in (b" ", b""):
                        length += digit
                    if not digit:
                        return
                    frame = stream.read(int(length))
                    with self.changed:
                        self.frames.append(frame)
                        self.changed.notify_all()
        except OSError:
            return

    def wait_for(self, count: int) -> list[bytes]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.frames) >= count, 10)
            return self.frames

    def hang_up(self) -> None:
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._listener.close()
        self.hang_up()


def test_over_tcp_records_are_counted_octets_and_a_new_connection_is_made_after_a_hang_up() -> None:
    with (
        closing(Streams()) as server,
        closing(SyslogSink(f"tcp://127.0.0.1:{server.port}", AUTHPRIV, PROCESS)) as sink,
    ):
        sink.write(start())
        sink.write(start())
        server.wait_for(2)
        server.hang_up()
        sink.write(start())
        assert [parsed(frame) for frame in server.wait_for(3)] == [EXPECTED] * 3
        assert len(server.connections) == 2


def test_a_server_that_is_away_is_an_error() -> None:
    with closing(Streams()) as server:
        target = f"tcp://127.0.0.1:{server.port}"
    with closing(SyslogSink(target, AUTHPRIV, PROCESS)) as sink, pytest.raises(ConnectionError):
        sink.write(start())


def tls_server(certificates: Path) -> Streams:
    """A server that talks to the node only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "node.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return Streams(context)


def tls_sink(server: Streams, certificates: Path, *, ca: str, own: str) -> SyslogSink:
    target = f"tls://127.0.0.1:{server.port}"
    settings = AuditSettings(
        syslog=target,
        tls_ca=certificates / f"{ca}.pem",
        tls_certificate=certificates / f"{own}.pem",
        tls_key=certificates / f"{own}.key",
    )
    return SyslogSink(target, AUTHPRIV, PROCESS, tls_context(settings))


def test_over_tls_both_sides_show_their_certificates(certificates: Path) -> None:
    with (
        closing(tls_server(certificates)) as server,
        closing(tls_sink(server, certificates, ca="server", own="node")) as sink,
    ):
        sink.write(start())
        sink.write(start())
        assert [parsed(frame) for frame in server.wait_for(2)] == [EXPECTED] * 2
        assert len(server.connections) == 1


def test_a_tls_server_with_a_certificate_of_a_stranger_gets_nothing(certificates: Path) -> None:
    with (
        closing(tls_server(certificates)) as server,
        closing(tls_sink(server, certificates, ca="stranger", own="node")) as sink,
    ):
        with pytest.raises(ssl.SSLCertVerificationError):
            sink.write(start())
        assert server.frames == []


def test_a_tls_server_does_not_take_records_of_a_stranger(certificates: Path) -> None:
    with (
        closing(tls_server(certificates)) as server,
        closing(tls_sink(server, certificates, ca="server", own="stranger")) as sink,
    ):
        with pytest.raises(ssl.SSLError, match="alert"):
            sink.write(start())
        assert server.frames == []


def test_a_certificate_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    settings = AuditSettings(syslog="tls://127.0.0.1", tls_ca=tmp_path / "gone.pem")

    with pytest.raises(ConfigError, match="see \\[audit\\] tls_ca"):
        tls_context(settings)
