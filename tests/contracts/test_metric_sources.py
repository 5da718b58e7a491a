"""One suite for every source of figures: the one in memory, texts, a Prometheus server's API, and the real Triton and Envoy."""

from __future__ import annotations

import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.delivery.desired import DesiredRouter, EndpointRoute
from backend.embedded.envoy import EnvoyServer
from backend.embedded.supervisor import Supervisor
from backend.embedded.triton import TritonServer
from backend.metrics.port import Figure, Reading, Source, Subject
from backend.metrics.quantiles import Histogram
from backend.metrics.series import Memory
from backend.metrics.sources.envoy import EnvoySource
from backend.metrics.sources.memory import MemorySource
from backend.metrics.sources.names import build
from backend.metrics.sources.triton import TritonSource
from tests.contracts.test_embedded_runtimes import eventually
from tests.inference_server import InferenceServer
from tests.metrics_server import MetricsServer, metrics_server
from tests.routed import LOOPBACK, EnvoyRouted, make_route

BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1.0,2.0]}]}'
GUARD = Guard(LOOPBACK)
NOBODY = "http://127.0.0.1:9"


class World(Protocol):
    """What the suite needs of a source's world. `subject`: what its figures are about."""

    source: Source
    nowhere: Source
    subject: Subject
    has_histogram: bool

    def ask(self, good: int, bad: int) -> None:
        """So many requests, the bad ones answered by an error of the server."""
        ...


@dataclass
class InMemory:
    """Figures as they are given."""

    subject: Subject = field(default_factory=lambda: Subject(model="m", version=1))
    has_histogram: bool = True
    good: int = 0
    bad: int = 0

    def __post_init__(self) -> None:
        self.source: Source = MemorySource()
        failing = MemorySource()
        failing.fails = "cannot be reached"
        self.nowhere: Source = failing

    def ask(self, good: int, bad: int) -> None:
        self.good, self.bad = self.good + good, self.bad + bad
        both = self.good + self.bad
        assert isinstance(self.source, MemorySource)
        self.source.figures = (
            Figure("requests", self.subject, float(both)),
            Figure("errors", self.subject, float(self.bad)),
            Figure("latency", self.subject, Histogram((0.1,), (float(both), 0.0), 0.01 * both)),
        )


NAMES: list[dict[str, Any]] = [
    {"metric": "requests", "name": "asked_total", "version_label": "version"},
    {"metric": "errors", "name": "asked_total", "where": {"code": "5*"}, "version_label": "version"},
    {"metric": "latency", "name": "took_seconds", "version_label": "version"},
]


@dataclass
class OfText:
    """A text on loopback."""

    server: MetricsServer
    subject: Subject = field(default_factory=lambda: Subject(version=1))
    has_histogram: bool = True
    told: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        self.source: Source = build("text", {"url": self.server.url, "figures": NAMES}, GUARD, name="x")
        self.nowhere: Source = build("text", {"url": f"{NOBODY}/metrics", "figures": NAMES}, GUARD, name="x")

    def ask(self, good: int, bad: int) -> None:
        count(self.told, good, bad)
        self.server.text = "".join(f"{line} {value}\n" for line, value in self.told.items())


