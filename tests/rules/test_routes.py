"""Routes in words, as Envoy's configuration, and what an Envoy's own configuration lacks. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import Refusal
from backend.delivery.desired import EndpointRoute
from backend.delivery.routers import words
from backend.delivery.routers.envoy_inspect import facts
from backend.delivery.routers.envoy_readback import InForce, seen
from backend.delivery.routers.envoy_render import is_ours, lua_string, render
from backend.embedded.envoy import bootstrap
from tests.routed import make_route

ROUTE = make_route("10.0.0.1:8000", endpoint="ep", generation=3)


def as_floats(value: Any) -> Any:
    """JSON as a router gives it back: every number is a floating-point one."""
    return json.loads(json.dumps(value), parse_int=float)


@given(salt=st.text(st.characters(exclude_categories=["Cs"]), max_size=60), generation=st.integers(0, 2**53 - 1))
def test_words_say_the_whole_route(salt: str, generation: int) -> None:
    route = replace(ROUTE, salt=salt, generation=generation)
    assert words.from_words(as_floats(words.to_words(route))) == route


def a_key_less(said: Any) -> None:
    del said["salt"]


EDITS: dict[str, Callable[[Any], object]] = {
    "a key less": a_key_less,
    "a key more": lambda said: said.update(surprise=1),
    "another schema": lambda said: said.update(schema=2),
    "half a version": lambda said: said["arms"][0].update(version=1.5),
    "a truth for a number": lambda said: said["arms"][0].update(version=True),
    "a number for a name": lambda said: said.update(endpoint=7),
    "no arms": lambda said: said.update(arms=None),
    "ranges that overlap": lambda said: said["arms"][0].update(ranges=[[0, 10_000]]),
    "a range of three": lambda said: said["arms"][0].update(ranges=[[0, 1, 2]]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_words_that_are_not_a_sound_route_are_none(edit: str) -> None:
    said = words.to_words(ROUTE)
    EDITS[edit](said)
    assert words.from_words(said) is None


@pytest.mark.parametrize("said", [None, 3, "words", [], {}])
def test_what_are_no_words_at_all_is_none(said: Any) -> None:
    assert words.from_words(said) is None


@pytest.mark.parametrize("address", ["10.0.0.1:80", "triton.example:8000", "[::1]:8000", "localhost:65535"])
def test_addresses_of_servers(address: str) -> None:
    assert words.is_address(address)


@pytest.mark.parametrize(
    "address", ["", "a", "a:", ":80", "a:0", "a:65536", "a b:80", "http://a:80", "a:80/x", "[zz]:80", "a:8\n"]
)
def test_what_is_not_an_address(address: str) -> None:
    assert not words.is_address(address)


def test_a_refusal_says_what_is_wrong_without_the_rest_of_a_long_name() -> None:
    with pytest.raises(Refusal) as refused:
        words.check(replace(ROUTE, model="x/" * 5000))
    assert "cannot stand in a path" in refused.value.message
    assert len(refused.value.message) < 300


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_leaves_a_lua_literal(text: str) -> None:
    literal = lua_string(text)
    inside = literal[1:-1]
    assert literal[0] == literal[-1] == '"'
    assert not set(inside) & set('"\n\r')
    decoded = re.sub(rb"\\([0-9]{3})", lambda match: bytes([int(match[1])]), inside.encode())
    assert decoded == text.encode()


def test_the_same_routes_are_the_same_configuration_in_whatever_order() -> None:
    other = make_route("b.example:80", endpoint="other")
    assert render([ROUTE, other], 30) == render([other, ROUTE], 30)


def test_what_differs_in_one_thing_is_another_configuration() -> None:
    variants = [
        replace(ROUTE, generation=4),
        replace(ROUTE, salt="b"),
        replace(ROUTE, unit_header="x-b"),
        replace(ROUTE, model="b"),
        replace(ROUTE, upstream="10.0.0.1:8001"),
        replace(ROUTE, champion="canary"),
        replace(ROUTE, arms=(replace(ROUTE.arms[0], ranges=()), *ROUTE.arms[1:])),
        replace(ROUTE, arms=(replace(ROUTE.arms[0], version=99), *ROUTE.arms[1:])),
        replace(ROUTE, arms=(replace(ROUTE.arms[0], served_model="b"), *ROUTE.arms[1:])),
    ]
    assert len({json.dumps(render([each], 30).routes) for each in [ROUTE, *variants]}) == len(variants) + 1


def test_a_clusters_name_says_its_content() -> None:
    rendered = render([ROUTE], 30)
    assert len(rendered.clusters) == 4
    for name, cluster in rendered.clusters.items():
        assert cluster["name"] == name
        assert is_ours(cluster)
        assert not is_ours({**cluster, "connect_timeout": "9s"})
    assert not is_ours({})


def test_ipv6_and_names_are_addressed_as_what_they_are() -> None:
    def server(route: EndpointRoute) -> tuple[str, str]:
        cluster = next(iter(render([route], 30).clusters.values()))
        address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        return cluster["type"], address["address"]

    assert server(replace(ROUTE, upstream="[::1]:8000")) == ("STATIC", "::1")
    assert server(replace(ROUTE, upstream="triton.example:8000")) == ("STRICT_DNS", "triton.example")


def test_what_is_in_force_reads_back() -> None:
    rendered = render([ROUTE], 30)
    told = seen(InForce(rendered.routes, rendered.clusters), 30)
    assert told.routes == {"ep": ROUTE}
    assert seen(InForce(), 30).routes == {}


# -- an Envoy's own configuration


SERVER = {"version": "abc/1.40.0/Clean/RELEASE/BoringSSL", "state": "LIVE", "node": {}}
LOOPBACK = "http://127.0.0.1:1"


def a_dump() -> Any:
    (listener,) = bootstrap(Path("/e"), 1, 2, "id")["static_resources"]["listeners"]
    return {"configs": [{"static_listeners": [{"listener": listener}]}]}


def the_manager(dump: Any) -> Any:
    return dump["configs"][0]["static_listeners"][0]["listener"]["filter_chains"][0]["filters"][0]["typed_config"]


def test_our_own_listener_lacks_nothing() -> None:
    told = facts(SERVER, a_dump(), LOOPBACK)
    assert (told.product, told.version, told.live, told.warnings) == ("Envoy", "1.40.0", True, ())
    assert not facts({**SERVER, "state": "DRAINING"}, a_dump(), LOOPBACK).live


LACKS: dict[str, Callable[[Any], object]] = {
    "takes its routes from": lambda manager: manager["rds"].update(route_config_name="theirs"),
    "every request goes to the champion": lambda manager: manager.update(http_filters=[]),
    "lets callers forge x-cs-arm, x-cs-assigned-arm, x-cs-bucket": lambda manager: manager.pop(
        "early_header_mutation_extensions"
    ),
    "callers' own x-envoy-* headers": lambda manager: manager.update(internal_address_config={}),
    "does not normalise paths": lambda manager: manager.pop("normalize_path"),
}


@pytest.mark.parametrize("says", LACKS)
def test_what_a_listener_lacks_is_a_warning(says: str) -> None:
    dump = a_dump()
    LACKS[says](the_manager(dump))
    (warning,) = facts(SERVER, dump, LOOPBACK).warnings
    assert says in warning


def test_an_older_envoy_and_an_open_admin_endpoint_are_warnings() -> None:
    lua = {"category": "envoy.filters.http.upstream", "name": "envoy.filters.http.lua"}
    told = facts({**SERVER, "node": {"extensions": [lua]}}, a_dump(), "http://envoy.example:9901")
    older, admin = told.warnings
    assert "priority_group" in older
    assert "1.40" in older
    assert "without authentication at envoy.example" in admin
