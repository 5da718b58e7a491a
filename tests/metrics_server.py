"""A server of metrics on loopback for tests: it tells a text, or what a test says, or stands for Prometheus's HTTP API."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class MetricsServer:
    """What it answers; `asked`: (path, headers) of each request."""

    port: int = 0
    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait_seconds: float = 0.0
    drip: bytes = b""
    """Sent again and again instead of the text."""
    api: Callable[[str, dict[str, str]], Any] | None = None
    """(path below /api/v1, parameters) -> JSON; None for none."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/metrics"

    def answer(self, path: str) -> Answer:
        parts = urlsplit(path)
        if self.api is not None and parts.path.startswith("/api/v1/"):
            told = self.api(parts.path.removeprefix("/api/v1/"), {name: one[0] for name, one in parse_qs(parts.query).items()})
            return self.status, {"content-type": "application/json"}, json.dumps(told).encode()
        return self.status, self.headers, self.text.encode()


@contextmanager
def metrics_server() -> Iterator[MetricsServer]:
    """One that runs."""
    found = MetricsServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            time.sleep(found.wait_seconds)
            status, headers, body = found.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            while found.drip:
                self.wfile.write(found.drip)

        def log_message(self, *args: Any) -> None:
            return

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            return

    server = Quiet(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
