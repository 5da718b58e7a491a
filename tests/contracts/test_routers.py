"""One suite for every router: in memory, in memory shared by a file, a real Envoy with files, and one told by ADS.

What only one of them can show (faults by script; HTTP as strangers speak it; files changed by hand) follows below.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.delivery import buckets
from backend.delivery.desired import DesiredRouter, EndpointRoute
from backend.delivery.door import RoutedAnswer
from backend.delivery.routers.assignment import MAX_UNIT_BYTES, assign
from backend.delivery.routers.memory_world import MemoryRouterWorld
from backend.delivery.routers.names import ROUTERS, build, door, router_type
from backend.delivery.routers.port import ArmTraffic
from backend.delivery.targets.memory_server import Fault
from backend.embedded.envoy import EnvoyServer
from backend.embedded.supervisor import Supervisor
from tests.inference_server import InferenceServer
from tests.routed import ROW, SHARES_90_5_5, EnvoyRouted, MemoryRouted, World, make_route
from tests.routed_ads import AdsRouted, AdsServer

CASES = ("memory", "memory-file", "envoy", "envoy-ads")
WORLDS = {"envoy": "envoy_world", "envoy-ads": "ads_world"}


@pytest.fixture
def envoy_world(envoy_server: EnvoyServer, runtime_group: Supervisor) -> Iterator[EnvoyRouted]:
    with InferenceServer() as server:
        world = EnvoyRouted.make(envoy_server, server, runtime_group.folder / "envoy.log")
        yield _with_three_versions(world)
        world.router.push(DesiredRouter({}))


@pytest.fixture
def ads_world(ads_server: AdsServer, fleet_envoy: EnvoyServer) -> Iterator[AdsRouted]:
    with InferenceServer() as server:
        world = AdsRouted.make(ads_server, fleet_envoy, server)
        yield _with_three_versions(world)
        world.router.push(DesiredRouter({}))


@pytest.fixture
def memory(tmp_path: Path) -> MemoryRouted:
    return _with_three_versions(MemoryRouted.make(tmp_path, shared=False))


@pytest.fixture(params=CASES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param in WORLDS:
        found: World = request.getfixturevalue(WORLDS[request.param])
        return found
    return _with_three_versions(MemoryRouted.make(tmp_path, shared=request.param == "memory-file"))


def _with_three_versions(world: Any) -> Any:
    for version in (1, 2, 3):
        world.serve(version, 10.0 * version)
    return world


def units(world: World) -> list[str]:
    return [f"unit {number}" for number in range(world.units)]


def push(world: World, *routes: EndpointRoute) -> None:
    world.router.push(DesiredRouter({route.endpoint: route for route in routes}))


def ask(world: World, route: EndpointRoute, unit: str) -> RoutedAnswer:
    return world.door.ask(route, ROW, {"max_batch_size": 0}, unit)


def offset_of(answer: RoutedAnswer) -> float:
    first: float = answer.answer.outputs["y"][0]
    return first - ROW["x"][0]


def shared_out(route: EndpointRoute, **shares: int) -> EndpointRoute:
    """The route's next generation with these shares, reached by the fewest moves."""
    ranges = buckets.allocate({arm.arm: arm.ranges for arm in route.arms}, shares)
    arms = tuple(replace(arm, ranges=ranges[arm.arm]) for arm in route.arms)
    return replace(route, arms=arms, generation=route.generation + 1)


def count(world: World, endpoint: str, arm: str) -> tuple[int, int, int]:
    """Requests, failures, fallbacks."""
    found = [one for one in world.router.traffic() if (one.endpoint, one.arm) == (endpoint, arm)]
    return (found[0].requests, found[0].failures, found[0].fallbacks) if found else (0, 0, 0)


# -- splitting


def test_each_unit_is_answered_by_the_arm_that_owns_its_bucket(world: World) -> None:
    route = make_route(world.upstream, generation=7)
    push(world, route)
    arms = {arm.arm: arm for arm in route.arms}
    seen: Counter[str] = Counter()
    for unit in units(world):
        got = ask(world, route, unit)
        wanted = assign(route, unit)
        assert (got.arm, got.assigned_arm, got.bucket) == (wanted.arm, wanted.arm, buckets.bucket(route.salt, unit))
        assert (got.version, got.generation) == (str(arms[wanted.arm].version), "7")
        assert offset_of(got) == 10.0 * arms[wanted.arm].served_version
        seen[got.arm] += 1
    assert set(seen) == set(SHARES_90_5_5)
    assert {arm: count(world, route.endpoint, arm) for arm in seen} == {arm: (n, 0, 0) for arm, n in seen.items()}


