"""What only a real Envoy can show: HTTP as strangers speak it, arms that die in every way, files changed by hand, Triton."""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.core.errors import ExternalFailure
from backend.core.outbound import Guard
from backend.delivery import buckets
from backend.delivery.desired import ArmRoute, DesiredRouter, EndpointRoute
from backend.delivery.door import HttpDoor
from backend.embedded import runtimes
from backend.embedded.envoy import EnvoyServer, start_envoy
from backend.embedded.supervisor import Supervisor
from backend.embedded.triton import TritonServer
from tests.inference_server import InferenceServer, Mode
from tests.routed import (
    LOOPBACK,
    ROW,
    EnvoyRouted,
    envoy_router,
    make_route,
    read_resources,
    settle,
    write_resources,
)

BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1.0,2.0]}]}'
ALL_CANARY: Any = {"champion": (), "canary": ((0, 10_000),)}


@pytest.fixture
def world(envoy_server: EnvoyServer, runtime_group: Supervisor) -> Iterator[EnvoyRouted]:
    with InferenceServer() as server:
        found = EnvoyRouted.make(envoy_server, server, runtime_group.folder / "envoy.log")
        for version in (1, 2, 3):
            found.serve(version, 10.0 * version)
        yield found
        found.router.push(DesiredRouter({}))


def push(world: EnvoyRouted, *routes: EndpointRoute) -> None:
    world.router.push(DesiredRouter({route.endpoint: route for route in routes}))


def path_of(route: EndpointRoute) -> str:
    return f"/{route.endpoint}/v2/models/flight%20delay/infer"


def post(world: EnvoyRouted, route: EndpointRoute, body: bytes = BODY, **headers: str) -> httpx.Response:
    url = world.envoy.url + path_of(route)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(url, content=body, headers=named, timeout=30, trust_env=False)


def stamps(answer: httpx.Response) -> dict[str, str]:
    return {name.removeprefix("x-cs-"): value for name, value in answer.headers.items() if name.startswith("x-cs-")}


def count(world: EnvoyRouted, route: EndpointRoute, arm: str) -> tuple[int, int, int]:
    found = {(one.endpoint, one.arm): one for one in world.router.traffic()}
    one = found[route.endpoint, arm]
    return one.requests, one.failures, one.fallbacks


# -- buckets


def fnv1a_bucket(text: bytes) -> int:
    """The published hash, once more and only for this test."""
    value = 0x811C9DC5
    for byte in text:
        value = (value ^ byte) * 0x01000193 % 2**32
    return (value ^ (value >> 16)) % 10_000


def test_thousands_of_units_fall_into_the_bucket_that_python_names(world: EnvoyRouted) -> None:
    route = make_route(world.upstream, {"champion": ((0, 10_000),)}, salt='s"]]..%d\\\0ü')
    push(world, route)
    units = [f"{prefix}{number}".encode() for number in range(450) for prefix in ("", "passenger-", "ümläut ", "機械学習 ")]
    units += [bytes([left, middle, 126]) for left in (33, 128, 255) for middle in range(32, 256, 3) if middle != 127]
    connection = http.client.HTTPConnection(world.envoy.url.removeprefix("http://"))
    for unit in units:
        connection.request("POST", path_of(route), BODY, {b"x-unit-id": unit})  # type: ignore[dict-item]
        answer = connection.getresponse()
        answer.read()
        assert answer.headers.get("x-cs-bucket") == str(fnv1a_bucket(route.salt.encode() + b":" + unit)), unit
    for unit in units[:1800]:
        assert fnv1a_bucket(route.salt.encode() + b":" + unit) == buckets.bucket(route.salt, unit.decode())


def test_stamps_that_a_caller_or_a_server_forges_are_dropped(world: EnvoyRouted) -> None:
    route = make_route(world.upstream, ALL_CANARY)
    push(world, route)
    forged = {"x_cs_assigned_arm": "canary", "x_cs_arm": "canary", "x_cs_bucket": "1", "x_cs_generation": "9"}
    answer = post(world, route, **forged)
    assert stamps(answer) == {"arm": "champion", "assigned-arm": "champion", "version": "12", "generation": "1"}
    sent = world.server.versions["m", 2].requests[-1]
    assert sent.get("x-cs-assigned-arm") == "champion"
    assert {"x-cs-bucket", "x-cs-generation"} & set(sent) == set()


