"""A real Envoy tells the ingest by gRPC who answered what: its access log service against ours, over our own routes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backend.core.errors import ExternalFailure
from backend.delivery.desired import DesiredRouter
from backend.embedded import runtimes
from backend.embedded.envoy import AccessLogTo, start_envoy
from backend.embedded.supervisor import Supervisor
from backend.inference_log import probes
from backend.inference_log.handling import Handling
from backend.ingest import als_server
from tests.databases import Clock
from tests.inference_server import InferenceServer
from tests.routed import EnvoyRouted, make_route
from tests.services.ingest.conftest import KEY, Door

BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1.0,2.0]}]}'
ALL_CANARY = {"champion": (), "canary": ((0, 10_000),)}


@pytest.fixture
def clock() -> Clock:
    """Envoy's times are those of the machine."""
    now = Clock()
    now.now = now.now.fromtimestamp(time.time(), tz=now.now.tzinfo)
    return now


@pytest.fixture
def door(tmp_path: Path, clock: Clock) -> Door:
    return Door(tmp_path, clock)


@pytest.fixture
def world(door: Door, tmp_path: Path, runtimes_dir: Path) -> Iterator[EnvoyRouted]:
    with als_server.serving(door.entrance, 0) as port, Supervisor(tmp_path / "runtimes") as group, InferenceServer() as server:
        envoy = start_envoy(group, tmp_path / "envoy", runtimes.envoy(runtimes_dir), log_to=AccessLogTo(port))
        found = EnvoyRouted.make(envoy, server, group.folder / "envoy.log")
        for version in (1, 2):
            found.serve(version, 10.0 * version)
        yield found


def test_envoy_tells_who_was_assigned_who_answered_and_how(world: EnvoyRouted, door: Door) -> None:
    route = make_route(world.upstream, ALL_CANARY)  # type: ignore[arg-type]
    door.known.handling[route.endpoint] = Handling(KEY)
    world.router.push(DesiredRouter({route.endpoint: route}))
    url = f"{world.envoy.url}/{route.endpoint}/v2/models/flight%20delay/infer"
    with httpx.Client(trust_env=False) as client:
        first = client.post(url, content=BODY, headers={"x-unit-id": "u1", "x-request-id": "first"})
        world.server.versions["m", 1].mode = "unloaded"  # the canary's: the champion stands in
        client.post(url, content=BODY, headers={"x-unit-id": "u1", "x-request-id": "stood-in"})
        world.server.versions["m", 2].mode = "unloaded"
        client.post(url, content=BODY, headers={"x-unit-id": "u1", "x-request-id": "failed"})
        client.post(url, content=BODY, headers={"x-request-id": "probe", "x-cs-probe": probes.mark(KEY)})
        client.post(url, content=BODY, headers={"x-request-id": "says-so", "x-cs-probe": "1"})
        client.get(f"{world.envoy.url}/{route.endpoint}/v2/models/flight%20delay", headers={"x-request-id": "read"})
        client.post(url, content=BODY, headers={"x-request-id": "no-unit"})
    end = time.monotonic() + 20
    while len(door.ids()) < 5:
        assert time.monotonic() < end, door.rows()
        time.sleep(0.05)
    assert door.ids() == ["failed", "first", "no-unit", "says-so", "stood-in"]
    rows = {row.request_id: row for _, row in door.rows()}
    one = rows["first"]
    assert (one.unit, one.assigned_arm, one.served_arm, one.status, one.failure) == ("u1", "canary", "canary", 200, "")
    assert str(one.bucket) == first.headers["x-cs-bucket"]
    assert (one.version, one.generation) == (int(first.headers["x-cs-version"]), 1)
    assert 0 < one.latency_seconds < 20
    assert abs(time.time() - one.event_time.timestamp()) < 120
    stood_in = rows["stood-in"]
    assert (stood_in.assigned_arm, stood_in.served_arm, stood_in.failure) == ("canary", "champion", "")
    assert stood_in.version != one.version
    assert (rows["failed"].served_arm, rows["failed"].failure[:5]) == (None, "http-")
    assert (rows["no-unit"].unit, rows["no-unit"].bucket, rows["no-unit"].assigned_arm) == (None, None, "champion")


def test_a_port_that_somebody_has_is_told(door: Door) -> None:
    with als_server.serving(door.entrance, 0) as port, pytest.raises(ExternalFailure, match="is taken"):  # noqa: SIM117
        with als_server.serving(door.entrance, port):
            pass