def test_units_move_only_from_an_arm_that_shrinks_to_one_that_grows(world: World) -> None:
    route = make_route(world.upstream)
    push(world, route)
    before = {unit: ask(world, route, unit).arm for unit in units(world)}
    wider = shared_out(route, champion=5000, baseline=2500, canary=2500)
    push(world, wider)
    after = {unit: ask(world, wider, unit).arm for unit in units(world)}
    moves = Counter((before[unit], after[unit]) for unit in units(world) if before[unit] != after[unit])
    assert set(moves) == {("champion", "baseline"), ("champion", "canary")}
    assert sum(moves.values()) == sum(arm == "champion" for arm in before.values()) - Counter(after.values())["champion"]


def test_two_salts_split_the_same_units_independently(world: World) -> None:
    half = {"champion": ((0, 5000),), "canary": ((5000, 10_000),)}
    first, second = (make_route(world.upstream, half, salt=salt) for salt in ("exp-2", "exp-3"))
    push(world, first, second)
    cells = Counter((ask(world, first, unit).arm, ask(world, second, unit).arm) for unit in units(world))
    assert len(cells) == 4
    assert min(cells.values()) > 0.5 * world.units / 4


@pytest.mark.parametrize("unit", ["", "u" * (MAX_UNIT_BYTES + 1), "ü" * (MAX_UNIT_BYTES // 2 + 1)])
def test_a_request_without_a_usable_unit_goes_to_the_champion(world: World, unit: str) -> None:
    route = make_route(world.upstream, {"champion": ((0, 1),), "canary": ((1, 10_000),)})
    push(world, route)
    got = ask(world, route, unit)
    assert (got.arm, got.assigned_arm, got.bucket) == ("champion", "champion", None)


def test_the_longest_unit_is_still_one(world: World) -> None:
    route = make_route(world.upstream)
    push(world, route)
    assert ask(world, route, "u" * MAX_UNIT_BYTES).bucket == buckets.bucket(route.salt, "u" * MAX_UNIT_BYTES)


def test_the_champion_answers_for_buckets_that_nobody_owns(world: World) -> None:
    route = make_route(world.upstream, {"champion": (), "canary": ((0, 1),)}, salt="s")
    push(world, route)
    got = ask(world, route, "unit 1")
    assert (got.arm, got.bucket) == ("champion", buckets.bucket("s", "unit 1"))


def test_a_range_begins_with_its_first_bucket_and_ends_before_its_last(world: World) -> None:
    number = buckets.bucket("exp-1", "u")
    for ranges, arm in ((((number, number + 1),), "canary"), (((number - 1, number), (number + 1, number + 2)), "champion")):
        route = make_route(world.upstream, {"champion": (), "canary": ranges})
        push(world, route)
        assert ask(world, route, "u").arm == arm


def test_a_new_generation_is_stamped_from_its_push_on(world: World) -> None:
    route = make_route(world.upstream)
    for generation in (1, 2):
        push(world, replace(route, generation=generation))
        assert ask(world, route, "u").generation == str(generation)


# -- pushing and reading back


def test_what_is_in_force_reads_back_as_it_was_pushed(world: World) -> None:
    one, two = make_route(world.upstream, shadow=None), make_route(world.upstream, salt='"]]..\0ü\n%REQ(x)%')
    push(world, one, two)
    seen = world.router.observe()
    assert seen.routes == {one.endpoint: one, two.endpoint: two}
    assert (seen.foreign, seen.rejected) == ((), "")
    push(world, replace(one, generation=2), two)
    assert world.router.observe().digest != seen.digest
    newer = replace(one, generation=3)
    push(world, newer)
    assert world.router.observe().routes == {one.endpoint: newer}


def test_pushing_the_same_again_writes_nothing(world: World) -> None:
    route = make_route(world.upstream)
    push(world, route)
    push(world, shared_out(route, champion=10_000, baseline=0, canary=0))
    before, seen = world.writes(), world.router.observe()
    push(world, shared_out(route, champion=10_000, baseline=0, canary=0))
    assert world.writes() == before
    assert world.router.observe() == seen


def test_taking_one_endpoint_out_leaves_the_others_as_they_were(world: World) -> None:
    staying, leaving = make_route(world.upstream), make_route(world.upstream)
    push(world, staying, leaving)
    ask(world, staying, "u")
    push(world, staying)
    assert world.router.observe().routes == {staying.endpoint: staying}
    assert ask(world, staying, "u").generation == "1"
    assert sum(count(world, staying.endpoint, arm.arm)[0] for arm in staying.arms) == 2
    with pytest.raises(ExternalFailure, match="404"):
        ask(world, leaving, "u")


@pytest.mark.parametrize("field", ["ranges", "salt", "unit_header", "served version", "upstream"])
def test_a_change_by_hand_is_told_as_what_is_really_in_force(world: World, field: str) -> None:
    route = make_route(world.upstream, {"champion": ((0, 9000),), "canary": ((9000, 10_000),)})
    push(world, route)
    canary, champion = route.arms
    wider = (replace(canary, ranges=((1000, 10_000),)), replace(champion, ranges=((0, 1000),)))
    changes: dict[str, dict[str, Any]] = {
        "ranges": {"arms": wider},
        "served version": {"arms": (replace(canary, served_version=3), champion)},
        "upstream": {"upstream": f"{world.upstream.rpartition(':')[0]}:1"},
        "salt": {"salt": "another"},
        "unit_header": {"unit_header": "x-other"},
    }
    world.change_by_hand(route.endpoint, changes[field])
    found = world.router.observe().routes[route.endpoint]
    assert found == replace(route, **changes[field])
    push(world, route)
    assert world.router.observe().routes == {route.endpoint: route}


def test_a_refused_configuration_is_told_and_the_last_good_one_serves(world: World) -> None:
    route = make_route(world.upstream)
    push(world, route)
    word = world.refuse_newest()
    seen = world.router.observe()
    assert word in seen.rejected
    assert seen.rejected.isprintable()
    assert len(seen.rejected) <= 300
    assert seen.routes == {route.endpoint: route}
    assert ask(world, route, "u").generation == "1"
    push(world, replace(route, generation=2))
    assert world.router.observe().rejected == ""
    assert ask(world, route, "u").generation == "2"


def test_what_is_not_ours_is_listed_and_no_route_passes_for_ours_behind_it(world: World) -> None:
    route = make_route(world.upstream)
    push(world, route)
    world.add_stranger()
    seen = world.router.observe()
    assert seen.foreign == ("virtual host stranger",)
    assert seen.routes[route.endpoint] != route
    push(world, route)
    assert world.router.observe().foreign == ()
    assert world.router.observe().routes == {route.endpoint: route}


BAD = {
    "endpoint": "../admin",
    "model": "a/b",
    "upstream": "not an address",
    "salt": "\ud800",
    "unit_header": "x-unit: forged",
    "champion": "nobody",
    "shadow": "champion",
}


@pytest.mark.parametrize("field", BAD)
def test_a_route_that_cannot_be_carried_is_refused_before_anything_changes(world: World, field: str) -> None:
    good = make_route(world.upstream)
    push(world, good)
    before = world.writes()
    with pytest.raises(Refusal) as refused:
        push(world, good, make_route(world.upstream, **{field: BAD[field]}))
    assert refused.value.code == "bad-route"
    assert world.writes() == before
    assert world.router.observe().routes == {good.endpoint: good}


@pytest.mark.parametrize(
    "arms",
    [{"served_model": 'm"]]'}, {"arm": "a b"}, {"served_version": 0}, {"ranges": ((0, 9001),)}, {"ranges": ((5, 5),)}],
    ids=lambda fields: next(iter(fields)),
)
def test_an_arm_that_cannot_be_carried_is_refused(world: World, arms: dict[str, Any]) -> None:
    route = make_route(world.upstream)
    changed = tuple(replace(arm, **arms) if arm.arm == "canary" else arm for arm in route.arms)
    with pytest.raises(Refusal) as refused:
        push(world, replace(route, arms=changed))
    assert refused.value.code == "bad-route"


def test_a_route_under_another_endpoints_name_is_refused(world: World) -> None:
    with pytest.raises(Refusal) as refused:
        world.router.push(DesiredRouter({"other": make_route(world.upstream)}))
    assert refused.value.code == "bad-route"


def test_no_request_fails_while_routes_are_pushed(world: World) -> None:
    route = make_route(world.upstream, {"champion": ((0, 9000),), "canary": ((9000, 10_000),)})
    push(world, route)
    stop, failed, answered = threading.Event(), [], Counter[str]()

    def client(name: int) -> None:
        while not stop.is_set():
            try:
                answered[ask(world, route, f"unit {name} {sum(answered.values())}").generation] += 1
            except Exception as error:  # whatever it is, it is what this test looks for
                failed.append(error)

    clients = [threading.Thread(target=client, args=(name,)) for name in range(3)]
    for each in clients:
        each.start()
    for step in range(1, 11):
        share = 9000 if step % 2 else 1000
        route = shared_out(route, champion=share, canary=10_000 - share)
        push(world, route, *([make_route(world.upstream)] if step % 3 else []))
        before = sum(answered.values())
        while sum(answered.values()) < before + max(world.units // 5, 10) and not failed:
            stop.wait(0.002)
    stop.set()
    for each in clients:
        each.join()
    assert failed == []
    assert sum(answered.values()) >= world.units
    assert len(answered) == 10 + ("1" in answered)


# -- dead arms and shadows


def test_the_champion_answers_for_a_dead_arm_and_the_failure_stays_with_the_arm(world: World) -> None:
    route = make_route(world.upstream, {"champion": (), "canary": ((0, 10_000),)})
    push(world, route)
    assert ask(world, route, "u").arm == "canary"
    world.kill(1)
    for _ in range(3):
        got = ask(world, route, "u")
        assert (got.arm, got.version, got.assigned_arm) == ("champion", "12", "canary")
        assert offset_of(got) == 20.0
    assert count(world, route.endpoint, "canary") == (4, 3, 3)
    assert count(world, route.endpoint, "champion") == (0, 0, 0)
    world.serve(1, 10.0)
    assert ask(world, route, "u").arm == "canary"


def test_nobody_answers_for_a_dead_champion(world: World) -> None:
    route = make_route(world.upstream, {"champion": ((0, 10_000),), "canary": ()})
    push(world, route)
    world.kill(2)
    with pytest.raises(ExternalFailure) as failed:
        ask(world, route, "u")
    assert failed.value.system == "router r"
    assert count(world, route.endpoint, "champion") == (1, 1, 0)
    assert count(world, route.endpoint, "canary") == (0, 0, 0)


def test_a_shadow_gets_copies_and_answers_nobody(world: World) -> None:
    route = make_route(world.upstream, {"champion": ((0, 5000),), "canary": ((5000, 10_000),), "shadow": ()}, shadow="shadow")
    push(world, route)
    assert {ask(world, route, unit).arm for unit in units(world)[:40]} == {"champion", "canary"}
    wait_for(lambda: world.requests_of(3) == 40)
    world.kill(3)
    assert all(ask(world, route, unit).arm != "shadow" for unit in units(world)[:20])
    wait_for(lambda: count(world, route.endpoint, "shadow") == (60, 20, 0))


def wait_for(holds: Any, seconds: float = 10.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        threading.Event().wait(0.02)
    assert holds()


# -- it says what it is, and fails in our words


def test_it_says_what_it_is(world: World) -> None:
    facts = world.router.inspect()
    assert facts.live
    assert facts.product
    assert facts.version
    assert facts.warnings == ()


# -- the registry of names


def test_names_lead_to_adapters_and_never_to_a_default() -> None:
    assert set(ROUTERS) == {kind.kind for kind in ROUTERS.values()}
    with pytest.raises(Refusal) as refused:
        router_type("envoyy")
    assert refused.value.code == "unknown-router"
    assert "memory" in refused.value.remedy


ENVOY = {"routes_file": "/r/rds.json", "clusters_file": "/c/cds.json", "admin_url": "http://127.0.0.1:1"}
BAD_SETTINGS = [
    ("memory", {"surprise": 1}, "surprise"),
    ("memory", {"name": 7}, "name"),
    ("envoy", {}, "routes_file"),
    ("envoy", {**ENVOY, "routes_file": "rds.json"}, "routes_file"),
    ("envoy", {**ENVOY, "clusters_file": "/etc/passwd"}, "clusters_file"),
    ("envoy", {**ENVOY, "clusters_file": "/r/rds.json"}, "settings"),
    ("envoy", {**ENVOY, "admin_url": "ftp://127.0.0.1"}, "admin_url"),
    ("envoy", {**ENVOY, "admin_url": "http://a/?b"}, "admin_url"),
    ("envoy", {**ENVOY, "timeout_seconds": 0}, "timeout_seconds"),
]


@pytest.mark.parametrize(("kind", "settings", "field"), BAD_SETTINGS)
def test_bad_settings_name_the_field(kind: str, settings: dict[str, Any], field: str) -> None:
    for make in (
        lambda: build(kind, settings, None, Guard(), name="r"),
        lambda: door(kind, settings, "http://127.0.0.1:1", Guard(), name="r"),
    ):
        with pytest.raises(Refusal) as refused:
            make()
        assert refused.value.code == "bad-setting"
        assert field in str(refused.value)


def test_the_door_and_the_router_of_one_name_are_in_one_world() -> None:
    made = build("memory", {"name": "one-world"}, None, Guard())
    assert isinstance(made, ROUTERS["memory"])
    route = make_route("memory:nowhere")
    made.push(DesiredRouter({route.endpoint: route}))
    with pytest.raises(ExternalFailure, match="answered 503"):
        door("memory", {"name": "one-world"}, "", Guard()).ask(route, ROW, {}, "")


# -- what only a router that fails on command can show


@pytest.mark.parametrize(
    ("kind", "applied_unknown", "in_force"),
    [("error", False, False), ("reset", False, False), ("timeout", True, False), ("apply_then_timeout", True, True)],
)
def test_a_failing_push_says_whether_it_may_have_taken_effect(
    memory: MemoryRouted, kind: Any, applied_unknown: bool, in_force: bool
) -> None:
    route = make_route(memory.upstream)
    memory.router.world.script(Fault("push", kind))
    with pytest.raises(ExternalFailure) as failed:
        push(memory, route)
    assert (failed.value.retryable, failed.value.applied_unknown) == (True, applied_unknown)
    assert bool(memory.router.observe().routes) is in_force


def test_a_lie_is_found_by_looking(memory: MemoryRouted) -> None:
    memory.router.world.script(Fault("push", "lie"))
    route = make_route(memory.upstream)
    push(memory, route)
    assert memory.router.observe().routes == {}
    push(memory, route)
    assert memory.router.observe().routes == {route.endpoint: route}


def test_a_push_that_is_refused_by_script_keeps_what_was_there(memory: MemoryRouted) -> None:
    route = make_route(memory.upstream)
    push(memory, route)
    memory.router.world.script(Fault("push", "refuse"))
    push(memory, replace(route, generation=2))
    assert memory.router.observe().rejected
    assert memory.router.observe().routes == {route.endpoint: route}


def test_the_journal_holds_who_put_what_in_force(memory: MemoryRouted) -> None:
    route = make_route(memory.upstream)
    push(memory, route)
    memory.change_by_hand(route.endpoint, {"salt": "x"})
    push(memory)
    journal = [(entry["verb"], entry["endpoint"], entry["by"]) for entry in memory.router.world.journal]
    assert journal == [
        ("route", route.endpoint, "countersign"),
        ("route", route.endpoint, "somebody"),
        ("remove", route.endpoint, "countersign"),
    ]


def test_a_router_that_is_gone_fails_every_verb_and_keeps_its_routes(memory: MemoryRouted) -> None:
    route = make_route(memory.upstream)
    push(memory, route)
    ask(memory, route, "u")
    memory.router.world.stop()
    verbs = [memory.router.inspect, memory.router.observe, memory.router.traffic, lambda: ask(memory, route, "u")]
    for verb in verbs:
        with pytest.raises(ExternalFailure, match="cannot be reached"):
            verb()
    memory.router.world.start()
    assert memory.router.observe().routes == {route.endpoint: route}
    assert sum(one.requests for one in memory.router.traffic()) == 0


def test_what_is_shared_by_a_file_is_seen_by_another_process(tmp_path: Path) -> None:
    world = _with_three_versions(MemoryRouted.make(tmp_path, shared=True))
    route = make_route(world.upstream)
    push(world, route)
    another = MemoryRouterWorld("another name", str(tmp_path / "router.json"))
    assert another.routes == {route.endpoint: route}
    assert ArmTraffic(route.endpoint, "canary", 0, 0, 0) in another.traffic()