def test_a_caller_cannot_make_an_arm_fail_by_envoys_own_headers(world: EnvoyRouted) -> None:
    route = make_route(world.upstream, ALL_CANARY)
    push(world, route)
    world.server.versions["m", 1].mode = "slow"
    headers = {"x_envoy_upstream_rq_per_try_timeout_ms": "1", "x_envoy_upstream_rq_timeout_ms": "1", "x_envoy_max_retries": "0"}
    assert stamps(post(world, route, x_unit_id="u", **headers))["arm"] == "canary"
    assert count(world, route, "canary") == (1, 0, 0)


# -- only the model


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/m/unload"),
        ("POST", "/{ep}/v2/repository/models/m/unload"),
        ("POST", "/{ep}/v2/models/flight%20delay/../../repository/index"),
        ("POST", "/{ep}/v2/models/flight%20delay/%2e%2e/%2e%2e/repository/index"),
        ("POST", "/{ep}/v2/models/flight%20delay/infer/../../../repository/index"),
        ("POST", "/{ep}/v2/models/flight%20delay/infer%2f..%2f..%2frepository"),
        ("POST", "/{ep}/v2/models/flight%20delay/versions/1/infer"),
        ("POST", "/{ep}/v2/models/flight%20delay/infer/"),
        ("POST", "/{ep}/v2/models/flight%20delay/infer;x"),
        ("POST", "/{ep}/v2/models/m/infer"),
        ("POST", "/{ep}/v2/models/flight%20delay/ready"),
        ("GET", "/{ep}/v2/models/flight%20delay/infer"),
        ("GET", "/{ep}/v2/models/flight%20delay/config"),
        ("GET", "/{ep}/v2/models/flight%20delay/versions/1/ready"),
        ("PUT", "/{ep}/v2/models/flight%20delay/infer"),
        ("DELETE", "/{ep}/v2/models/flight%20delay"),
        ("GET", "/{ep}/v2"),
        ("GET", "/metrics"),
    ],
)
def test_nothing_but_the_model_can_be_reached(world: EnvoyRouted, method: str, path: str) -> None:
    route = make_route(world.upstream)
    push(world, route)
    connection = http.client.HTTPConnection(world.envoy.url.removeprefix("http://"))
    connection.request(method, path.format(ep=route.endpoint), b"{}" if method == "POST" else None)
    assert connection.getresponse().status in (400, 404)
    assert world.server.managed == []
    assert all(not version.requests for version in world.server.versions.values())


def test_metadata_and_readiness_are_the_champions(world: EnvoyRouted) -> None:
    route = make_route(world.upstream, ALL_CANARY)
    push(world, route)
    base = f"{world.envoy.url}/{route.endpoint}/v2/models/flight%20delay"
    told = httpx.get(base, headers={"x-unit-id": "u"})
    assert told.json()["offset"] == 20.0
    assert stamps(told) == {"arm": "champion", "version": "12", "generation": "1"}
    assert httpx.get(f"{base}/ready").status_code == 200
    world.kill(2)
    assert httpx.get(f"{base}/ready").status_code == 400


def test_names_that_look_like_code_stay_names(world: EnvoyRouted) -> None:
    model = "a %REQ(x)% \"]] --$(id)'ü?#&"
    route = make_route(world.upstream, ALL_CANARY, salt='") os.exit(1) --', model=model)
    push(world, route)
    assert world.router.observe().routes == {route.endpoint: route}
    answer = world.door.ask(route, ROW, {"max_batch_size": 0}, "u")
    assert (answer.arm, answer.bucket) == ("canary", buckets.bucket(route.salt, "u"))


def test_the_log_tells_of_each_request_what_the_caller_asked_and_who_answered(world: EnvoyRouted) -> None:
    route = make_route(world.upstream, ALL_CANARY)
    push(world, route)
    world.server.versions["m", 1].mode = "error"
    post(world, route, x_unit_id="secret-unit", x_request_id="log-1", x_cs_probe="1")
    wait_for(lambda: b'"log-1"' in world.envoy.access_log.read_bytes())
    lines = [json.loads(line) for line in world.envoy.access_log.read_text().splitlines()]
    (line,) = [line for line in lines if line["request_id"] == "log-1"]
    assert {key: line[key] for key in ("path", "assigned_arm", "served_arm", "served_version", "generation", "probe")} == {
        "path": path_of(route),
        "assigned_arm": "canary",
        "served_arm": "champion",
        "served_version": "12",
        "generation": "1",
        "probe": "1",
    }
    assert line["bucket"] == str(buckets.bucket(route.salt, "secret-unit"))
    assert "secret-unit" not in json.dumps(lines)


