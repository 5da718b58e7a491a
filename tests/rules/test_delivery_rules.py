"""What was seen against what is wanted: the verdict, the union on a server, and the ways from one generation to the next."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import Refusal
from backend.delivery.base import base_digest, base_from
from backend.delivery.buckets import members
from backend.delivery.courses import ENDPOINT, backoff, course, event_after, fight, is_stale, votes_hold
from backend.delivery.desired import EndpointRoute
from backend.delivery.generations import DesiredEndpoint, generation_from, is_own_name, refuse_taken_places, rollback_from
from backend.delivery.plan import BUCKETS, Plan, parse_plan
from backend.delivery.rules import Seen, Verdict, Wanted, desired_server, judge, leftovers, missing, wanted_from
from backend.delivery.seen import SeenModel, SeenServer, SeenVersion
from tests.rules.test_plan import arm, plan

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PLAN: Plan = parse_plan(plan(ramp=[{"shares": {"v1": 9000, "v2": 1000}}, {"shares": {"v1": 5000, "v2": 5000}}]))
ONE = "sha256:" + f"{101:064x}"
TWO = "sha256:" + f"{102:064x}"


def desired(step: int = 0, previous: DesiredEndpoint | None = None) -> DesiredEndpoint:
    return generation_from(PLAN, step, previous)


def route(wanted: DesiredEndpoint, generation: int = 7) -> EndpointRoute:
    found = wanted.route(endpoint="e", model="flight-delay", upstream="127.0.0.1:8000", generation=generation)
    assert found is not None
    return found


def wanted(step: int = 0, *, clean: bool = False, baked: bool = False) -> Wanted:
    state = desired(step)
    return wanted_from("flight-delay", state, baked=baked, clean=clean, configs={}, route=route(state))


def server(*versions: int, state: Any = "ready", config: str | None = None, **packages: str) -> SeenServer:
    seen = {number: SeenVersion(number, state, package_digest=packages.get(f"v{number}")) for number in versions}
    return SeenServer({"flight-delay": SeenModel("flight-delay", seen, config), "theirs": SeenModel("theirs", {})})


def look(seen: SeenServer | None, have: EndpointRoute | None, **more: Any) -> Seen:
    return Seen(at=NOW, server=seen, route=have, **more)


def verdict(want: Wanted, seen: Seen, now: datetime = NOW) -> tuple[str, str]:
    found = judge(want, seen, now, stale_after=MINUTE)
    return found.state, found.reason


# -- the endpoint's states

LIVE = {"in_sync", "pushing", "partial", "out_of_sync", "unreachable", "stale"}
LOOKS = {"prove": "in_sync", "fall_short": "partial", "differ": "out_of_sync", "lose": "unreachable", "age": "stale"}


def expected(state: str, event: str) -> str | None:
    """Written from product.md on its own: looks move what is live; a person alone leaves `fight` and `paused`."""
    if state == "observed":
        return "pushing" if event == "sign_off" else None
    if state in LIVE and event in LOOKS:
        return LOOKS[event]
    if event in ("admit", "push"):
        return "pushing" if state in LIVE else None
    if event == "pause":
        return "paused" if state != "paused" else None
    if event == "roll_back":
        return "pushing"
    if event == "repair_now":
        return "pushing" if state != "paused" else None
    if event == "call":
        return "fight" if state in ("partial", "out_of_sync") else None
    return "stale" if (state, event) == ("paused", "resume") else None  # what happened meanwhile was not judged


@pytest.mark.parametrize(("state", "event"), [*itertools.product(ENDPOINT.states, ENDPOINT.events)])
def test_every_state_and_event(state: str, event: str) -> None:
    after = expected(state, event)
    if after is None:
        with pytest.raises(Refusal) as refused:
            ENDPOINT.next(state, event)
        assert refused.value.remedy
    else:
        assert ENDPOINT.next(state, event) == after


# -- the verdict


def test_all_as_wanted_is_in_sync() -> None:
    want = wanted()
    assert verdict(want, look(server(1, 2), want.route)) == ("in_sync", "")


def test_nothing_seen_is_never_in_sync() -> None:
    want = wanted()
    assert verdict(want, look(None, want.route))[0] == "unreachable"
    assert verdict(want, look(server(1, 2), None, route_known=False))[0] == "unreachable"
    assert verdict(want, look(server(1, 2), want.route), NOW + MINUTE + timedelta(seconds=1))[0] == "stale"


def test_a_version_that_is_missing_or_broken_is_partial() -> None:
    want = wanted()
    assert verdict(want, look(server(1), want.route)) == ("partial", "version 2 of flight-delay is not loaded")
    assert verdict(want, look(server(1, 2, state="failed"), want.route))[0] == "partial"
    assert missing(want, server(1)) == {"flight-delay": {2: TWO}}


def test_a_router_one_generation_behind_is_partial() -> None:
    want = wanted()
    behind = route(desired(), generation=6)
    assert verdict(want, look(server(1, 2), behind)) == ("partial", "the router still serves generation 6")
    assert verdict(want, look(server(1, 2), None))[0] == "partial"


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (server(1, 2, 9), "version 9 of flight-delay is loaded and no approval names it"),
        (server(1, 2, v2=ONE), "other bytes"),
    ],
)
def test_another_hand_on_the_server_is_out_of_sync(seen: SeenServer, says: str) -> None:
    want = wanted()
    state, reason = verdict(want, look(seen, want.route))
    assert state == "out_of_sync"
    assert says in reason


def test_another_configuration_is_out_of_sync() -> None:
    state = desired()
    want = wanted_from(
        "flight-delay", state, baked=False, clean=True, configs={ONE: "sha256:a", TWO: "sha256:a"}, route=route(state)
    )
    assert verdict(want, look(server(1, 2, config="sha256:a"), want.route))[0] == "in_sync"
    assert verdict(want, look(server(1, 2, config="sha256:b"), want.route))[0] == "out_of_sync"


def test_other_weights_under_the_same_generation_are_out_of_sync() -> None:
    want, moved = wanted(), route(desired(1))
    state, reason = verdict(want, look(server(1, 2), moved))
    assert state == "out_of_sync"
    assert "arm v2 gets 50 % of the traffic, approved are 10 %" in reason


def test_versions_of_other_people_are_not_ours_to_judge() -> None:
    want = wanted()
    seen = SeenServer({**server(1, 2).models, "theirs": SeenModel("theirs", {4: SeenVersion(4, "ready")})})
    assert verdict(want, look(seen, want.route)) == ("in_sync", "")


def test_what_an_earlier_generation_left_is_a_leftover_until_the_server_was_clean() -> None:
    last = generation_from(PLAN, 2, desired(1))
    back = rollback_from(PLAN, last)
    dirty = wanted_from("flight-delay", back, baked=False, clean=False, configs={}, route=route(back))
    assert judge(dirty, look(server(1, 2), dirty.route), NOW, stale_after=MINUTE).leftovers
    assert leftovers(dirty, server(1, 2)) == {"flight-delay": {2: TWO}}
    clean = wanted_from("flight-delay", back, baked=False, clean=True, configs={}, route=route(back))
    assert verdict(clean, look(server(1, 2), clean.route))[0] == "out_of_sync"


# -- the union on one server


def test_a_server_gets_the_union_and_what_is_left_only_while_it_is_kept() -> None:
    back = rollback_from(PLAN, generation_from(PLAN, 2, desired(1)))
    want = {"e": wanted_from("flight-delay", back, baked=False, clean=False, configs={}, route=route(back))}
    folders = {ONE: Path("/one"), TWO: Path("/two")}
    assert set(desired_server(want, folders).models["flight-delay"].versions) == {1}
    assert set(desired_server(want, folders, keep=server(1, 2)).models["flight-delay"].versions) == {1, 2}


def test_two_endpoints_cannot_put_different_bytes_in_one_place() -> None:
    one, other = Wanted("a", {"m": {1: ONE}}), Wanted("b", {"m": {1: TWO}})
    with pytest.raises(Refusal) as refused:
        desired_server({"a": one, "b": other}, {ONE: Path("/1"), TWO: Path("/2")})
    assert refused.value.code == "conflict"
    assert refused.value.facts["endpoints"] == ["a", "b"]
    both = desired_server({"a": one, "b": one}, {ONE: Path("/1")})
    assert set(both.models["m"].versions) == {1}


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_what_is_kept_for_one_endpoint_is_not_replaced_by_what_another_wants(order: tuple[str, str]) -> None:
    each = {"a": Wanted("a", {}, leaving={"flight-delay": {1: ONE}}), "b": Wanted("b", {"flight-delay": {1: TWO}})}
    both, folders = {name: each[name] for name in order}, {ONE: Path("/1"), TWO: Path("/2")}
    with pytest.raises(Refusal) as refused:
        desired_server(both, folders, keep=server(1))
    assert (refused.value.code, refused.value.facts["endpoints"]) == ("conflict", ["a", "b"])
    assert desired_server(both, folders, keep=server()).models["flight-delay"].versions[1].digest == TWO
    assert desired_server(both, folders).models["flight-delay"].versions[1].digest == TWO


def test_a_name_that_nobody_wants_any_more_is_released() -> None:
    gone = Wanted("old", {}, leaving={"old": {1: ONE}})
    assert desired_server({"a": gone}, {}).released == {"old"}
    still = Wanted("old", {"old": {2: TWO}})
    assert desired_server({"a": gone, "b": still}, {TWO: Path("/2")}).released == frozenset()


# -- what follows from a look


def follows(found: Any, state: str = "in_sync", **more: Any) -> str:
    settled = {"repair": "repair", "revoked": False, "proved": True, "retry_at": None, "now": NOW, **more}
    return course(Verdict(found, leftovers=settled.pop("leftovers", False)), state=state, **settled)


@pytest.mark.parametrize("found", ["in_sync", "partial", "out_of_sync", "unreachable", "stale"])
@pytest.mark.parametrize("state", ["observed", "paused", "fight"])
def test_nothing_is_written_to_what_is_observed_paused_or_fought_over(found: str, state: str) -> None:
    assert follows(found, state, proved=False, leftovers=True) == "look"


@pytest.mark.parametrize("found", ["unreachable", "stale"])
def test_nothing_is_written_to_what_was_not_seen(found: str) -> None:
    assert follows(found, found, proved=False) == "look"


@pytest.mark.parametrize("found", ["partial", "out_of_sync"])
def test_a_difference_is_pushed_away_unless_something_forbids_it(found: str) -> None:
    later = NOW + MINUTE
    assert follows(found, found) == "push"
    assert follows(found, found, retry_at=NOW) == "push"
    assert follows(found, found, retry_at=later) == "look"
    assert follows(found, found, revoked=True) == "look"
    assert follows(found, "out_of_sync", repair="report") == "look"
    assert follows(found, "pushing", repair="report") == "push"
    assert follows(found, "partial", repair="report") == "push", "what a restart took is nobody's change"
    assert follows(found, found, repair="report", proved=False) == "push"


def test_what_looks_right_is_proved_once_and_then_tidied() -> None:
    assert follows("in_sync", "pushing", proved=False) == "prove"
    assert follows("in_sync", "out_of_sync") == "prove"
    assert follows("in_sync", "pushing", proved=False, retry_at=NOW + MINUTE) == "look"
    assert follows("in_sync") == "look"
    assert follows("in_sync", leftovers=True) == "unload"
    assert follows("in_sync", leftovers=True, retry_at=NOW + MINUTE) == "look"


@pytest.mark.parametrize(
    ("found", "proved", "tried", "in_part", "failed", "event"),
    [
        ("unreachable", True, True, True, True, "lose"),
        ("stale", True, True, True, True, "age"),
        ("in_sync", True, False, False, False, "prove"),
        ("in_sync", True, True, True, True, "fall_short"),
        ("in_sync", False, True, True, False, None),
        ("partial", True, False, False, False, "differ"),
        ("out_of_sync", False, True, True, False, "fall_short"),
        ("partial", False, True, False, False, None),
        ("partial", False, False, True, False, None),
    ],
)
def test_the_event_that_follows(found: Any, proved: bool, tried: bool, in_part: bool, failed: bool, event: str | None) -> None:
    said = event_after(Verdict(found), proved=proved, tried=tried, in_part=in_part, proofs_failed=failed)
    assert said == event
    assert said is None or said in ENDPOINT.events
    again = event_after(Verdict(found), proved=proved, tried=tried, in_part=in_part, proofs_failed=failed, restarted=True)
    assert again == ("fall_short" if event == "differ" else event), "a restart is nobody's difference"


# -- small rules


def test_three_repairs_within_ten_intervals_are_a_fight() -> None:
    interval = timedelta(seconds=10)
    assert fight([NOW - timedelta(seconds=s) for s in (100, 50, 0)], NOW, interval=interval)
    assert not fight([NOW - timedelta(seconds=s) for s in (101, 50, 0)], NOW, interval=interval)
    assert not fight([NOW, NOW], NOW, interval=interval)


def test_never_seen_or_three_looks_missed_is_stale() -> None:
    interval = timedelta(seconds=10)
    assert is_stale(None, NOW, interval=interval)
    assert not is_stale(NOW - timedelta(seconds=30), NOW, interval=interval)
    assert is_stale(NOW - timedelta(seconds=31), NOW, interval=interval)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_waiting_grows_to_a_bound_and_is_never_nothing(failures: int, jitter: float) -> None:
    seconds = backoff(failures, base=0.5, cap=60, jitter=jitter)
    assert 0.25 <= seconds <= 60
    assert backoff(failures + 1, base=0.5, cap=60, jitter=jitter) >= seconds


def test_own_names_are_the_base_and_its_interfaces() -> None:
    names = ["m", "m.0123abcd", "m.0123abcde", "m.xyz", "mm", "m.ABCDEF01", "other"]
    assert {name for name in names if is_own_name("m", name)} == {"m", "m.0123abcd"}


def test_the_base_is_the_same_for_the_same_state_and_moves_with_what_is_live() -> None:
    want = wanted()
    first = base_from(7, desired(), want, look(server(1, 2), want.route))
    assert base_digest(first) == base_digest(base_from(7, desired(), want, look(server(1, 2), want.route)))
    again = base_from(9, desired(), want, look(server(1, 2), route(desired(), generation=9)))
    assert base_digest(first) == base_digest(again), (
        "a state that is reached again, by a repair or a rollback, is the same base"
    )
    assert base_digest(first) != base_digest(base_from(7, desired(), want, look(server(1, 2), route(desired(1)))))
    assert base_digest(first) != base_digest(base_from(7, desired(), want, look(server(1), want.route)))
    assert base_digest(first) != base_digest(base_from(7, desired(), want, look(server(1, 2, 9), want.route)))


def test_votes_hold_only_for_exactly_this_plan_on_exactly_this_base() -> None:
    def vote(who: str, verdict: str = "approve", plan_digest: str = "p", base: str = "b") -> dict[str, str]:
        return {"identity_id": who, "verdict": verdict, "plan_digest": plan_digest, "base_digest": base}

    def hold(*votes: dict[str, str], needed: int = 1) -> bool:
        return votes_hold(votes, plan_digest="p", base_digest="b", needed=needed)

    assert hold(vote("ben"))
    assert not hold()
    assert not hold(vote("ben", plan_digest="q"))
    assert not hold(vote("ben", base="c"))
    assert not hold(vote("ben"), vote("carla", "reject"))
    assert not hold(vote("ben"), vote("ben"), needed=2)
    assert hold(needed=0)


# -- from one generation to the next


def test_a_ramp_keeps_the_old_version_loaded_and_champion_until_the_end() -> None:
    first = desired(0)
    second = generation_from(PLAN, 1, first)
    last = generation_from(PLAN, 2, second)
    assert [one.champion for one in (first, second, last)] == ["v1", "v1", "v2"]
    assert [arm.name for arm in last.arms] == ["v2"]
    assert [arm.name for arm in last.warm] == ["v1"]
    assert (first.bake_seconds, last.bake_seconds) == (None, PLAN.bake_seconds)


def test_going_back_gives_everything_to_the_approved_target() -> None:
    back = rollback_from(PLAN, generation_from(PLAN, 2, desired(1)))
    assert back.champion == "v1"
    assert {arm.name: arm.buckets for arm in back.arms} == {"v1": BUCKETS}
    assert [arm.name for arm in back.leaving] == ["v2"]


def test_bytes_never_change_in_a_place_that_may_be_loaded() -> None:
    changed = parse_plan(plan(arms=[arm(1, 0, package_digest="sha256:" + "f" * 64), arm(2, BUCKETS)]))
    refuse_taken_places(desired(0))
    with pytest.raises(Refusal) as refused:
        refuse_taken_places(generation_from(changed, 0, desired(0)))
    assert refused.value.code == "place-taken"


@given(st.lists(st.integers(0, BUCKETS), min_size=1, max_size=6))
def test_units_move_from_arms_that_shrink_to_arms_that_grow_and_nowhere_else(shares: list[int]) -> None:
    steps = [{"shares": {"v1": BUCKETS - one, "v2": one}} for one in shares]
    ramp = parse_plan(plan(ramp=steps))
    before: DesiredEndpoint | None = None
    for step, wanted_shares in enumerate([*(one["shares"] for one in steps), {"v1": 0, "v2": BUCKETS}]):
        after = generation_from(ramp, step, before)
        owned = {name: members(ranges) for name, ranges in after.ranges.items()}
        assert {name: len(one) for name, one in owned.items()} == {name: n for name, n in wanted_shares.items() if n}
        assert len(set().union(*owned.values())) == BUCKETS
        if before is not None:
            for name in ("v1", "v2"):
                old, new = members(before.ranges.get(name, ())), owned.get(name, set())
                assert old <= new or new <= old
        before = after
