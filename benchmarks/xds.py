"""A push of routes to a fleet by ADS: 200 simulated Envoys and two real ones, beside the two real ones with files.

The ADS server is the process that `countersign xds` starts, the simulated Envoys are one process, and this one is the worker.
An Envoy's time is told by the server: from when a snapshot lies on its disk until it hears that the Envoy routes by it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

from backend.core.outbound import Guard
from backend.delivery.desired import ArmRoute, DesiredRouter, EndpointRoute
from backend.delivery.routers.envoy import EnvoyRouter
from backend.delivery.routers.envoy_ads import EnvoyAdsRouter
from backend.delivery.routers.port import Router
from backend.delivery.targets.port import Access
from backend.embedded import runtimes
from backend.embedded.envoy import start_envoy
from backend.embedded.envoy_ads import start_fleet_envoy
from backend.embedded.ports import LOOPBACK
from backend.embedded.supervisor import Supervisor
from benchmarks.children import Child
from benchmarks.harness import Spent, progress, spending
from benchmarks.machine import facts
from benchmarks.results import Figure, Result

TOKEN = "the-token-of-this-benchmark-and-of-nothing-else"
ADS, FILES = "countersign, ADS", "countersign, files"
BOUND = 60.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--clients", type=int, default=200, help="simulated Envoys, beside two real ones (%(default)s)")
    parser.add_argument("--endpoints", type=int, default=10, help="endpoints of three arms (%(default)s)")
    parser.add_argument("--pushes", type=int, default=20, help="changes of one endpoint that are pushed (%(default)s)")


def run(options: argparse.Namespace) -> Result:
    """Pushes by ADS to all of them, then by files to two."""
    binary = runtimes.envoy(runtimes.folder(_configured()))
    with tempfile.TemporaryDirectory() as place, Supervisor(Path(place) / "group") as group:
        ads = _Ads(Path(place), group, binary, options)
        files = _files(Path(place), group, binary, options)
    figures = [
        Figure("an Envoy has the newest, median of all", ADS, "ms", tuple(median(one) * 1e3 for one in ads.took)),
        Figure("the last of all has it", ADS, "ms", tuple(max(one) * 1e3 for one in ads.took)),
        Figure("the slower of the two real ones has it", ADS, "ms", tuple(max(one) * 1e3 for one in ads.real)),
        Figure("a worker's push, to the end of its waiting", ADS, "ms", _walls(ads.spent)),
        Figure("the same, for the two real ones, one after the other", FILES, "ms", _walls(files)),
        Figure("the ADS server, a push", ADS, "ms CPU", tuple(one.others * 1e3 for one in ads.spent)),
        Figure("the worker, a push", ADS, "ms CPU", tuple(one.cpu * 1e3 for one in ads.spent)),
        Figure("the same, for the two real ones", FILES, "ms CPU", tuple(one.cpu * 1e3 for one in files)),
        Figure("memory of the ADS server, before and with all", ADS, "MiB", ads.memory),
        Figure("bytes of one push to one Envoy", ADS, "KiB", (ads.size / 1024,)),
    ]
    one_push = median(one.others for one in ads.spent) * 1e3
    return Result(
        benchmark="xds",
        settings={"clients": options.clients, "real": 2, "endpoints": options.endpoints, "pushes": options.pushes},
        machine=facts(["grpcio", "protobuf"]),
        figures=figures,
        ratios={"CPU of the ADS server for one Envoy and push, ms": one_push / (options.clients + 2)},
        notes=(
            "Server, simulated Envoys, real Envoys and worker share the machine; the simulated ones are one process.",
            "CPU of other processes is counted to 10 ms.",
        ),
    )


class _Ads:
    """The whole run by ADS; its figures."""

    def __init__(self, place: Path, group: Supervisor, binary: Path, options: argparse.Namespace) -> None:
        self.took: list[list[float]] = []
        self.real: list[list[float]] = []
        self.spent: list[Spent] = []
        ports = group.reserve("xds", 2)
        ports.release()
        self._ads, self._door = ports.numbers
        with _server(place, self._ads, self._door) as server, Child("benchmarks.xds_clients") as clients:
            _until(self._answers)
            before = _memory(server.pid)
            guard, settings = Guard((f"{LOOPBACK}/32",)), {"door_url": f"http://{LOOPBACK}:{self._door}"}
            router = EnvoyAdsRouter.connect(settings, Access("fleet", TOKEN, guard))
            router.push(DesiredRouter(_routes(options.endpoints, 1)))
            clients.call("start", ads=f"{LOOPBACK}:{self._ads}", count=options.clients)
            for node in ("real-1", "real-2"):
                start_fleet_envoy(group, place / node, binary, (LOOPBACK, self._ads), node=node)
            _until(lambda: self._agree(options.clients + 2))
            progress(f"{options.clients + 2} Envoys are connected")
            self._push(router, server.pid, options)
            self.memory = (before, _memory(server.pid))
            self.size = self._bytes()
            if gone := clients.call("ended"):
                raise RuntimeError(f"{gone} simulated Envoys ended on the way")

    def _push(self, router: Router, server: int, options: argparse.Namespace) -> None:
        for generation in range(2, options.pushes + 2):
            with spending(server) as spent:
                router.push(DesiredRouter(_routes(options.endpoints, generation)))
                _until(lambda: self._agree(options.clients + 2))
            self.spent.append(spent)
            envoys = self._state()["envoys"]
            self.took.append([one["took_seconds"] for one in envoys])
            self.real.append([one["took_seconds"] for one in envoys if one["node"].startswith("real-")])
            time.sleep(0.2)

    def _agree(self, count: int) -> bool:
        state = self._state()
        return [one["routes"] for one in state["envoys"]].count(state["number"]) == count

    def _answers(self) -> bool:
        try:
            return bool(self._state())
        except httpx.HTTPError:
            return False

    def _state(self) -> dict[str, Any]:
        found: dict[str, Any] = self._get("/v1/state").json()
        return found

    def _bytes(self) -> int:
        return len(self._get(f"/v1/snapshots/{self._state()['number']}").content)

    def _get(self, path: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {TOKEN}"}
        return httpx.get(f"http://{LOOPBACK}:{self._door}{path}", headers=headers, trust_env=False, timeout=30)


def _files(place: Path, group: Supervisor, binary: Path, options: argparse.Namespace) -> list[Spent]:
    """The same pushes to two Envoys with files, one after the other, as a worker writes two routers."""
    guard = Guard((f"{LOOPBACK}/32",))
    envoys = [start_envoy(group, place / name, binary, name=name) for name in ("files-1", "files-2")]
    routers = [
        EnvoyRouter.connect(
            {"routes_file": str(one.routes_file), "clusters_file": str(one.clusters_file), "admin_url": one.admin_url},
            Access(one.folder.name, None, guard),
        )
        for one in envoys
    ]
    spent = []
    for generation in range(1, options.pushes + 2):
        with spending() as one:
            for router in routers:
                router.push(DesiredRouter(_routes(options.endpoints, generation)))
        spent.append(one)
        time.sleep(0.2)
    return spent[1:]


def _routes(endpoints: int, generation: int) -> dict[str, EndpointRoute]:
    """The first endpoint moves by a percent a generation, to versions of its own; the others stay as they were."""
    share = 5_000 + 100 * (generation % 40)
    shares = {"baseline": ((share, share + 500),), "canary": ((share + 500, 10_000),), "champion": ((0, share),)}
    arms = tuple(ArmRoute(name, 10 + n, "m", n, shares[name]) for n, name in enumerate(sorted(shares), 1))
    route = EndpointRoute("ep-0", "model", f"{LOOPBACK}:9", generation, "salt", "x-unit-id", "champion", arms)
    moved = replace(route, arms=tuple(replace(arm, served_version=arm.served_version + generation) for arm in arms))
    others = (f"ep-{number}" for number in range(1, endpoints))
    still = replace(route, generation=1, arms=tuple(replace(arm, ranges=()) for arm in arms))
    return {"ep-0": moved} | {name: replace(still, endpoint=name) for name in others}


@contextmanager
def _server(place: Path, ads: int, door: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COUNTERSIGN_")} | {
        "COUNTERSIGN_DATA_DIR": str(place / "data"),
        "COUNTERSIGN_XDS_TOKEN": TOKEN,
        "COUNTERSIGN_XDS_ADDRESS": f"{LOOPBACK}:{ads}",
        "COUNTERSIGN_XDS_DOOR_ADDRESS": f"{LOOPBACK}:{door}",
        "COUNTERSIGN_LOG_LEVEL": "WARNING",
    }
    process = subprocess.Popen([sys.executable, "-m", "backend.xds"], env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"it did not come to hold within {BOUND:g} s")
        time.sleep(0.01)


def _memory(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss / 2**20)


def _walls(spent: list[Spent]) -> tuple[float, ...]:
    return tuple(one.wall * 1e3 for one in spent)


def _configured() -> Path | None:
    named = os.environ.get("COUNTERSIGN_RUNTIMES_DIR")
    return Path(named) if named else None