# -- dead arms, and callers who are wrong


@pytest.mark.parametrize("mode", ["unloaded", "not_found", "error", "reset"])
def test_however_an_arm_dies_the_champion_answers(world: EnvoyRouted, mode: Mode) -> None:
    route = make_route(world.upstream, ALL_CANARY)
    push(world, route)
    world.server.versions["m", 1].mode = mode
    answer = post(world, route, x_unit_id="u")
    assert answer.status_code == 200
    assert answer.json()["outputs"][0]["data"] == [21.0, 22.0]
    assert stamps(answer) == {
        "arm": "champion",
        "version": "12",
        "assigned-arm": "canary",
        "generation": "1",
        "bucket": str(buckets.bucket(route.salt, "u")),
    }
    assert count(world, route, "canary") == (1, 1, 1)
    assert count(world, route, "champion") == (0, 0, 0)


def test_an_arm_that_takes_too_long_is_dead_too(world: EnvoyRouted, runtime_group: Supervisor) -> None:
    route = make_route(world.upstream, ALL_CANARY)
    hasty = envoy_router(world.envoy, runtime_group.folder / "envoy.log", Guard(LOOPBACK), answer_seconds=1.5)
    hasty.push(DesiredRouter({route.endpoint: route}))
    world.server.versions["m", 1].mode, world.server.slow_seconds = "slow", 60.0
    assert stamps(post(world, route, x_unit_id="u"))["arm"] == "champion"
    assert count(world, route, "canary") == (1, 1, 1)
    assert hasty.observe().routes == {route.endpoint: route}
    assert world.router.observe().routes != {route.endpoint: route}  # other time limits were agreed


def test_a_large_request_falls_back_whole(world: EnvoyRouted) -> None:
    route = make_route(world.upstream, ALL_CANARY)
    push(world, route)
    world.kill(1)
    values = [float(number % 10) for number in range(700_000)]
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(values)], "data": values}]}).encode()
    assert len(body) > 3 << 20
    answer = post(world, route, body, x_unit_id="u")
    assert answer.json()["outputs"][0]["data"] == [value + 20.0 for value in values]


@pytest.mark.parametrize("body", [b"no json", b'{"inputs":[{"name":"unknown model","shape":[1],"data":[1]}]}'])
def test_a_callers_own_mistake_is_answered_by_its_arm_and_is_no_failure(world: EnvoyRouted, body: bytes) -> None:
    route = make_route(world.upstream, ALL_CANARY)
    push(world, route)
    answer = post(world, route, body, x_unit_id="u")
    assert (answer.status_code, stamps(answer)["arm"]) == (400, "canary")
    assert count(world, route, "canary") == (1, 0, 0)
    assert world.server.versions["m", 2].requests == []


def test_a_dead_champion_is_unavailable_and_not_the_callers_fault(world: EnvoyRouted) -> None:
    route = make_route(world.upstream, ALL_CANARY)
    push(world, route)
    world.kill(2)
    answer = post(world, route)
    assert (answer.status_code, stamps(answer)["assigned-arm"]) == (503, "champion")
    assert count(world, route, "champion") == (1, 1, 0)
    world.kill(1)
    assert post(world, route, x_unit_id="u").status_code == 503
    assert count(world, route, "canary") == (1, 1, 0)


def test_a_champion_whose_connection_breaks_is_asked_once_more(world: EnvoyRouted) -> None:
    route = make_route(world.upstream, ALL_CANARY)
    push(world, route)
    world.server.versions["m", 2].mode = "reset_once"
    assert post(world, route).status_code == 200
    assert count(world, route, "champion") == (1, 0, 0)
    world.server.versions["m", 2].mode = "error"
    assert post(world, route).status_code == 500
    assert len(world.server.versions["m", 2].requests) == 3  # what the champion answered is not asked again
    assert count(world, route, "champion") == (2, 1, 0)


def test_what_envoy_answers_itself_is_stamped_too(world: EnvoyRouted) -> None:
    route = make_route("127.0.0.1:1", ALL_CANARY)
    push(world, route)
    answer = post(world, route, x_unit_id="u")
    assert answer.status_code == 503
    bucket = str(buckets.bucket(route.salt, "u"))
    assert stamps(answer) == {"arm": "canary", "assigned-arm": "canary", "version": "11", "generation": "1", "bucket": bucket}
    assert count(world, route, "canary") == (1, 1, 0)


# -- files


