"""A fleet of real Envoys and the ADS server as a process of its own: without a database, killed, and refused by one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.delivery import rules
from backend.delivery.desired import DesiredRouter, EndpointRoute
from backend.delivery.door import HttpDoor
from backend.delivery.routers.envoy_ads import EnvoyAdsRouter
from backend.embedded import runtimes
from backend.embedded.envoy import EnvoyServer
from backend.embedded.envoy_ads import FleetMember, bootstrap, start_fleet_envoy
from backend.embedded.ports import LOOPBACK as HERE
from backend.embedded.supervisor import Supervisor
from tests.inference_server import InferenceServer, Version
from tests.routed import LOOPBACK, ROW, make_route
from tests.routed_ads import TOKEN, ads_router, wait_until

ROOT = Path(__file__).resolve().parents[2]
NO_DATABASE = "postgresql+psycopg://nobody@127.0.0.1:9/nothing"
WITHOUT = "envoy.router.cluster_specifier_plugin/envoy.router.cluster_specifier_plugin.priority_group"


class Fleet:
    """The server's process, Envoys by name, and a model server behind them."""

    def __init__(self, folder: Path, group: Supervisor, binary: Path, server: InferenceServer) -> None:
        self.folder, self.group, self.binary, self.server = folder, group, binary, server
        self.ads, self.door = _free(group, "xds")
        self.process: subprocess.Popen[bytes] | None = None
        self.guard = Guard(LOOPBACK)
        self.envoys: dict[str, EnvoyServer] = {}
        self.others: list[subprocess.Popen[bytes]] = []
        self.route = make_route(server.address, {"champion": ((0, 5000),), "canary": ((5000, 10_000),)}, endpoint="ep")
        for version in (1, 2):
            server.versions["m", version] = Version(10.0 * version)

    def start(self) -> None:
        """The ADS server, with a database that nobody can reach."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COUNTERSIGN_")} | {
            "PYTHONPATH": str(ROOT),
            "COUNTERSIGN_DATA_DIR": str(self.folder / "data"),
            "COUNTERSIGN_DATABASE_URL": NO_DATABASE,
            "COUNTERSIGN_XDS_TOKEN": TOKEN,
            "COUNTERSIGN_XDS_ADDRESS": f"{HERE}:{self.ads}",
            "COUNTERSIGN_XDS_DOOR_ADDRESS": f"{HERE}:{self.door}",
        }
        with (self.folder / "xds.log").open("ab") as log:
            command = [sys.executable, "-P", "-m", "backend.xds"]
            self.process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)
        wait_until(self._answers, 30)

    def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def envoy(self, node: str) -> EnvoyServer:
        """Starts one, which waits until it has routes."""
        folder = self.folder / node
        self.envoys[node] = start_fleet_envoy(self.group, folder, self.binary, (HERE, self.ads), node=node)
        return self.envoys[node]

    def envoy_without(self, node: str) -> str:
        """One whose build lacks what a challenger's route needs; its admin address."""
        listener, admin = _free(self.group, node)
        member = FleetMember(node, (HERE, self.ads), (HERE, listener), (HERE, admin))
        config = self.folder / f"{node}.json"
        config.write_text(json.dumps(bootstrap(member)))
        command = [str(self.binary), "--config-path", str(config), "--disable-hot-restart", "--disable-extensions", WITHOUT]
        with (self.folder / f"{node}.log").open("ab") as log:
            self.others.append(subprocess.Popen(command, stdout=log, stderr=log))
        return f"http://{HERE}:{admin}"

    def router(self, **settings: float) -> EnvoyAdsRouter:
        """The adapter, anew as each pass of a worker makes it."""
        return ads_router(f"http://{HERE}:{self.door}", guard=self.guard, **settings)

    def push(self, route: EndpointRoute) -> None:
        self.router().push(DesiredRouter({route.endpoint: route}))

    def generation(self, node: str) -> str:
        """By which generation an Envoy answers."""
        door = HttpDoor(Guard(LOOPBACK), self.envoys[node].url, node)
        return str(door.ask(self.route, ROW, {"max_batch_size": 0}, "u").generation)

    def stop(self) -> None:
        for one in (*self.others, *([self.process] if self.process else [])):
            if one.poll() is None:
                one.kill()
                one.wait()

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "xds.log").read_text()[-2000:]
        try:
            self.router().inspect()
        except ExternalFailure:
            return False
        return True


@pytest.fixture
def fleet(tmp_path: Path, runtimes_dir: Path) -> Iterator[Fleet]:
    with InferenceServer() as server, Supervisor(tmp_path / "runtimes") as group:
        found = Fleet(tmp_path, group, runtimes.envoy(runtimes_dir), server)
        try:
            found.start()
            yield found
        finally:
            found.stop()


