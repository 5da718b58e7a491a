"""Worlds for the router suite: a router with a server behind it, and every way to tamper with them, one class a router.

A model `m` of the server answers y = x + offset; which versions it has, and how they behave, is up to the test.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from backend.core.canonical import canonical, digest_bytes, digest_tree, tree_files
from backend.core.outbound import Guard
from backend.delivery.desired import ArmRoute, EndpointRoute, Packaged, Range
from backend.delivery.door import Door, HttpDoor
from backend.delivery.packages import PROBES, Manifest
from backend.delivery.routers.envoy import EnvoyRouter
from backend.delivery.routers.envoy_files import version_of
from backend.delivery.routers.envoy_render import ARM_FILTER, infer_target, text_of
from backend.delivery.routers.memory import MemoryRouter
from backend.delivery.routers.memory_door import MemoryDoor
from backend.delivery.routers.memory_world import MemoryRouterWorld
from backend.delivery.routers.port import Router
from backend.delivery.targets.memory_server import MemoryServer
from backend.delivery.targets.port import Access
from backend.embedded.envoy import EnvoyServer
from tests.inference_server import InferenceServer, Version

ROW = {"x": [1.0, 2.0]}
"""The one row that every test asks with; its answer is [1 + offset, 2 + offset]."""
LOOPBACK = ("127.0.0.0/8",)
SHARES_90_5_5: dict[str, tuple[Range, ...]] = {
    "champion": ((0, 9000),),
    "baseline": ((9000, 9500),),
    "canary": ((9500, 10_000),),
}


class World(Protocol):
    """What the suite needs of a router's world."""

    router: Router
    door: Door
    units: int
    """How many units a test of the split should send: some worlds are slow."""

    @property
    def upstream(self) -> str:
        """What a route names as its server."""
        ...

    def serve(self, version: int, offset: float) -> None:
        """Loads a version of the model."""
        ...

    def kill(self, version: int) -> None:
        """Unloads a version behind the router's back."""
        ...

    def requests_of(self, version: int) -> int:
        """How many inferences a version answered."""
        ...

    def refuse_newest(self) -> str:
        """Makes the router refuse the newest configuration; returns a word that its reason must hold."""
        ...

    def change_by_hand(self, endpoint: str, fields: dict[str, Any]) -> None:
        """Changes an endpoint's route in force, behind Countersign's back."""
        ...

    def add_stranger(self) -> None:
        """Adds something that is not ours and may answer before our routes do."""
        ...

    def writes(self) -> object:
        """A value that changes whenever a push writes anything."""
        ...


def make_route(server: str, ranges: dict[str, tuple[Range, ...]] | None = None, **fields: Any) -> EndpointRoute:
    """A route of these arms; the n-th arm in order of names is registered version 10 + n and served version n."""
    shares = ranges or SHARES_90_5_5
    arms = tuple(ArmRoute(name, 10 + n, "m", n, shares[name]) for n, name in enumerate(sorted(shares), 1))
    given = EndpointRoute(
        endpoint=f"ep-{uuid.uuid4().hex[:10]}",
        model="flight delay",
        upstream=server,
        generation=1,
        salt="exp-1",
        unit_header="x-unit-id",
        champion="champion",
        arms=arms,
    )
    return EndpointRoute(**{**vars(given), **fields})


# -- in memory


@dataclass
class MemoryRouted:
    """The in-memory router in front of an in-memory server."""

    folder: Path
    router: MemoryRouter
    door: MemoryDoor
    server: MemoryServer
    upstream: str
    units: int
    loaded: dict[int, Packaged] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, *, shared: bool) -> MemoryRouted:
        """`shared`: both keep their state in JSON files, and nothing is shared but these."""
        name = uuid.uuid4().hex
        router, server = (str(folder / "router.json"), str(folder / "server.json")) if shared else (None, None)
        return cls(
            folder,
            MemoryRouter(MemoryRouterWorld(name, router), "r"),
            MemoryDoor(MemoryRouterWorld(name, router), "r"),
            MemoryServer(name, server),
            f"memory:{server or name}",
            50 if shared else 120,
        )

    def serve(self, version: int, offset: float) -> None:
        self.loaded[version] = _recorded(self.folder / uuid.uuid4().hex, offset)
        self.server.load("m", self.loaded, None)

    def kill(self, version: int) -> None:
        del self.loaded[version]
        self.server.load("m", self.loaded, None, by="somebody")

    def requests_of(self, version: int) -> int:
        with self.server.state() as state:
            return int(state["models"]["m"]["versions"][str(version)]["requests"])

    def refuse_newest(self) -> str:
        self.router.world.refuse("an unknown cluster")
        return "unknown cluster"

    def change_by_hand(self, endpoint: str, fields: dict[str, Any]) -> None:
        self.router.world.change(endpoint, **fields)

    def add_stranger(self) -> None:
        self.router.world.add_foreign("virtual host stranger")

    def writes(self) -> object:
        return len(self.router.world.journal)


def _recorded(folder: Path, offset: float) -> Packaged:
    """A package without a graph, that knows the answer to the one row."""
    folder.mkdir()
    answer = {"y": [value + offset for value in ROW["x"]]}
    content = canonical({"schema": 1, "inputs": [ROW], "outputs": [answer], "tolerance": 0})
    (folder / PROBES).write_bytes(content)
    digest = digest_bytes(content)
    Manifest(packager="tests@1", target="memory", artifact_digest=digest, interface_digest=digest).write(folder)
    return Packaged(digest_tree(tree_files(folder)), folder)