def the_host(routes: list[Any]) -> Any:
    return routes[0]["virtual_hosts"][0]


def edit_stamp(host: Any) -> None:
    host["routes"][0]["response_headers_to_add"][1]["header"]["value"] = "99"


def edit_script(host: Any) -> None:
    source = host["typed_per_filter_config"]["envoy.filters.http.lua"]["source_code"]
    source["inline_string"] = source["inline_string"].replace("h % BUCKETS", "0")


def edit_target(host: Any) -> None:
    action = host["routes"][0]["route"]
    del action["inline_cluster_specifier_plugin"]
    del action["retry_policy"]
    action["cluster"] = host["routes"][1]["route"]["cluster"]


def add_route_in_front(host: Any) -> None:
    host["routes"].insert(0, {"match": {"prefix": "/"}, "direct_response": {"status": 200}})


HAND_EDITS: dict[str, Callable[[Any], object]] = {
    "another generation on the answers": edit_stamp,
    "another script": edit_script,
    "another target": edit_target,
    "a route in front": add_route_in_front,
    "an arm's route gone": lambda host: host["routes"].pop(0),
    "another order": lambda host: host["routes"].reverse(),
    "a header on every request": lambda host: host.update(request_headers_to_remove=["x-unit-id"]),
    "no words": lambda host: host["routes"][1].pop("metadata"),
    "words that are none": lambda host: host["routes"][1]["metadata"]["filter_metadata"].update({"envoy.filters.http.lua": {}}),
}


@pytest.mark.parametrize("edit", HAND_EDITS)
def test_whatever_is_changed_by_hand_is_no_longer_the_route_that_was_pushed(world: EnvoyRouted, edit: str) -> None:
    route = make_route(world.upstream, {"champion": ((0, 5000),), "canary": ((5000, 10_000),)})
    push(world, route)
    routes = read_resources(world.envoy.routes_file)
    HAND_EDITS[edit](the_host(routes))
    settle(world.envoy, world.envoy.routes_file, routes)
    seen = world.router.observe()
    assert set(seen.routes) == {route.endpoint}
    assert seen.routes[route.endpoint] != route
    assert seen.routes[route.endpoint].generation == 1  # so that nobody takes it for a push that is still under way
    assert seen.foreign == (("route /",) if edit == "a route in front" else ())
    push(world, route)
    assert world.router.observe().routes == {route.endpoint: route}


def test_a_route_that_opens_another_path_is_listed(world: EnvoyRouted) -> None:
    route = make_route(world.upstream)
    push(world, route)
    routes = read_resources(world.envoy.routes_file)
    the_host(routes)["routes"].append({"name": "open\ndoor", "match": {"prefix": "/v2"}, "direct_response": {"status": 200}})
    settle(world.envoy, world.envoy.routes_file, routes)
    seen = world.router.observe()
    assert seen.foreign == ("route open door",)
    assert seen.routes == {route.endpoint: route}  # it stands behind ours


@pytest.mark.parametrize("edit", ["gone", "script"])
def test_a_cluster_that_was_tampered_with_is_seen(world: EnvoyRouted, edit: str) -> None:
    route = make_route(world.upstream)
    push(world, route)
    clusters = read_resources(world.envoy.clusters_file)
    canary = next(one for one in clusters if one["name"].startswith(f"countersign_{route.endpoint}_canary_"))
    if edit == "gone":
        clusters.remove(canary)
    else:
        (options,) = canary["typed_extension_protocol_options"].values()
        source = options["http_filters"][0]["typed_config"]["default_source_code"]
        source["inline_string"] += "\n-- and more"
    settle(world.envoy, world.envoy.clusters_file, clusters)
    assert "by hand" in world.router.observe().routes[route.endpoint].upstream
    push(world, route)
    assert world.router.observe().routes == {route.endpoint: route}


def test_a_file_that_is_gone_garbled_or_written_in_place_is_put_right(world: EnvoyRouted) -> None:
    route = make_route(world.upstream)
    push(world, route)
    good = world.envoy.routes_file.read_text()
    for damage in (
        lambda: world.envoy.routes_file.unlink(),
        lambda: world.envoy.routes_file.write_text("in place"),
        lambda: world.envoy.routes_file.write_text(
            good.replace("sha256:", "sha256:0", 1)
        ),  # the same routes under another version
        lambda: (
            world.envoy.routes_file.with_name("new").write_text("{]")
            and os.replace(world.envoy.routes_file.with_name("new"), world.envoy.routes_file)
        ),
    ):
        damage()
        assert world.router.observe().routes == {route.endpoint: route}  # Envoy keeps what it has
        push(world, route)
        assert world.envoy.routes_file.read_text() == good
        assert world.router.observe().rejected == ""


