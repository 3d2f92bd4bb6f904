"""DICOMweb servers for tests: one that does as it is told, and nginx before a real one."""

import http.server
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from node.broker import free_port
from tests.certificates import Identity
from tests.e2e.peers import wait_for

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"


@dataclass(frozen=True)
class Request:
    """What a server got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What a server answers; `raw` is written instead of all the rest."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    raw: Callable[[socket.socket], None] | None = None


@dataclass
class Told:
    """A server that answers as it is told, and what it got."""

    url: str
    answer: Callable[[Request], Answer] = lambda _: Answer()
    got: list[Request] = field(default_factory=list)


def json_answer(text: str, status: int = 200) -> Answer:
    """An answer in DICOM JSON."""
    return Answer(status, text.encode(), {"Content-Type": "application/dicom+json"})


@contextmanager
def told_server(context: ssl.SSLContext | None = None) -> Iterator[Told]:
    """Run a server that answers as it is told."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            told.got.append(request)
            answer = told.answer(request)
            if answer.raw is not None:
                with suppress(OSError):
                    answer.raw(self.connection)
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(answer.body)

        do_GET = do_POST = do_OPTIONS = answer

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if context is None else "https"
    told = Told(f"{scheme}://127.0.0.1:{server.server_port}/dicom-web")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def nginx_before(
    http_port: int, folder: Path, identity: Identity, *, token_file: Path, more: str = ""
) -> Iterator[int]:
    """Run nginx with TLS before a server: it lets pass who shows the token in a file.

    Parameters
    ----------
    http_port : int
        Of the server.
    folder : pathlib.Path
    identity : Identity
        Its certificate and key.
    token_file : pathlib.Path
    more : str
        Further lines of its server.
    """
    folder.mkdir(parents=True)
    port = free_port()
    (folder / "nginx.conf").write_text(
        f"""daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 64m; client_body_buffer_size 64m;  # its workers may not write here
  proxy_buffering off;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {identity.certificate}; ssl_certificate_key {identity.key};
    {more}
    location / {{
      if ($http_authorization != "Bearer {token_file.read_text().strip()}") {{ return 401; }}
      proxy_set_header Authorization "";
      proxy_set_header Host $http_host;
      proxy_pass http://127.0.0.1:{http_port};
    }}
  }}
}}
"""
    )
    process = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder)])

    def listens() -> bool:
        assert process.poll() is None, (folder / "error.log").read_text()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    try:
        wait_for(listens, 20, "nginx to listen")
        yield port
    finally:
        process.terminate()
        process.wait(20)
