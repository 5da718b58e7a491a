"""A small HTTP door on loopback at which the router tells what arms answered to copies, and to the requests beside them.

The router waits for nobody: what it tells while nobody listens, or while too much is held here, is lost. Nobody is asked who he
is, as at the access log's port: whoever runs on this machine could write the log's files as well. But a page in a browser on it
must not be able to tell anything: it would have to name another host, and may not send these headers without asking first,
which nobody answers here. Source: Fetch standard, CORS-preflight fetch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import structlog

from backend.core.errors import ExternalFailure
from backend.embedded.envoy import ANSWERS_CLUSTER
from backend.inference_log.rules import Malformed
from backend.ingest.answers import MOST_BYTES, answer_of
from backend.ingest.entrance import Entrance

LOOPBACK = "127.0.0.1"
_ASKED = b"POST /answers HTTP/1.1\r\n"
_TAKEN, _NO_ROOM = b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
_MOST_HEADERS, _LONGEST_LINE = 64, 8 << 10
CONNECTIONS = 32
"""At once; an Envoy has four."""
IDLE_SECONDS = 120.0
MOST_HELD = 16 << 20
"""Bytes of what was told and is not yet in the spool."""
EVERY_SECONDS = 0.5
_PREFIX = "x-cs-"
log = structlog.get_logger()

Told = tuple[Mapping[str, str], bytes]


class Held:
    """What was told, until a thread of its own takes it to the entrance, many at once. Any thread may use it."""

    def __init__(self, entrance: Entrance, most_bytes: int = MOST_HELD) -> None:
        self._entrance, self._most = entrance, most_bytes
        self._lock = threading.Lock()
        self._told: list[Told] = []
        self._size = self._lost = 0

    def add(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Holds an answer; False where there is no room."""
        size = len(body) + sum(map(len, headers.values()))
        with self._lock:
            if self._size + size > self._most:
                self._lost += 1
                return False
            self._told.append((headers, body))
            self._size += size
            return True

    def hand_over(self) -> int:
        """Takes all that is held to the entrance; how many answers."""
        with self._lock:
            told, self._told, self._size = self._told, [], 0
            lost, self._lost = self._lost, 0
        if lost:
            log.warning("ingest.answers_lost", problem="too many at once", answers=lost)
        if told:
            try:
                take(self._entrance, told)
            except ExternalFailure as failure:
                log.warning("ingest.answers_lost", problem=str(failure), answers=len(told))
        return len(told)

    def run(self, stop: threading.Event) -> None:
        """Until it is told to stop."""
        while not stop.wait(EVERY_SECONDS):
            self.hand_over()
        self.hand_over()


def take(entrance: Entrance, told: list[Told]) -> None:
    """What some messages tell, of each endpoint at once. ExternalFailure where the spool takes none."""
    headers = entrance.known.rules().unit_headers
    entrance.answers([_answer(one, headers) for one in told])


def _answer(told: Told, unit_headers: Mapping[str, str]) -> Any:
    try:
        return answer_of(*told, unit_headers)
    except Malformed as error:
        return error


@contextmanager
def serving(entrance: Entrance, port: int) -> Iterator[int]:
    """Listens until the block is left. Gives the port. ExternalFailure for one that somebody has."""
    held, stop = Held(entrance), threading.Event()
    try:
        server = _Server((LOOPBACK, port), _handler_of(held))
    except OSError as error:
        raise ExternalFailure("The answers' port", f"{port} of this machine is taken", retryable=True) from error
    threads = [
        threading.Thread(target=server.serve_forever, args=(0.1,), name="answers", daemon=True),
        threading.Thread(target=held.run, args=(stop,), name="answers-held", daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        stop.set()
        threads[1].join(timeout=10.0)


class _Server(ThreadingTCPServer):
    """At most so many connections at once: who comes beyond is turned away."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[StreamRequestHandler]) -> None:
        super().__init__(address, handler)
        self._room = threading.BoundedSemaphore(CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no defect of ours."""
        log.debug("ingest.answers_connection", exc_info=True)


def _handler_of(held: Held) -> type[StreamRequestHandler]:
    """Reads as much of HTTP/1.1 as a router sends: the standard library's own reading costs the machine more than the router's
    whole work on a copy."""

    class Handler(StreamRequestHandler):
        timeout = IDLE_SECONDS
        disable_nagle_algorithm = True

        def handle(self) -> None:
            while line := self.rfile.readline(_LONGEST_LINE):
                refused = self._refused(line, headers := self._headers())
                if refused:
                    self.wfile.write(f"HTTP/1.1 {refused}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
                    return
                body = self.rfile.read(int(headers["content-length"]))
                if len(body) != int(headers["content-length"]):
                    return
                told = {name: value for name, value in headers.items() if name.startswith(_PREFIX)}
                self.wfile.write(_TAKEN if held.add(told, body) else _NO_ROOM)

        def _headers(self) -> dict[str, str]:
            """By their names in small letters; none where they are too many, too long or do not end."""
            found: dict[str, str] = {}
            for _ in range(_MOST_HEADERS):
                line = self.rfile.readline(_LONGEST_LINE)
                if line == b"\r\n":
                    return found
                name, colon, value = line.decode("latin-1").partition(":")
                if not colon or not line.endswith(b"\r\n"):
                    break
                found[name.lower()] = value.strip(" \t\r\n")
            return {}

        def _refused(self, line: bytes, headers: Mapping[str, str]) -> str:
            length = headers.get("content-length", "")
            if line != _ASKED or headers.get("host") != ANSWERS_CLUSTER or "transfer-encoding" in headers:
                return "403 Forbidden"
            if not (length.isascii() and length.isdigit() and len(length) < 8 and int(length) <= MOST_BYTES):
                return "413 Content Too Large"
            return ""

    return Handler
