"""A world for the router suite: the ADS server in this process, and a real Envoy that has its routes from it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.outbound import Guard
from backend.delivery.door import HttpDoor
from backend.delivery.routers.envoy_ads import EnvoyAdsRouter
from backend.delivery.routers.envoy_render import infer_target
from backend.delivery.targets.port import Access
from backend.embedded.envoy import EnvoyServer
from backend.settings import Settings
from backend.xds import server as xds_server
from tests.inference_server import InferenceServer, Version
from tests.routed import LOOPBACK

TOKEN = "a-token-of-the-tests-with-32-chars-or-more"


@dataclass
class AdsServer:
    """A running one."""

    ads: tuple[str, int]
    door_url: str
    hub: Any
    loop: asyncio.AbstractEventLoop

    def state(self) -> dict[str, Any]:
        """What its door tells, asked on its own loop."""

        async def ask() -> dict[str, Any]:
            found: dict[str, Any] = self.hub.state()
            return found

        return asyncio.run_coroutine_threadsafe(ask(), self.loop).result(20)

    def put(self, content: Any) -> int:
        """What somebody with the token would hand over by hand."""
        base = self.state()["number"]
        made = asyncio.run_coroutine_threadsafe(self.hub.put(content, base), self.loop).result(20)
        return int(made.number)

    def newest(self) -> dict[str, Any]:
        """What lies under the newest number, as it was handed over."""
        content = json.loads(self.hub.snapshots.body(self.state()["number"]))
        return {**content, "generations": {}}


def settings_of(data: Path, **fields: Any) -> Settings:
    """For a server on free ports of loopback."""
    given = {"xds_address": "127.0.0.1:0", "xds_door_address": "127.0.0.1:0", "xds_token": TOKEN, "data_dir": data, **fields}
    return Settings(**given)


@contextmanager
def serving(settings: Settings) -> Iterator[AdsServer]:
    """A server in a thread of this process, until the block is left."""
    began: list[Any] = []
    ready = threading.Event()

    async def run() -> None:
        stop = asyncio.Event()
        async with xds_server.running(xds_server.wanted(settings)) as running:
            began.extend([running, asyncio.get_running_loop(), stop])
            ready.set()
            await stop.wait()

    def guarded() -> None:
        try:
            asyncio.run(run())
        finally:
            ready.set()

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    assert ready.wait(20)
    assert began, "the server did not start"
    running, loop, stop = began
    try:
        yield AdsServer((running.ads.host, running.ads.port), f"http://{running.door}", running.hub, loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)


def ads_router(door_url: str, *admin_urls: str, guard: Guard | None = None, **settings: Any) -> EnvoyAdsRouter:
    """The adapter, as a worker would build it."""
    given = {"door_url": door_url, "admin_urls": list(admin_urls), **settings}
    return EnvoyAdsRouter.connect(given, Access("r", TOKEN, guard or Guard(LOOPBACK)))


@dataclass
class AdsRouted:
    """A real Envoy, told by ADS, in front of a tiny server."""

    xds: AdsServer
    envoy: EnvoyServer
    server: InferenceServer
    router: EnvoyAdsRouter
    door: HttpDoor
    units: int = 120

    @classmethod
    def make(cls, xds: AdsServer, envoy: EnvoyServer, server: InferenceServer) -> AdsRouted:
        """Through the adapter's own settings."""
        return cls(xds, envoy, server, ads_router(xds.door_url, envoy.admin_url), HttpDoor(Guard(LOOPBACK), envoy.url, "r"))

    @property
    def upstream(self) -> str:
        return self.server.address

    def serve(self, version: int, offset: float) -> None:
        self.server.versions["m", version] = Version(offset)

    def kill(self, version: int) -> None:
        self.server.versions["m", version].mode = "unloaded"

    def requests_of(self, version: int) -> int:
        return len(self.server.versions["m", version].requests)

    def refuse_newest(self) -> str:
        content = self.xds.newest()
        content["routes"]["virtual_hosts"][0]["routes"][0]["route"] = {"cluster": "nobody\n\u202eknows"}
        number = self.xds.put(content)
        wait_until(lambda: any((one["refused"] or {}).get("number") == number for one in self.xds.state()["envoys"]))
        return "unknown cluster 'nobody"

    def change_by_hand(self, endpoint: str, fields: dict[str, Any]) -> None:
        """At the door, as somebody with the token would: words in the routes, targets in the clusters."""
        content = self.xds.newest()
        plain = {name: value for name, value in fields.items() if name not in ("upstream", "arms")}
        for route in content["routes"]["virtual_hosts"][0]["routes"]:
            if route["name"].startswith(f"{endpoint}/") and "metadata" in route:
                words = route["metadata"]["filter_metadata"]["envoy.filters.http.lua"]
                ranges = {arm.arm: [list(each) for each in arm.ranges] for arm in fields.get("arms", ())}
                for arm in words["arms"]:
                    arm["ranges"] = ranges.get(arm["arm"], arm["ranges"])
                words.update(plain)
        for arm in fields.get("arms", ()):
            _edit(content, f"countersign_{endpoint}_{arm.arm}_", infer=infer_target(arm))
        if "upstream" in fields:
            _edit(content, f"countersign_{endpoint}_", port=int(fields["upstream"].rpartition(":")[2]))
        self._settle(content)

    def add_stranger(self) -> None:
        content = self.xds.newest()
        stranger = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
        hosts = content["routes"]["virtual_hosts"]
        hosts.insert(0, {"name": "stranger", "domains": ["api.example"], "routes": [stranger]})
        self._settle(content)

    def writes(self) -> object:
        return self.xds.state()["number"]

    def _settle(self, content: Any) -> None:
        number = self.xds.put(content)
        wait_until(lambda: all(one["routes"] == number for one in self.xds.state()["envoys"]))


def _edit(content: Any, prefix: str, *, infer: str = "", port: int = 0) -> None:
    """Changes where clusters lead, without renaming them."""
    for cluster in content["clusters"]:
        if not cluster["name"].startswith(prefix):
            continue
        address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        address["port_value"] = port or address["port_value"]
        (options,) = cluster["typed_extension_protocol_options"].values()
        source = options["http_filters"][0]["typed_config"].get("default_source_code")
        if source and infer:
            head, names, rest = source["inline_string"].partition("local INFER, READY = ")
            source["inline_string"] = f'{head}{names}"{infer}"' + rest[rest.index('", "') + 1 :]


def empty_content() -> dict[str, Any]:
    """A snapshot without any route."""
    kind = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    routes = {"@type": kind, "name": "countersign", "validate_clusters": True}
    return deepcopy({"routes": routes, "clusters": [], "generations": {}, "drain_seconds": 1})


def wait_until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits, and fails where it does not come to hold."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)
