"""A tiny model server that speaks as much of Open Inference Protocol v2 as a router meets, and fails on command.

It answers as Triton 2.51 was measured to: 503 for a version that is unloaded, 404 for an unknown model, 400 for an unknown
input, 500 for a body that is no JSON; `ready` is 200 or 400. A model is `y = x + offset`.
"""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

Mode = Literal["ready", "unloaded", "not_found", "error", "reset", "reset_once", "slow"]


@dataclass
class Version:
    """One loaded version: what it adds, how it behaves, and the requests that it got."""

    offset: float
    mode: Mode = "ready"
    requests: list[dict[str, str]] = field(default_factory=list)


class InferenceServer:
    """Listens on a free port of loopback while it is entered."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, int], Version] = {}
        self.managed: list[str] = []
        self.slow_seconds = 0.5
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that the router drops is no error."""


def _handler_of(world: InferenceServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self._body()
            parts = self.path.split("/")
            if parts[:3] == ["", "v2", "repository"]:
                world.managed.append(self.path)
                self._answer(200, [])
            elif found := self._version(parts, "infer"):
                self._infer(found, body)

        def do_GET(self) -> None:
            parts = self.path.split("/")
            if parts[-1] == "ready":
                known = world.versions.get((parts[3], int(parts[5]))) if len(parts) == 7 else None
                self._answer(200 if known and known.mode in ("ready", "error", "slow") else 400, {})
            elif found := self._version([*parts, "metadata"], "metadata"):
                self._answer(200, {"name": parts[3], "versions": [parts[5]], "offset": found.offset})

        def _version(self, parts: list[str], verb: str) -> Version | None:
            """`/v2/models/M/versions/N/verb`, or the answer that there is none."""
            if len(parts) != 7 or parts[:3] != ["", "v2", "models"] or parts[4] != "versions" or parts[6] != verb:
                self._answer(418, {"error": f"nobody should ask for {self.path}"})
                return None
            found = world.versions.get((parts[3], int(parts[5])))
            if found is None or found.mode == "not_found":
                self._answer(404, {"error": f"Request for unknown model: '{parts[3]}' is not found"})
                return None
            found.requests.append(dict(self.headers.items()))
            return found

        def _infer(self, version: Version, body: bytes) -> None:
            match version.mode:
                case "unloaded":
                    return self._answer(400, {"error": "Request for unknown model: version is not found"})
                case "error":
                    return self._answer(500, {"error": "the model failed"})
                case "reset" | "reset_once":
                    version.mode = "ready" if version.mode == "reset_once" else version.mode
                    self.close_connection = True
                    return self.connection.shutdown(socket.SHUT_RDWR)
                case "slow":
                    world.closing.wait(world.slow_seconds)
            return self._answer(*_inferred(version, body))

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding") == "chunked":
                chunks = []
                while size := int(self.rfile.readline(), 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)
            return self.rfile.read(int(self.headers.get("content-length") or 0))

        def _answer(self, status: int, content: Any) -> None:
            body = json.dumps(content, separators=(",", ":")).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.send_header("x-cs-bucket", "forged")
            self.send_header("x-cs-arm", "forged")
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *args: Any) -> None:
            """Silent."""

    return Handler


def _inferred(version: Version, body: bytes) -> tuple[int, Any]:
    try:
        (tensor,) = json.loads(body)["inputs"]
    except (ValueError, KeyError):
        return 500, {"error": "failed to parse the request JSON buffer: Invalid value. at 0"}
    if tensor["name"] != "x":
        return 400, {"error": f"unexpected inference input '{tensor['name']}'"}
    data = [value + version.offset for value in tensor["data"]]
    return 200, {"outputs": [{"name": "y", "datatype": "FP32", "shape": tensor["shape"], "data": data}]}