# -- Envoy


@dataclass
class EnvoyRouted:
    """A real Envoy in front of a tiny server."""

    envoy: EnvoyServer
    server: InferenceServer
    router: EnvoyRouter
    door: HttpDoor
    units: int = 120

    @classmethod
    def make(cls, envoy: EnvoyServer, server: InferenceServer, log: Path) -> EnvoyRouted:
        """Through the adapter's own settings."""
        guard = Guard(LOOPBACK)
        return cls(envoy, server, envoy_router(envoy, log, guard), HttpDoor(guard, envoy.url, "r"))

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
        routes = read_resources(self.envoy.routes_file)
        routes[0]["virtual_hosts"][0]["routes"][0]["route"] = {"cluster": "nobody\n\u202eknows"}
        write_resources(self.envoy.routes_file, routes)
        _wait_for(self.envoy, "rds.countersign.update_rejected")
        return "unknown cluster 'nobody"

    def change_by_hand(self, endpoint: str, fields: dict[str, Any]) -> None:
        """In the files, as somebody with access to them would: words in the routes, targets in the clusters."""
        edit_words(self.envoy, endpoint, {name: value for name, value in fields.items() if name not in ("upstream", "arms")})
        if "arms" in fields:
            arms = {arm.arm: [list(each) for each in arm.ranges] for arm in fields["arms"]}
            edit_words(self.envoy, endpoint, {"arms": arms})
            for arm in fields["arms"]:
                edit_clusters(self.envoy, f"countersign_{endpoint}_{arm.arm}_", infer=infer_target(arm))
        if "upstream" in fields:
            edit_clusters(self.envoy, f"countersign_{endpoint}_", port=int(fields["upstream"].rpartition(":")[2]))

    def add_stranger(self) -> None:
        routes = read_resources(self.envoy.routes_file)
        stranger = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
        routes[0]["virtual_hosts"].insert(0, {"name": "stranger", "domains": ["api.example"], "routes": [stranger]})
        settle(self.envoy, self.envoy.routes_file, routes)

    def writes(self) -> object:
        return [os.stat(path).st_ino for path in (self.envoy.routes_file, self.envoy.clusters_file)]


def envoy_router(envoy: EnvoyServer, log: Path, guard: Guard, **settings: Any) -> EnvoyRouter:
    """The adapter of an Envoy, as a worker would build it."""
    paths = {"routes_file": str(envoy.routes_file), "clusters_file": str(envoy.clusters_file), "log_file": str(log)}
    return EnvoyRouter.connect({**paths, "admin_url": envoy.admin_url, **settings}, Access("r", None, guard))


def read_resources(path: Path) -> list[Any]:
    """The resources of a discovery file."""
    found: list[Any] = json.loads(path.read_text())["resources"]
    return found


def write_resources(path: Path, resources: list[Any]) -> None:
    """Renames a file with these resources into place, under a version of their own."""
    fresh = path.with_name("by-hand")
    fresh.write_text(text_of({"version_info": version_of(resources), "resources": resources}))
    fresh.replace(path)


def settle(envoy: EnvoyServer, path: Path, resources: list[Any]) -> None:
    """The same, and waits until Envoy has taken it."""
    which = "rds.countersign" if path == envoy.routes_file else "cluster_manager.cds"
    before = _figure(envoy, f"{which}.update_success")
    write_resources(path, resources)
    _wait_for(envoy, f"{which}.update_success", before)


def edit_words(envoy: EnvoyServer, endpoint: str, fields: dict[str, Any]) -> None:
    """Changes the words of an endpoint in the routes; `arms` gives ranges by name."""
    routes = read_resources(envoy.routes_file)
    for route in routes[0]["virtual_hosts"][0]["routes"]:
        if route["name"].startswith(f"{endpoint}/") and "metadata" in route:
            words = route["metadata"]["filter_metadata"]["envoy.filters.http.lua"]
            for arm in words["arms"]:
                arm["ranges"] = fields.get("arms", {}).get(arm["arm"], arm["ranges"])
            words.update({name: value for name, value in fields.items() if name != "arms"})
    settle(envoy, envoy.routes_file, routes)


def edit_clusters(envoy: EnvoyServer, prefix: str, *, infer: str = "", port: int = 0) -> None:
    """Changes where clusters lead, without renaming them."""
    clusters = read_resources(envoy.clusters_file)
    for cluster in clusters:
        if cluster["name"].startswith(prefix):
            address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
            address["port_value"] = port or address["port_value"]
            (options,) = cluster["typed_extension_protocol_options"].values()
            scripts = [one["typed_config"] for one in options["http_filters"] if one["name"] == ARM_FILTER]
            if infer and scripts:
                source = scripts[0]["default_source_code"]
                head, names, rest = source["inline_string"].partition("local INFER, READY = ")
                source["inline_string"] = f'{head}{names}"{infer}"' + rest[rest.index('", "') + 1 :]
    settle(envoy, envoy.clusters_file, clusters)


def _figure(envoy: EnvoyServer, name: str) -> int:
    text = httpx.get(f"{envoy.admin_url}/stats", params={"filter": name.replace(".", r"\.")}, trust_env=False).text
    return sum(int(line.rpartition(": ")[2]) for line in text.splitlines())


def _wait_for(envoy: EnvoyServer, name: str, before: int = 0) -> None:
    until = time.monotonic() + 10
    while _figure(envoy, name) <= before:
        assert time.monotonic() < until, f"{name} did not move"
        time.sleep(0.01)
