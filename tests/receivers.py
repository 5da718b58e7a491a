"""Who messages are sent to in tests: a web server and a mail server on loopback that take, fail, hang or redirect by script."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Taken:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Web:
    """What a web server took, and what it answers: statuses in turn, then 200; a number of seconds before is a wait."""

    port: int = 0
    taken: list[Taken] = field(default_factory=list)
    script: list[int | float] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?tenant=1"


@contextmanager
def web(*script: int | float) -> Iterator[Web]:
    """A web server; floats in its script are waits."""
    found = Web(script=list(script))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            found.taken.append(Taken(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status = found.script.pop(0) if found.script else 200
            if isinstance(status, float):
                time.sleep(status)
                status = 200
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", f"http://127.0.0.1:{found.port}/elsewhere")
            self.end_headers()
            self.wfile.write(b"SECRET-OF-THE-RECEIVER")

        do_GET = do_POST  # noqa: N815 - http.server wants the name

        def log_message(self, *args: Any) -> None:
            return

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            return

    with _served(Quiet(("127.0.0.1", 0), Handler)) as port:
        found.port = port
        yield found


@dataclass
class Mail:
    """What a mail server took: (recipients, the whole message). `refuses` are recipients that it does not know."""

    port: int = 0
    taken: list[tuple[list[str], str]] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=countersign@example.com&name=Countersign"


@contextmanager
def mail() -> Iterator[Mail]:
    """A mail server that speaks as much SMTP as is needed (RFC 5321)."""
    found = Mail()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            recipients: list[str] = []
            self._say("220 mail.test")
            while line := self.rfile.readline():
                words = line.decode().strip()
                verb = words[:4].upper()
                if verb == "RCPT":
                    address = words.partition("<")[2].partition(">")[0]
                    known = address not in found.refuses
                    recipients += [address] if known else []
                    self._say("250 ok" if known else "550 SECRET-OF-THE-RECEIVER")
                elif verb == "DATA":
                    self._say("354 go on")
                    found.taken.append((recipients, self._data()))
                    self._say("250 taken")
                elif verb == "QUIT":
                    self._say("221 bye")
                    return
                else:
                    self._say("250 mail.test")

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

        def _data(self) -> str:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.decode())
            return "".join(lines)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with _served(Server(("127.0.0.1", 0), Handler)) as port:
        found.port = port
        yield found


@contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
