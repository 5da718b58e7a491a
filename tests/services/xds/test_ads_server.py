"""Both listeners: streams that lie, hang or are too many; the door with and without its token; certificates."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import queue
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.delivery.desired import DesiredRouter, EndpointRoute
from backend.delivery.routers.envoy_ads import EnvoyAdsRouter
from backend.delivery.targets.port import Access
from backend.xds import server, streams
from tests.ads_client import CLUSTERS, ROUTE_NAMES, ROUTES, AdsClient, number_of
from tests.routed import LOOPBACK, make_route
from tests.routed_ads import TOKEN, AdsServer, ads_router, empty_content, serving, settings_of, wait_until

ROUTE = make_route("127.0.0.1:9", endpoint="ep")


@pytest.fixture
def xds(tmp_path: Path) -> Iterator[AdsServer]:
    with serving(settings_of(tmp_path)) as running:
        yield running


def router_of(xds: AdsServer) -> EnvoyAdsRouter:
    return ads_router(xds.door_url, timeout_seconds=0.1)


def push(xds: AdsServer, *routes: EndpointRoute) -> None:
    router_of(xds).push(DesiredRouter({one.endpoint: one for one in routes}))


def envoys(xds: AdsServer) -> dict[str, dict[str, Any]]:
    return {one["node"]: one for one in xds.state()["envoys"]}


# -- streams


def test_each_envoy_gets_the_newest_and_an_endpoint_is_in_force_when_all_took_it(xds: AdsServer) -> None:
    push(xds, ROUTE)
    with AdsClient(xds.ads, "edge-1") as first, AdsClient(xds.ads, "edge-2") as second:
        assert {number_of(one.boot()) for one in (first, second)} == {1}
        wait_until(lambda: [one["routes"] for one in envoys(xds).values()] == [1, 1])
        assert router_of(xds).observe().routes == {"ep": ROUTE}
        newer = replace(ROUTE, generation=2)
        push(xds, newer)
        assert number_of(first.take()) == 2
        wait_until(lambda: envoys(xds)["edge-1"]["routes"] == 2)
        seen = router_of(xds).observe()
        assert seen.routes == {"ep": ROUTE}
        assert {one.envoy: one.state for one in seen.answers} == {"edge-1": "taken", "edge-2": "waiting"}
        second.nack(second.get(), "no such thing")
        wait_until(lambda: envoys(xds)["edge-2"]["refused"] is not None)
        seen = router_of(xds).observe()
        assert (seen.routes, seen.rejected) == ({"ep": ROUTE}, "1 of 2 Envoys, edge-2: no such thing")
        push(xds, replace(ROUTE, generation=3))
        assert {number_of(one.take()) for one in (first, second)} == {3}
        wait_until(lambda: [one["routes"] for one in envoys(xds).values()] == [3, 3])
        seen = router_of(xds).observe()
        assert (seen.routes["ep"].generation, seen.rejected) == (3, "")


def test_one_that_takes_nothing_holds_no_other_back_and_gets_only_the_newest_in_the_end(xds: AdsServer) -> None:
    push(xds, ROUTE)
    with AdsClient(xds.ads, "slow") as slow, AdsClient(xds.ads, "quick") as quick:
        slow.boot()
        quick.boot()
        for generation in range(2, 8):
            push(xds, replace(ROUTE, generation=generation, upstream=f"127.0.0.1:{generation}"))
            assert number_of(quick.take()) == generation
        assert {number_of(slow.get()) for _ in range(6)} == set(range(2, 8))
        with pytest.raises(queue.Empty):
            slow.get(0.05)
        assert envoys(xds)["slow"]["routes"] == 1


def test_one_that_left_still_counts_for_a_while(tmp_path: Path) -> None:
    with serving(settings_of(tmp_path)) as xds:
        push(xds, ROUTE)
        with AdsClient(xds.ads, "stays") as stays:
            with AdsClient(xds.ads, "leaves") as leaves:
                stays.boot()
                leaves.boot()
                wait_until(lambda: [one["routes"] for one in envoys(xds).values()] == [1, 1])
            wait_until(lambda: not envoys(xds)["leaves"]["connected"])
            push(xds, replace(ROUTE, generation=2))
            stays.take()
            wait_until(lambda: envoys(xds)["stays"]["routes"] == 2)
            seen = router_of(xds).observe()
            assert (seen.routes["ep"].generation, seen.answers[0].state) == (1, "gone")
            xds.hub.fleet.gone_seconds = 0.0
            assert "leaves" not in envoys(xds)
            assert router_of(xds).observe().routes["ep"].generation == 2


def test_after_a_restart_those_that_are_not_back_yet_still_count(tmp_path: Path) -> None:
    with serving(settings_of(tmp_path)) as xds:
        push(xds, ROUTE)
        with AdsClient(xds.ads, "edge-1") as first:
            first.boot()
            wait_until(lambda: envoys(xds)["edge-1"]["routes"] == 1)
    with serving(settings_of(tmp_path)) as xds:
        seen = router_of(xds).observe()
        assert ([one.state for one in seen.answers], seen.routes) == (["taken"], {"ep": ROUTE})
        push(xds, replace(ROUTE, generation=2))
        assert [one.state for one in router_of(xds).observe().answers] == ["gone"]


def test_a_restarted_one_whose_newest_is_damaged_gives_nothing_until_it_is_told_again(tmp_path: Path) -> None:
    with serving(settings_of(tmp_path)) as xds:
        push(xds, ROUTE)
        push(xds, replace(ROUTE, generation=2))
    file = tmp_path / "xds" / f"{2:015d}.json"
    file.write_bytes(file.read_bytes()[:-3])
    with serving(settings_of(tmp_path)) as xds, AdsClient(xds.ads, "edge-1") as envoy:
        envoy.ask(CLUSTERS)
        with pytest.raises(queue.Empty):
            envoy.get(0.1)
        assert router_of(xds).observe().routes == {}
        assert any("damaged" in one for one in router_of(xds).inspect().warnings)
        push(xds, replace(ROUTE, generation=2))
        clusters = envoy.get()
        assert number_of(clusters) == 3


def test_an_envoy_that_has_a_later_one_than_lies_here_stops_all_until_the_next_is_beyond_it(xds: AdsServer) -> None:
    push(xds, ROUTE)
    with AdsClient(xds.ads, "knows") as knows, AdsClient(xds.ads, "new") as new:
        knows.ask(CLUSTERS, version="41.0123456789ab")
        wait_until(lambda: not xds.state()["given"])
        new.ask(CLUSTERS)
        for one in (knows, new):
            with pytest.raises(queue.Empty):
                one.get(0.05)
        push(xds, ROUTE)
        assert {number_of(one.get()) for one in (knows, new)} == {42}


@pytest.mark.parametrize("node", ["", "with space", "a" * 129])
def test_a_stream_without_a_usable_name_is_ended(xds: AdsServer, node: str) -> None:
    with AdsClient(xds.ads, node) as envoy:
        envoy.ask(CLUSTERS)
        with pytest.raises(grpc.RpcError) as ended:
            envoy.get()
        assert ended.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert envoys(xds) == {}
    assert any("turned away" in one for one in xds.state()["warnings"])


def test_only_named_envoys_may_connect(tmp_path: Path) -> None:
    with serving(settings_of(tmp_path, xds_nodes="edge-*, core")) as xds:
        xds.put(empty_content())
        with AdsClient(xds.ads, "edge-7") as edge, AdsClient(xds.ads, "stranger") as stranger:
            edge.ask(CLUSTERS)
            assert number_of(edge.get()) == 1
            stranger.ask(CLUSTERS)
            with pytest.raises(grpc.RpcError) as ended:
                stranger.get()
            assert ended.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_two_of_one_name_are_both_served_and_told_of(xds: AdsServer) -> None:
    push(xds, ROUTE)
    with AdsClient(xds.ads, "edge-1") as one, AdsClient(xds.ads, "edge-1") as other:
        one.boot()
        other.boot()
        wait_until(lambda: len(xds.state()["envoys"]) == 2)
        assert any("2 streams call themselves edge-1" in line for line in router_of(xds).inspect().warnings)


def test_more_than_allowed_and_larger_than_allowed_are_turned_away(tmp_path: Path) -> None:
    with serving(settings_of(tmp_path, xds_streams=1)) as xds:
        xds.put(empty_content())
        with AdsClient(xds.ads, "edge-1") as first:
            first.ask(CLUSTERS)
            first.get()
            with AdsClient(xds.ads, "edge-2") as second, pytest.raises(grpc.RpcError) as ended:
                second.get()
            assert ended.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            first.ask(ROUTES, "n" * (streams.MOST_BYTES + 1))
            with pytest.raises(grpc.RpcError) as ended:
                first.get()
            assert ended.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_more_names_than_there_are_end_the_stream(xds: AdsServer) -> None:
    with AdsClient(xds.ads, "edge-1") as envoy:
        envoy.ask(CLUSTERS)
        envoy.ask(ROUTES, *(f"r{number}" for number in range(200)))
        with pytest.raises(grpc.RpcError) as ended:
            envoy.get()
        assert ended.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    wait_until(lambda: envoys(xds) == {})


# -- the adapter and the door


def test_without_any_envoy_nothing_is_in_force_and_a_push_is_kept_for_the_first(xds: AdsServer) -> None:
    for _ in range(2):
        seen = router_of(xds).observe()
        assert (seen.routes, [one.state for one in seen.answers]) == ({}, ["absent"])
        push(xds, ROUTE)
    assert xds.state()["number"] == 1
    facts = router_of(xds).inspect()
    assert (facts.live, facts.version) == (False, "none connected")


def test_a_worker_that_is_late_or_has_an_older_database_is_refused(xds: AdsServer) -> None:
    push(xds, replace(ROUTE, generation=5))
    with pytest.raises(Refusal) as refused:
        push(xds, replace(ROUTE, generation=4))
    assert refused.value.code == "older-generation"
    assert "docs/fleets.md" in refused.value.remedy
    assert xds.state()["number"] == 1


def test_a_wrong_or_missing_token_opens_nothing(xds: AdsServer) -> None:
    with httpx.Client(base_url=xds.door_url, trust_env=False) as client:
        for headers in ({}, {"authorization": "Bearer"}, {"authorization": f"Bearer {TOKEN}x"}, {"authorization": TOKEN}):
            for method, path in (("GET", "/v1/state"), ("GET", "/v1/snapshots/1"), ("PUT", "/v1/snapshots")):
                assert client.request(method, path, headers=headers, content=b"{}").status_code == 401
    for token in (None, "another-token-of-32-characters-or-so", "ümläut\n"):
        router = EnvoyAdsRouter.connect({"door_url": xds.door_url}, Access("r", token, Guard(LOOPBACK)))
        with pytest.raises(Refusal) as refused:
            router.observe()
        assert refused.value.code == "credential-refused"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad-json"),
        (b"[]", "bad-snapshot"),
        (b'{"base": 0}', "bad-snapshot"),
        (b'{"base": "0"}', "bad-snapshot"),
        (b'{"base": 0, "base": 1}', "bad-json"),
        (json.dumps({**empty_content(), "base": 7}).encode(), "snapshot-moved"),
    ],
)
def test_what_is_no_snapshot_is_refused_at_the_door(xds: AdsServer, body: bytes, code: str) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    answer = httpx.put(f"{xds.door_url}/v1/snapshots", content=body, headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (409 if code == "snapshot-moved" else 400, code)
    assert xds.state()["number"] == 0


def test_an_ads_server_that_is_gone_fails_in_our_words(tmp_path: Path) -> None:
    with serving(settings_of(tmp_path)) as xds:
        url = xds.door_url
    for verb in (lambda one: one.observe(), lambda one: one.inspect(), lambda one: one.push(DesiredRouter({}))):
        with pytest.raises(ExternalFailure, match="cannot be reached") as failed:
            verb(ads_router(url))
        assert failed.value.retryable


def test_without_admin_addresses_nothing_is_counted(xds: AdsServer) -> None:
    assert router_of(xds).traffic() == ()
    assert not EnvoyAdsRouter.abilities.counts


# -- settings


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"xds_token": None}, "no-token"),
        ({"xds_token": "short"}, "no-token"),
        ({"xds_token": "with space " * 4}, "no-token"),
        ({"xds_address": "0.0.0.0:0"}, "not-protected"),
        ({"xds_door_address": "0.0.0.0:0"}, "not-protected"),
        ({"xds_address": "nowhere"}, "bad-setting"),
        ({"xds_certificate_file": "/c.pem"}, "bad-setting"),
        ({"xds_client_ca_file": "/c.pem"}, "bad-setting"),
    ],
)
def test_settings_that_would_leave_it_open_are_refused(tmp_path: Path, fields: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal) as refused:
        server.wanted(settings_of(tmp_path, **fields))
    assert refused.value.code == code


def test_a_port_that_somebody_has_is_told(xds: AdsServer, tmp_path: Path) -> None:
    taken = {"xds_address": f"127.0.0.1:{xds.ads[1]}", "xds_door_address": xds.door_url.removeprefix("http://")}
    for name, address in taken.items():
        with pytest.raises(ExternalFailure, match="cannot be listened at"):
            asyncio.run(_begun(settings_of(tmp_path / name, **{name: address})))


async def _begun(settings: Any) -> None:
    async with server.running(server.wanted(settings)):
        pass


# -- certificates


class Authority:
    """Signs certificates for the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca of the tests")])
        self.pem = self._write("ca.pem", self._signed(self.name, self.key, is_ca=True))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        plain = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        return self._write(f"{name}.pem", self._signed(subject, key)), self._write(f"{name}.key", pem)

    def _write(self, name: str, content: bytes) -> Path:
        (self.folder / name).write_bytes(content)
        return self.folder / name

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_ca: bool = False) -> bytes:
        now = dt.datetime.now(dt.UTC)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        begins, ends = now - dt.timedelta(hours=1), now + dt.timedelta(hours=1)
        made = x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number(), begins, ends)
        return (
            made.add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(names, critical=False)
            .sign(self.key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )


def test_only_envoys_with_a_certificate_are_told_anything(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(_made(tmp_path / "theirs"))
    certificate, key = ours.issue("localhost")
    files = {"xds_certificate_file": certificate, "xds_key_file": key, "xds_client_ca_file": ours.pem}
    with serving(settings_of(tmp_path, **files)) as xds:
        xds.put(empty_content())
        place = ("localhost", xds.ads[1])
        with AdsClient(place, "edge-1", _shows(ours, *ours.issue("edge-1"))) as envoy:
            envoy.ask(CLUSTERS)
            assert number_of(envoy.get()) == 1
            assert envoys(xds)["edge-1"]["peer"] == "edge-1"
        for credentials in (_shows(ours), _shows(ours, *theirs.issue("edge-2")), None):
            with AdsClient(place, "edge-2", credentials) as stranger:
                stranger.ask(ROUTES, *ROUTE_NAMES)
                with pytest.raises(grpc.RpcError) as ended:
                    stranger.get(10)
                assert ended.value.code() == grpc.StatusCode.UNAVAILABLE


def _shows(authority: Authority, certificate: Path | None = None, key: Path | None = None) -> grpc.ChannelCredentials:
    shown = (key.read_bytes(), certificate.read_bytes()) if key and certificate else (None, None)
    return grpc.ssl_channel_credentials(authority.pem.read_bytes(), *shown)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
