"""The ADS server's rules: one stream as pure values, what is refused, and what a fleet comes to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.core.errors import Refusal
from backend.delivery.desired import EndpointRoute
from backend.delivery.routers.envoy_render import render
from backend.xds import compiled, rules, snapshots
from backend.xds.exchange import MOST_NAMES, Answer, Exchange, Malformed
from backend.xds.protos.cluster_pb2 import Cluster
from backend.xds.protos.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from backend.xds.rules import Version, parse_listen, parse_version
from tests.routed import make_route

NOW, MINUTE = datetime(2026, 3, 2, tzinfo=UTC), timedelta(minutes=1)
CLUSTERS, ROUTES = compiled.CLUSTERS, compiled.ROUTES
ROUTE = make_route("10.0.0.1:8000", endpoint="ep", generation=1)


def snapshot(number: int, route: EndpointRoute = ROUTE, drain: float = 10.0) -> snapshots.Snapshot:
    made = render([route], 30.0)
    return snapshots.Snapshot(
        number,
        f"sha256:{number:064x}",
        compiled.resource(made.routes, ROUTES, "countersign"),
        {name: compiled.resource(one, CLUSTERS, name) for name, one in made.clusters.items()},
        {},
        drain,
    )


class Stream:
    """One exchange with these snapshots lying there, and an Envoy that answers."""

    def __init__(self, *lying: snapshots.Snapshot) -> None:
        self.lying = {one.number: one for one in lying}
        self.now = 100.0
        self.claimed: list[Version] = []
        self.exchange = Exchange(self._known, self.lying.get)

    def _known(self, version: Version) -> bool:
        self.claimed.append(version)
        found = self.lying.get(version.number)
        return found is not None and found.version().digest == version.digest

    @property
    def newest(self) -> snapshots.Snapshot | None:
        return self.lying[max(self.lying)] if self.lying else None

    def ask(self, kind: str, *names: str, version: str = "", nonce: str = "") -> None:
        request = DiscoveryRequest(type_url=kind, resource_names=names, version_info=version, response_nonce=nonce)
        self.exchange.take(request, self.now)

    def next(self) -> Answer | None:
        return self.exchange.next(self.newest, self.now)

    def sent(self, kind: str) -> Answer:
        answer = self.next()
        assert answer is not None
        assert answer.kind == kind
        return answer

    def ack(self, answer: Answer) -> None:
        names = ("countersign",) if answer.kind == ROUTES else ()
        self.ask(answer.kind, *names, version=str(answer.version), nonce=answer.nonce)

    def nack(self, answer: Answer, why: str = "no") -> None:
        request = DiscoveryRequest(type_url=answer.kind, response_nonce=answer.nonce, error_detail={"message": why})
        self.exchange.take(request, self.now)

    def boot(self) -> None:
        self.ask(CLUSTERS)
        self.ack(self.sent(CLUSTERS))
        self.ask(ROUTES, "countersign")
        self.ack(self.sent(ROUTES))
        assert self.next() is None


def names(answer: Answer) -> set[str]:
    told = DiscoveryResponse.FromString(answer.content)
    assert (told.version_info, told.nonce, told.type_url) == (str(answer.version), answer.nonce, answer.kind)
    return {Cluster.FromString(one.value).name for one in told.resources}


def test_routes_follow_the_clusters_only_once_these_were_taken() -> None:
    stream = Stream(snapshot(1))
    stream.ask(CLUSTERS)
    stream.ask(ROUTES, "countersign")
    clusters = stream.sent(CLUSTERS)
    assert names(clusters) == set(stream.lying[1].clusters)
    assert stream.next() is None
    stream.ack(clusters)
    stream.ack(stream.sent(ROUTES))
    assert (stream.next(), stream.exchange.routes, stream.exchange.refused) == (None, 1, None)


def test_what_routes_in_force_use_stays_until_no_request_can_be_on_its_way_there() -> None:
    one, two = snapshot(1), snapshot(2, replace(ROUTE, upstream="10.0.0.2:8000"))
    stream = Stream(one)
    stream.boot()
    stream.lying[2] = two
    both = stream.sent(CLUSTERS)
    assert names(both) == {*one.clusters, *two.clusters}
    stream.ack(both)
    stream.ack(stream.sent(ROUTES))
    assert stream.next() is None
    assert stream.exchange.wake_in(two, stream.now) == 10.0
    stream.now += 10.0
    alone = stream.sent(CLUSTERS)
    assert names(alone) == set(two.clusters)
    stream.ack(alone)
    assert (stream.next(), stream.exchange.wake_in(two, stream.now)) == (None, None)
    assert stream.exchange.used == {2}


def test_a_newer_snapshot_waits_for_no_answer_to_an_older_one() -> None:
    stream = Stream(snapshot(1))
    stream.boot()
    stream.lying[2] = snapshot(2, replace(ROUTE, upstream="10.0.0.2:8000"))
    hanging = stream.sent(CLUSTERS)
    stream.lying[3] = snapshot(3, replace(ROUTE, upstream="10.0.0.3:8000"))
    newer = stream.sent(CLUSTERS)
    assert newer.version.number == 3
    stream.ack(hanging)
    assert stream.next() is None, "routes must not follow clusters that are not theirs"
    stream.ack(newer)
    stream.ack(stream.sent(ROUTES))
    assert stream.exchange.routes == 3


@pytest.mark.parametrize("kind", [CLUSTERS, ROUTES])
def test_what_is_refused_leaves_the_last_good_one_and_is_not_sent_again(kind: str) -> None:
    stream = Stream(snapshot(1))
    stream.boot()
    stream.lying[2] = snapshot(2, replace(ROUTE, upstream="10.0.0.2:8000"))
    answer = stream.sent(CLUSTERS)
    if kind == ROUTES:
        stream.ack(answer)
        answer = stream.sent(ROUTES)
    stream.nack(answer, "bad\nthing\u202e" + "x" * 1000)
    assert stream.next() is None
    assert stream.exchange.routes == 1
    assert stream.exchange.refused is not None
    number, why = stream.exchange.refused
    assert (number, why[:10], len(why), why.isprintable()) == (2, "bad thing ", 300, True)
    stream.lying[3] = snapshot(3)
    stream.ack(stream.sent(CLUSTERS))
    stream.ack(stream.sent(ROUTES))
    assert (stream.exchange.routes, stream.exchange.refused) == (3, None)


def test_an_answer_to_a_nonce_that_was_never_sent_is_no_answer() -> None:
    stream = Stream(snapshot(1))
    stream.ask(CLUSTERS)
    clusters = stream.sent(CLUSTERS)
    stream.ack(replace(clusters, nonce="17"))
    assert stream.exchange.used == {1}
    stream.ask(ROUTES, "countersign")
    assert stream.next() is None
    stream.ack(clusters)
    stream.sent(ROUTES)


def test_only_what_is_asked_for_is_sent() -> None:
    stream = Stream(snapshot(1))
    stream.ask("type.googleapis.com/envoy.config.listener.v3.Listener")
    assert stream.next() is None
    wanted = next(iter(stream.lying[1].clusters))
    stream.ask(CLUSTERS, wanted)
    clusters = stream.sent(CLUSTERS)
    assert names(clusters) == {wanted}
    stream.ask(CLUSTERS, wanted, version=str(clusters.version), nonce=clusters.nonce)
    stream.ask(ROUTES, "another")
    assert stream.next() is None
    stream.ask(ROUTES, "another", "countersign")
    stream.sent(ROUTES)


def test_asking_for_more_names_brings_them_though_the_version_is_the_same() -> None:
    stream = Stream(snapshot(1))
    first, *rest = sorted(stream.lying[1].clusters)
    stream.ask(CLUSTERS, first)
    answer = stream.sent(CLUSTERS)
    stream.ask(CLUSTERS, first, *rest, version=str(answer.version), nonce=answer.nonce)
    assert names(stream.sent(CLUSTERS)) == {first, *rest}


def test_an_envoy_that_comes_back_keeps_what_its_routes_use_until_it_has_newer_ones() -> None:
    one, two = snapshot(1), snapshot(2, replace(ROUTE, upstream="10.0.0.2:8000"))
    stream = Stream(one, two)
    stream.ask(CLUSTERS, version=str(one.version()))
    stream.ask(ROUTES, "countersign", version=str(one.version()))
    assert stream.exchange.routes == 1
    clusters = stream.sent(CLUSTERS)
    assert names(clusters) == {*one.clusters, *two.clusters}
    stream.ack(clusters)
    assert stream.sent(ROUTES).version.number == 2


def test_nothing_is_sent_while_nothing_may_be_given() -> None:
    stream = Stream()
    stream.ask(CLUSTERS, version="7.0123456789ab+3")
    assert (stream.next(), stream.exchange.wake_in(None, 0)) == (None, None)
    assert stream.claimed == [Version(7, "0123456789ab", 3)]


def test_more_names_than_there_can_be_end_the_stream() -> None:
    with pytest.raises(Malformed):
        Stream(snapshot(1)).ask(CLUSTERS, *["c"] * (MOST_NAMES + 1))


def test_answers_that_never_come_fill_no_memory() -> None:
    stream = Stream(snapshot(1))
    stream.ask(CLUSTERS)
    for number in range(1, 300):
        stream.lying[number] = replace(snapshot(1), number=number)
        stream.sent(CLUSTERS)
    assert len(stream.exchange.used) < 100


# -- rules


@pytest.mark.parametrize("text", ["", "1", "0.0123456789ab", "1.0123456789AB", "1.0123456789ab+", "-1.0123456789ab", "1" * 20])
def test_what_no_server_of_ours_said_is_no_version(text: str) -> None:
    assert parse_version(text) is None


@pytest.mark.parametrize("version", [Version(1, "0123456789ab"), Version(10**14, "0" * 12, 7)])
def test_a_version_reads_back(version: Version) -> None:
    assert parse_version(str(version)) == version


@pytest.mark.parametrize("text", ["18000", "host", "[::1]", ":1", "a b:1", "h:65536", "h:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_listen(text, "COUNTERSIGN_XDS_ADDRESS")
    assert refused.value.code == "bad-setting"


@pytest.mark.parametrize(
    ("text", "certificate", "client_ca", "open_"),
    [
        ("127.0.0.1:1", False, False, True),
        ("localhost:1", False, False, True),
        ("[::1]:1", False, False, True),
        ("0.0.0.0:1", False, False, False),
        ("0.0.0.0:1", True, False, False),
        ("[::]:1", True, True, True),
        ("xds.example:1", False, True, False),
    ],
)
def test_others_reach_it_only_where_both_sides_prove_themselves(
    text: str, certificate: bool, client_ca: bool, open_: bool
) -> None:
    listen = parse_listen(text, "COUNTERSIGN_XDS_ADDRESS")
    if open_:
        return rules.refuse_open(listen, "COUNTERSIGN_XDS_ADDRESS", certificate=certificate, client_ca=client_ca)
    with pytest.raises(Refusal) as refused:
        rules.refuse_open(listen, "COUNTERSIGN_XDS_ADDRESS", certificate=certificate, client_ca=client_ca)
    assert refused.value.code == "not-protected"
    return None


def test_no_endpoint_goes_back_and_one_that_left_is_remembered() -> None:
    floors = rules.risen({"a": 3, "gone": 9}, {"a": 4, "b": 1})
    assert floors == {"a": 4, "b": 1, "gone": 9}
    rules.refuse_older(floors, {"a": 4, "gone": 10, "new": 0})
    for back in ({"a": 3}, {"gone": 8}):
        with pytest.raises(Refusal) as refused:
            rules.refuse_older(floors, back)
        assert refused.value.code == "older-generation"


def test_names_of_envoys() -> None:
    assert all(map(rules.is_node, ("edge-1", "eu/west:7", "a" * 128)))
    assert not any(map(rules.is_node, ("", "a" * 129, "a\nb", " a", "-a", "ü")))
    assert rules.may_connect("edge-1", ())
    assert rules.may_connect("edge-1", ("core", "edge-*"))
    assert not rules.may_connect("stranger", ("core", "edge-*"))


# -- what is given


def test_everything_that_is_rendered_is_understood() -> None:
    routes = [
        make_route("10.0.0.1:8000", endpoint="plain"),
        make_route("a.example:80", {"champion": ((0, 1),), "canary": ()}, endpoint="named"),
        make_route("[::1]:80", {"champion": (), "copy": ()}, endpoint="six", shadow="copy"),
    ]
    for seconds in (30.0, 0.25):
        made = render(routes, seconds)
        compiled.resource(made.routes, ROUTES, "countersign")
        for name, one in made.clusters.items():
            assert compiled.resource(one, CLUSTERS, name)


@pytest.mark.parametrize(
    "broken",
    [
        {"surprise": 1},
        {"connect_timeout": "soon"},
        {"type": "NEW"},
        {"name": "other"},
        {"@type": ROUTES},
        {"@type": "type.googleapis.com/google.protobuf.Struct"},
    ],
    ids=lambda one: next(iter(one)),
)
def test_what_is_not_wholly_understood_is_refused(broken: dict[str, Any]) -> None:
    name, cluster = next(iter(render([ROUTE], 30.0).clusters.items()))
    with pytest.raises(Refusal) as refused:
        compiled.resource({**cluster, **broken}, CLUSTERS, name)
    assert refused.value.code == "bad-snapshot"


@pytest.mark.parametrize("content", [None, [], "x", {}, {"@type": ROUTES}])
def test_what_is_no_resource_is_refused(content: Any) -> None:
    with pytest.raises(Refusal):
        compiled.resource(content, ROUTES, "countersign")