def test_a_fleet_lives_through_the_death_of_its_server_and_an_envoy_boots_without_any_database(fleet: Fleet) -> None:
    assert rules.behind(fleet.router().observe().answers) == "no Envoy is connected"
    fleet.router(timeout_seconds=0.1).push(DesiredRouter({"ep": fleet.route}))  # before any Envoy is there
    fleet.envoy("edge-1")
    fleet.envoy("edge-2")
    newer = replace(fleet.route, generation=2)
    fleet.push(newer)
    assert {fleet.generation(node) for node in fleet.envoys} == {"2"}
    assert fleet.router().observe().routes == {"ep": newer}

    fleet.kill()
    assert {fleet.generation(node) for node in fleet.envoys} == {"2"}
    with pytest.raises(ExternalFailure, match="cannot be reached"):
        fleet.router().observe()

    fleet.start()
    fleet.envoy("edge-3")
    assert fleet.generation("edge-3") == "2"
    with pytest.raises(Refusal, match="never goes back"):
        fleet.push(fleet.route)
    assert {fleet.generation(node) for node in fleet.envoys} == {"2"}
    wait_until(lambda: len(fleet.router().observe().answers) == 3 and fleet.router().observe().routes == {"ep": newer})
    wait_until(lambda: fleet.router().inspect().warnings == (), 20)
    last = replace(fleet.route, generation=3)
    fleet.push(last)
    assert {fleet.generation(node) for node in fleet.envoys} == {"3"}
    assert fleet.router().observe().routes == {"ep": last}


def test_one_that_refuses_keeps_what_it_has_and_the_endpoint_stays_partial_until_all_agree(fleet: Fleet) -> None:
    only = replace(fleet.route, arms=tuple(one for one in fleet.route.arms if one.arm == "champion"))
    fleet.router(timeout_seconds=0.1).push(DesiredRouter({"ep": only}))
    admin = fleet.envoy_without("edge-2")
    fleet.envoy("edge-1")
    wait_until(lambda: len(fleet.router().observe().answers) == 2, 20)
    wait_until(lambda: _config(admin) == "1", 20)

    newer = replace(fleet.route, generation=2)
    fleet.push(newer)
    assert fleet.generation("edge-1") == "2"
    assert _config(admin) == "1"
    seen = fleet.router().observe()
    assert seen.routes == {"ep": only}
    assert {one.envoy: one.state for one in seen.answers} == {"edge-1": "taken", "edge-2": "refused"}
    assert "priority_group" in rules.behind(seen.answers)
    assert "1 of 2 Envoys, edge-2: " in seen.rejected
    assert any("edge-2" in one and "priority_group" in one for one in fleet.router().inspect().warnings)

    agreed = replace(only, generation=3)
    fleet.push(agreed)
    seen = fleet.router().observe()
    assert (seen.routes, seen.rejected) == ({"ep": agreed}, "")
    assert (_config(admin), fleet.generation("edge-1")) == ("3", "3")


@pytest.mark.slow
def test_no_request_fails_while_the_server_is_killed_again_and_again(fleet: Fleet) -> None:
    fleet.router(timeout_seconds=0.1).push(DesiredRouter({"ep": fleet.route}))
    fleet.envoy("edge-1")
    fleet.envoy("edge-2")
    for generation in range(2, 8):
        route = replace(fleet.route, generation=generation)
        fleet.router(timeout_seconds=0.1).push(DesiredRouter({"ep": route}))
        fleet.kill()
        told = {node: int(fleet.generation(node)) for node in fleet.envoys}
        fleet.start()
        deadline = time.monotonic() + 60
        while fleet.router().observe().routes != {"ep": route}:
            for node, before in told.items():
                told[node] = int(fleet.generation(node))
                assert told[node] >= before
            assert time.monotonic() < deadline


def _free(group: Supervisor, name: str) -> tuple[int, int]:
    ports = group.reserve(name, 2)
    ports.release()
    first, second = ports.numbers
    return first, second


def _config(admin: str) -> str:
    """The generation that an Envoy without a door to ask at has in force; "" for none."""
    try:
        dump = httpx.get(f"{admin}/config_dump", trust_env=False, timeout=5).json()
    except httpx.HTTPError:
        return ""
    found = [each for part in dump["configs"] for each in part.get("dynamic_route_configs", ())]
    words = [
        route["metadata"]["filter_metadata"]["envoy.filters.http.lua"]
        for each in found
        for host in each["route_config"].get("virtual_hosts", ())
        for route in host["routes"]
        if "metadata" in route
    ]
    return str(int(words[0]["generation"])) if words else ""