@dataclass
class OfPrometheus:
    """Prometheus's HTTP API, as its documentation has it, on loopback."""

    server: MetricsServer
    subject: Subject = field(default_factory=lambda: Subject(version=1))
    has_histogram: bool = True
    told: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        queries = [
            {"metric": "requests", "query": "asked_total", "version_label": "version"},
            {"metric": "errors", "query": "asked_total 5", "version_label": "version"},
            {"metric": "latency", "query": "took_seconds_bucket", "version_label": "version"},
        ]
        self.server.api = self.answer
        self.source: Source = build("prometheus", {"url": self.server.origin, "figures": queries}, GUARD, name="x")
        self.nowhere: Source = build("prometheus", {"url": NOBODY, "figures": queries}, GUARD, name="x")

    def ask(self, good: int, bad: int) -> None:
        count(self.told, good, bad)

    def answer(self, path: str, query: dict[str, str]) -> Any:
        self.asked.append((path, query))
        name, _, code = query["query"].partition(" ")
        lines = [(line, value) for line, value in self.told.items() if line.startswith(name)]
        found = [(line, value) for line, value in lines if not code or f'code="{code}' in line]
        if path == "query":
            rows = [{"metric": labels(line), "value": [float(query["time"]), str(value)]} for line, value in found]
            return {"status": "success", "data": {"resultType": "vector", "result": rows}}
        start, end, step = (float(query[one]) for one in ("start", "end", "step"))
        moments = [start + step * number for number in range(int((end - start) // step) + 1)]
        rows = [{"metric": labels(line), "values": [[at, str(value)] for at in moments]} for line, value in found]
        return {"status": "success", "data": {"resultType": "matrix", "result": rows}}


def count(told: dict[str, float], good: int, bad: int) -> None:
    told['asked_total{version="1",code="200"}'] += good
    told['asked_total{version="1",code="503"}'] += bad
    for bound in ("0.1", "+Inf"):
        told[f'took_seconds_bucket{{version="1",le="{bound}"}}'] += good + bad


def labels(line: str) -> dict[str, str]:
    pairs = (pair.split("=") for pair in line.split("{")[1].rstrip("}").split(","))
    return {name: value.strip('"') for name, value in pairs}


@dataclass
class OfTriton:
    """The real one, with a model that it was told to load."""

    url: str
    metrics_url: str
    model: str
    has_histogram: bool = False

    def __post_init__(self) -> None:
        self.subject = Subject(model=self.model, version=1)
        self.source: Source = TritonSource(self.metrics_url, GUARD, system="server t", seconds=5)
        self.nowhere: Source = TritonSource(f"{NOBODY}/metrics", GUARD, system="server t", seconds=5)

    def ask(self, good: int, bad: int) -> None:
        for number, many in ((1.0, good), (-1.0, bad)):
            body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [number]}]}
            for _ in range(many):
                answer = httpx.post(f"{self.url}/v2/models/{self.model}/infer", json=body, timeout=30)
                assert answer.is_success is (number > 0)


FRAIL = """
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        return [self._one(pb.get_input_tensor_by_name(one, "x").as_numpy()) for one in requests]
    def _one(self, x):
        if x[0] < 0:
            raise pb.TritonModelException("negative")
        return pb.InferenceResponse([pb.Tensor("y", x)])
"""
CONFIG: dict[str, Any] = {
    "backend": "python",
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
}


def load(triton: TritonServer, model: str, verb: str = "load") -> None:
    version = triton.models / model / "1"
    version.mkdir(parents=True, exist_ok=True)
    (version / "model.py").write_text(FRAIL)
    body = {"parameters": {"config": json.dumps({"name": model, **CONFIG})}} if verb == "load" else {}
    url = f"{triton.url}/v2/repository/models/{model}/{verb}"
    httpx.post(url, json=body, headers=triton.admin_headers, timeout=60).raise_for_status()


@dataclass
class OfEnvoy:
    """The real one, in front of a tiny server whose version 2 breaks."""

    routed: EnvoyRouted
    route: EndpointRoute
    has_histogram: bool = True

    def __post_init__(self) -> None:
        self.subject = Subject(endpoint=self.route.endpoint, arm="champion")
        self.source: Source = EnvoySource(self.routed.envoy.admin_url, GUARD, system="router r", seconds=5)
        self.nowhere: Source = EnvoySource(NOBODY, GUARD, system="router r", seconds=5)

    def ask(self, good: int, bad: int) -> None:
        for mode, many in (("ready", good), ("error", bad)):
            self.routed.server.versions["m", 1].mode = mode  # type: ignore[assignment]
            for _ in range(many):
                assert self.post().status_code == (200 if mode == "ready" else 500)
        self.routed.server.versions["m", 1].mode = "ready"

    def post(self) -> httpx.Response:
        path = f"/{self.route.endpoint}/v2/models/flight%20delay/infer"
        return httpx.post(f"{self.routed.envoy.url}{path}", content=BODY, headers={"x-unit-id": "u"}, timeout=30)


KINDS = ("memory", "text", "prometheus", "triton", "envoy")


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with ExitStack() as opened:
        made: dict[str, Callable[[], World]] = {
            "memory": InMemory,
            "text": lambda: OfText(opened.enter_context(metrics_server())),
            "prometheus": lambda: OfPrometheus(opened.enter_context(metrics_server())),
            "triton": lambda: _triton(request.getfixturevalue("triton_server"), opened),
            "envoy": lambda: _envoy(request.getfixturevalue("envoy_server"), request.getfixturevalue("runtime_group"), opened),
        }
        yield made[request.param]()


def _triton(server: TritonServer, opened: ExitStack) -> OfTriton:
    model = f"frail-{uuid.uuid4().hex[:8]}"
    load(server, model)
    opened.callback(load, server, model, "unload")
    return OfTriton(server.url, server.metrics_url, model)