def test_a_refusal_is_told_even_when_the_file_kept_its_version(world: EnvoyRouted) -> None:
    route = make_route(world.upstream)
    push(world, route)
    content = json.loads(world.envoy.routes_file.read_text())
    the_host(content["resources"])["routes"][0]["route"] = {"cluster": "nobody"}
    world.envoy.routes_file.with_name("new").write_text(json.dumps(content))
    threading.Event().wait(0.1)
    os.replace(world.envoy.routes_file.with_name("new"), world.envoy.routes_file)
    wait_for(lambda: "unknown cluster" in world.router.observe().rejected)
    push(world, route)
    assert world.router.observe().rejected == ""


def test_refused_clusters_are_told(world: EnvoyRouted) -> None:
    route = make_route(world.upstream)
    push(world, route)
    clusters = read_resources(world.envoy.clusters_file)
    write_resources(world.envoy.clusters_file, [*clusters, {**clusters[0], "name": "new", "lb_policy": "MAGLEV", "type": 77}])
    wait_for(lambda: world.router.observe().rejected)
    push(world, route)
    assert world.router.observe().rejected == ""


def test_without_its_log_a_refusal_is_told_without_the_reason(world: EnvoyRouted, tmp_path: Path) -> None:
    blind = envoy_router(world.envoy, tmp_path / "no.log", Guard(LOOPBACK))
    push(world, make_route(world.upstream))
    world.refuse_newest()
    assert blind.observe().rejected == "rds.json was refused, and only Envoy's own log says why"


def test_clusters_stay_until_the_routes_that_named_them_are_gone(world: EnvoyRouted) -> None:
    names: list[set[str]] = []
    route = make_route(world.upstream)
    for upstream in (world.upstream, world.upstream.replace("127.0.0.1", "localhost"), world.upstream):
        route = replace(route, upstream=upstream, generation=route.generation + 1)
        push(world, route)
        names.append({one["name"] for one in read_resources(world.envoy.clusters_file)})
        assert post(world, route, x_unit_id="u").status_code == 200
    first, second, third = names
    assert first < second
    assert third == second  # the same two servers, in turn
    push(world, make_route(world.upstream))
    push(world, make_route(world.upstream))
    assert not {one["name"] for one in read_resources(world.envoy.clusters_file)} & first


def test_an_envoy_that_starts_again_has_the_same_routes(tmp_path: Path, runtimes_dir: Path) -> None:
    binary = runtimes.envoy(runtimes_dir)
    with InferenceServer() as server:
        with Supervisor(tmp_path / "first") as group:
            world = EnvoyRouted.make(start_envoy(group, tmp_path / "envoy", binary), server, group.folder / "envoy.log")
            world.serve(1, 10.0)
            route = make_route(world.upstream, {"champion": ((0, 10_000),)})
            push(world, route)
        for verb in (world.router.observe, world.router.inspect, world.router.traffic, lambda: push(world, route)):
            with pytest.raises(ExternalFailure, match="cannot be reached") as failed:
                verb()
            assert failed.value.retryable
        with Supervisor(tmp_path / "second") as group:
            again = EnvoyRouted.make(start_envoy(group, tmp_path / "envoy", binary), server, group.folder / "envoy.log")
            assert again.router.observe().routes == {route.endpoint: route}
            assert stamps(post(again, route, x_unit_id="u"))["generation"] == "1"


def test_a_folder_that_cannot_be_written_fails_the_push_and_nothing_else(world: EnvoyRouted, tmp_path: Path) -> None:
    route = make_route(world.upstream)
    push(world, route)
    lost = envoy_router(
        world.envoy,
        tmp_path,
        Guard(LOOPBACK),
        routes_file=str(tmp_path / "no" / "r.json"),
        clusters_file=str(tmp_path / "no" / "c.json"),
    )
    with pytest.raises(ExternalFailure, match="could not replace c") as failed:
        lost.push(DesiredRouter({}))
    assert failed.value.retryable
    assert world.router.observe().routes == {route.endpoint: route}