def _envoy(envoy: EnvoyServer, group: Supervisor, opened: ExitStack) -> OfEnvoy:
    server = opened.enter_context(InferenceServer())
    routed = EnvoyRouted.make(envoy, server, group.folder / "envoy.log")
    routed.serve(1, 10.0)
    route = make_route(routed.upstream, {"champion": ((0, 10_000),)})
    routed.router.push(DesiredRouter({route.endpoint: route}))
    opened.callback(routed.router.push, DesiredRouter({}))
    return OfEnvoy(routed, route)


def read(world: World, since: datetime | None = None) -> Reading:
    found = world.source.read(since, datetime.now(UTC))
    return found[-1] if found else Reading((), "")


def value(world: World, metric: str, reading: Reading) -> Any:
    """A figure about the world's subject; None where it is not told."""
    found = [one.value for one in reading.figures if one.metric == metric and one.subject == world.subject]
    assert len(found) < 2, "one figure a subject"
    return found[0] if found else None


def settled(world: World, requests: float) -> Reading:
    """A look once everything is counted: Envoy merges its histograms every five seconds."""
    until = time.monotonic() + 15
    while True:
        found = read(world)
        histogram = value(world, "latency", found)
        counted = not world.has_histogram or (histogram is not None and histogram.count >= requests)
        if (counted and value(world, "requests", found) == requests) or time.monotonic() > until:
            return found
        time.sleep(0.2)


def test_requests_and_errors_are_counted_from_the_start_and_only_grow(world: World) -> None:
    world.ask(3, 1)
    first = settled(world, 4)
    assert (value(world, "requests", first), value(world, "errors", first)) == (4, 1)
    world.ask(2, 0)
    second = settled(world, 6)
    assert (value(world, "requests", second), value(world, "errors", second)) == (6, 1)
    assert first.asked == second.asked
    assert (dict(second.bad), second.cut) == ({}, "")


def test_where_there_is_a_histogram_every_request_is_in_it(world: World) -> None:
    world.ask(4, 0)
    found = value(world, "latency", settled(world, 4))
    if not world.has_histogram:
        assert found is None, "it is not made up"
        return
    assert found.count == 4
    assert 0 <= found.total < 60, "seconds, whatever the source counts in"


def test_of_what_never_was_nothing_is_told_and_no_error_is_made_up(world: World) -> None:
    assert value(world, "requests", read(world)) in (None, 0)
    world.ask(1, 0)
    assert value(world, "errors", settled(world, 1)) == 0, "no error is told as 0, and not left out"


def test_a_source_that_is_not_there_is_a_failure_that_says_so(world: World) -> None:
    with pytest.raises(ExternalFailure, match="cannot be reached"):
        world.nowhere.read(None, datetime.now(UTC))


# -- what only one of them has


def test_triton_tells_waiting_and_computing_apart_and_is_counted_rightly_across_a_reload(triton_server: TritonServer) -> None:
    with ExitStack() as opened:
        world = _triton(triton_server, opened)
        world.ask(3, 0)
        found = settled(world, 3)
        seconds = {name: value(world, name, found) for name in ("request_seconds", "queue_seconds", "compute_seconds")}
        assert 0 < seconds["queue_seconds"] < seconds["request_seconds"]
        assert 0 < seconds["compute_seconds"] <= seconds["request_seconds"]
        assert value(world, "rows", found) == 3
        quantiles = {dict(one.labels)["quantile"] for one in found.figures if one.metric == "latency_quantile"}
        assert quantiles == {"0.5", "0.9", "0.99"}
        load(triton_server, world.model, "unload")
        gone = read(world)
        load(triton_server, world.model)
        world.ask(1, 0)
        assert eventually(lambda: _increases(world, found, gone, read(world)) == 1), "whether its counters go on or begin anew"


def _increases(world: World, *readings: Reading) -> float:
    """What was added to the requests from the first of these looks to the last one, as it is kept."""
    memory, total, at = Memory(), 0.0, datetime(2026, 3, 2, tzinfo=UTC)
    for number, reading in enumerate(readings):
        found = value(world, "requests", reading)
        told = {"requests": found} if found is not None else {}
        total += memory.increases(reading.asked, told).get("requests", 0.0)  # type: ignore[operator]
        memory = memory.after(at + timedelta(seconds=30 * number), reading.asked, told)
    return total


def test_envoy_tells_failures_of_an_arm_that_the_champion_answered_and_copies_apart(
    envoy_server: EnvoyServer, runtime_group: Supervisor
) -> None:
    with ExitStack() as opened:
        server = opened.enter_context(InferenceServer())
        routed = EnvoyRouted.make(envoy_server, server, runtime_group.folder / "envoy.log")
        for version in (1, 2, 3):
            routed.serve(version, 10.0)
        route = make_route(routed.upstream, {"canary-2": ((0, 10_000),), "champion": (), "shadow-1": ()}, shadow="shadow-1")
        routed.router.push(DesiredRouter({route.endpoint: route}))
        opened.callback(routed.router.push, DesiredRouter({}))
        world = OfEnvoy(routed, route)
        world.subject = Subject(endpoint=route.endpoint, arm="canary-2")
        server.versions["m", 1].mode = "error"
        for _ in range(3):
            assert world.post().status_code == 200, "the champion answers"
        found = settled(world, 3)
        told = [value(world, name, found) for name in ("requests", "failures", "errors")]
        assert told == [3, 3, 0]
        world.subject = Subject(endpoint=route.endpoint, arm="shadow-1", shadow=True)
        assert value(world, "requests", settled(world, 3)) == 3
        world.subject = Subject(endpoint=route.endpoint, arm="shadow-1")
        assert value(world, "requests", found) is None, "a copy is nobody's request"


def test_prometheus_is_asked_for_what_was_missed_but_for_an_hour_at_most() -> None:
    with metrics_server() as server:
        world = OfPrometheus(server)
        world.ask(5, 0)
        now = datetime(2026, 3, 2, 9, tzinfo=UTC)
        found = world.source.read(now - timedelta(seconds=95), now)
        assert [(now - one.at).total_seconds() for one in found if one.at] == [65, 35, 5]
        assert {path for path, _ in world.asked} == {"query_range"}
        long_ago = world.source.read(now - timedelta(days=9), now)
        assert min(one.at for one in long_ago if one.at) == now - timedelta(hours=1)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "error", "errorType": "bad_data", "error": "secret"},
        {"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}},
        {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": ["x", "y"]}]}},
        {"status": "success", "data": {"resultType": "vector", "result": [7]}},
        [],
        "x",
    ],
)
def test_an_answer_that_is_not_prometheus_s_is_a_failure_and_is_not_repeated(answer: Any) -> None:
    with metrics_server() as server:
        world = OfPrometheus(server)
        server.api = lambda path, query: answer
        with pytest.raises(ExternalFailure, match="not Prometheus's") as told:
            world.source.read(None, datetime.now(UTC))
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("preset", "model", "wanted"),
    [
        ("torchserve", "flights", {"requests": {None: 1, 2: 8}, "queue_seconds": {2: 365.21e-6}, "errors": {None: 2}}),
        ("tf-serving", "flights", {"requests": {None: 100}, "errors": {None: 4}}),
        ("mlserver", "flights", {"requests": {3: 42}, "errors": {3: 2}}),
    ],
)
def test_servers_whose_names_are_known(preset: str, model: str, wanted: dict[str, dict[int | None, float]]) -> None:
    """On texts that were written by hand from their documentation (tests/rules/metrics/samples)."""
    with metrics_server() as server:
        name = f"{preset.replace('-', '_')}.txt"
        server.text = (Path(__file__).parents[1] / "rules" / "metrics" / "samples" / name).read_text()
        source = build("text", {"url": server.url, "preset": preset, "model": model}, GUARD, name="x")
        (found,) = source.read(None, datetime.now(UTC))
    for metric, values in wanted.items():
        told = {one.subject.version: one.value for one in found.figures if one.metric == metric}
        assert told == pytest.approx(values), metric
    if preset == "tf-serving":
        (latency,) = [one.value for one in found.figures if one.metric == "latency"]
        assert isinstance(latency, Histogram)
        assert (latency.bounds, latency.counts, latency.total) == ((1e-05, 0.001, 0.1), (10, 40, 50, 0), pytest.approx(3.0))


def test_a_token_is_sent_where_it_may_go_and_a_refusal_says_what_to_do() -> None:
    with metrics_server() as server:
        server.status = 401
        source = build("text", {"url": server.url, "figures": NAMES}, GUARD, name="x", token="t0k3n")
        with pytest.raises(Refusal, match="refuses Countersign's access") as told:
            source.read(None, datetime.now(UTC))
    assert server.asked[0][1]["authorization"] == "Bearer t0k3n"
    assert "t0k3n" not in str(told.value)