def test_an_admin_endpoint_that_is_something_else_is_named(world: EnvoyRouted) -> None:
    other = envoy_router(world.envoy, Path("/no.log"), Guard(LOOPBACK), admin_url=f"http://{world.upstream}")
    for verb in (other.inspect, other.observe, lambda: other.push(DesiredRouter({}))):
        with pytest.raises(ExternalFailure, match=r"answered 418|not Envoy's") as failed:
            verb()
        assert not failed.value.retryable


def wait_for(holds: Callable[[], object], seconds: float = 10.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        threading.Event().wait(0.02)
    assert holds()


# -- Triton

ADDS = """
import triton_python_backend_utils as pb
class TritonPythonModel:
    def initialize(self, args):
        self.offset = float(args["model_version"]) * 10
    def execute(self, requests):
        rows = [pb.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("y", (row + self.offset).astype("float32"))]) for row in rows]
"""


class TritonModel:
    """`y = x + 10 * version` in a real Triton, with whichever versions a test wants."""

    def __init__(self, triton: TritonServer) -> None:
        self.triton = triton
        self.config: dict[str, Any] = {
            "name": "routed-adds",
            "backend": "python",
            "max_batch_size": 4,
            "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}],
            "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [2]}],
        }

    def load(self, *versions: int) -> None:
        for version in versions:
            folder = self.triton.models / "routed-adds" / str(version)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "model.py").write_text(ADDS)
        config = {**self.config, "version_policy": {"specific": {"versions": list(versions)}}}
        self._manage("load", {"parameters": {"config": json.dumps(config)}})

    def unload(self) -> None:
        self._manage("unload", {})

    def answered(self, version: int) -> int:
        found = httpx.get(f"{self.triton.url}/v2/models/routed-adds/versions/{version}/stats").json()
        return int(found["model_stats"][0]["inference_stats"]["success"]["count"])

    def _manage(self, verb: str, body: dict[str, Any]) -> None:
        url = f"{self.triton.url}/v2/repository/models/routed-adds/{verb}"
        httpx.post(url, json=body, headers=self.triton.admin_headers, timeout=60).raise_for_status()


@pytest.fixture
def triton_model(triton_server: TritonServer) -> Iterator[TritonModel]:
    model = TritonModel(triton_server)
    model.load(1, 2, 3)
    yield model
    model.unload()


def test_triton_behind_envoy(world: EnvoyRouted, triton_model: TritonModel) -> None:
    """One walk, because loading is slow: versions side by side, the shadow, a dead arm, and a caller's mistake."""
    arms = tuple(
        ArmRoute(name, 70 + n, "routed-adds", n, ranges)
        for n, (name, ranges) in enumerate({"canary": ((0, 5000),), "champion": ((5000, 10_000),), "shadow": ()}.items(), 1)
    )
    upstream = triton_model.triton.url.removeprefix("http://").replace("127.0.0.1", "localhost")
    route = replace(make_route(upstream), arms=arms, shadow="shadow")  # type: ignore[arg-type]
    push(world, route)
    door = HttpDoor(Guard(LOOPBACK), world.envoy.url + "/", "r")
    units = {name: unit_of(route, name) for name in ("canary", "champion")}

    def ask(unit: str) -> tuple[str, str, Any]:
        got = door.ask(route, ROW, triton_model.config, unit)
        return got.arm, got.version, got.answer.outputs["y"]

    assert ask(units["canary"]) == ("canary", "71", [11.0, 12.0])
    assert ask(units["champion"]) == ("champion", "72", [21.0, 22.0])
    assert ask("") == ("champion", "72", [21.0, 22.0])
    wait_for(lambda: triton_model.answered(3) == 3)

    with pytest.raises(ExternalFailure, match="answered 400") as failed:
        door.ask(route, {"z": 1.0}, triton_model.config, units["canary"])
    assert not failed.value.retryable
    assert post(world, route, b"no json", x_unit_id=units["canary"]).status_code == 400
    assert count(world, route, "canary") == (3, 0, 0)

    triton_model.load(2)
    assert ask(units["canary"]) == ("champion", "72", [21.0, 22.0])
    assert count(world, route, "canary") == (4, 1, 1)
    wait_for(lambda: count(world, route, "shadow") == (6, 1, 0))
    triton_model.unload()
    with pytest.raises(ExternalFailure, match="answered 503") as failed:
        ask("")
    assert failed.value.retryable


def unit_of(route: EndpointRoute, arm: str) -> str:
    """A unit that belongs to an arm."""
    owned = {each.arm: each.ranges for each in route.arms}
    return next(unit for unit in map(str, range(1000)) if buckets.owner(owned, buckets.bucket(route.salt, unit)) == arm)
