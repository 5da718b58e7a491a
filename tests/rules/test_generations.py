"""From a plan's step to a generation: what is loaded, who answers, what may go, and which buckets move."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.errors import Refusal
from backend.delivery.buckets import members
from backend.delivery.generations import (
    DesiredArm,
    DesiredEndpoint,
    baseline_from,
    generation_from,
    refuse_taken_places,
    rollback_from,
)
from backend.delivery.plan import BUCKETS, Plan, parse_plan
from tests.rules.test_plan import arm, plan

NAMES = ("v1", "v2", "v3")
HALF = {"v1": 5_000, "v2": 5_000}


def ramp(*shares: dict[str, int], **changes: Any) -> Plan:
    return parse_plan(plan(ramp=[{"shares": one} for one in shares], **changes))


def names(arms: tuple[DesiredArm, ...]) -> list[str]:
    return [one.name for one in arms]


def walk(whole: Plan, previous: DesiredEndpoint | None = None) -> list[DesiredEndpoint]:
    """Every generation of a plan in turn, each reached from the one before."""
    found: list[DesiredEndpoint] = []
    for step in range(len(whole.steps)):
        previous = generation_from(whole, step, previous)
        found.append(previous)
    return found


def baseline() -> DesiredEndpoint:
    return baseline_from(walk(ramp(HALF))[0].arms[0], salt="s")


def test_a_baseline_gives_everything_to_what_was_found() -> None:
    found = baseline()
    assert (found.champion, found.ranges, found.warm, found.leaving) == ("v1", {"v1": ((0, BUCKETS),)}, (), ())


@pytest.mark.parametrize(
    ("step", "arms", "warm", "champion", "bake"),
    [
        (0, ["v1"], ["v2"], "v1", None),
        (1, ["v1", "v2"], [], "v1", None),
        (2, ["v2"], ["v1"], "v2", 600),
    ],
)
def test_each_step_says_what_serves_what_stays_warm_and_who_is_champion(
    step: int, arms: list[str], warm: list[str], champion: str, bake: int | None
) -> None:
    one = walk(ramp({"v1": BUCKETS}, HALF, bake_seconds=600), baseline())[step]
    assert (one.step, names(one.arms), names(one.warm), one.champion, one.bake_seconds) == (step, arms, warm, champion, bake)
    assert one.leaving == ()
    assert not any(each.ranges for each in one.warm)


def test_a_shadow_is_loaded_without_traffic_and_is_not_warm() -> None:
    arms = [arm(1, BUCKETS), arm(2, 0)]
    shadowed = parse_plan(plan(arms=arms, champion="v1", shadow="v2", ramp=[]))
    only = generation_from(shadowed, 0, baseline())
    assert (names(only.arms), only.warm, only.shadow) == (["v1", "v2"], (), "v2")
    assert only.ranges == {"v1": ((0, BUCKETS),)}
    back = rollback_from(shadowed, only)
    assert (back.shadow, names(back.arms), names(back.leaving)) == (None, ["v1"], ["v2"])


def test_a_first_version_is_its_own_champion_all_the_way() -> None:
    first = parse_plan(plan(arms=[arm(2, BUCKETS)], ramp=[{"shares": {"v2": BUCKETS}}], rollback=None))
    assert [one.champion for one in walk(first)] == ["v2", "v2"]
    back = rollback_from(first, walk(first)[-1])
    assert (back.champion, back.arms, back.warm, names(back.leaving)) == (None, (), (), ["v2"])
    assert back.route(endpoint="e", model="m", upstream="u", generation=2) is None


def test_a_champion_before_that_has_no_share_left_does_not_answer() -> None:
    three = ramp({"v2": 4_000, "v3": 6_000}, arms=[arm(1, 0), arm(2, BUCKETS), arm(3, 0)])
    assert generation_from(three, 0, baseline()).champion == "v2"
    neither = ramp({"v3": BUCKETS}, arms=[arm(1, 0), arm(2, BUCKETS), arm(3, 0)])
    assert generation_from(neither, 0, baseline()).champion == "v3"


def test_what_the_next_plan_does_not_name_is_leaving_until_the_server_was_clean() -> None:
    before = walk(ramp(HALF), baseline())[-1]
    target = {"champion": "v2", "shares": {"v2": BUCKETS}}
    following = parse_plan(plan(arms=[arm(2, 0), arm(3, BUCKETS)], champion="v3", ramp=[], rollback=target))
    dirty = generation_from(following, 0, before)
    assert names(dirty.leaving) == ["v1"]
    assert not any(each.ranges for each in dirty.leaving)
    again = generation_from(following, 0, dirty)
    assert names(again.leaving) == ["v1"], "it is still to be unloaded"
    assert generation_from(following, 0, dirty, clean=True).leaving == ()
    assert names(generation_from(following, 0, before, clean=True).leaving) == ["v1"], "clean speaks of what was before it"


def test_what_comes_back_is_no_longer_leaving() -> None:
    there = ramp(HALF)
    last = walk(there, baseline())[-1]
    back = rollback_from(there, last)
    assert (back.step, back.champion, names(back.arms), names(back.leaving)) == (-1, "v1", ["v1"], ["v2"])
    assert back.bake_seconds is None
    assert generation_from(there, 0, back).leaving == ()


def test_a_place_keeps_its_bytes_also_while_it_is_leaving() -> None:
    back = rollback_from(ramp(HALF), walk(ramp(HALF))[-1])
    refuse_taken_places(back)
    other = arm(2, BUCKETS, package_digest="sha256:" + "e" * 64)
    with pytest.raises(Refusal) as refused:
        refuse_taken_places(generation_from(parse_plan(plan(arms=[arm(1, 0), other], ramp=[])), 0, back))
    assert refused.value.code == "place-taken"
    assert refused.value.remedy


def test_a_route_names_each_arm_with_its_place_and_nothing_runs_without_a_champion() -> None:
    half = walk(ramp(HALF))[0]
    where = {"endpoint": "e", "model": "m", "upstream": "127.0.0.1:1"}
    found = half.route(**where, generation=4)
    assert found is not None
    assert [(one.arm, one.served_model, one.served_version) for one in found.arms] == [
        ("v1", "flight-delay", 1),
        ("v2", "flight-delay", 2),
    ]
    assert {one.arm: one.ranges for one in found.arms} == half.ranges
    assert DesiredEndpoint(step=-1, champion=None).route(**where, generation=4) is None


@st.composite
def split(draw: st.DrawFn) -> dict[str, int]:
    """Shares of the three arms that sum to everything."""
    low, high = sorted((draw(st.integers(0, BUCKETS)), draw(st.integers(0, BUCKETS))))
    return {"v1": low, "v2": high - low, "v3": BUCKETS - high}


@settings(max_examples=40, deadline=None)
@given(st.lists(split(), min_size=1, max_size=5))
def test_on_every_ramp_shares_are_exact_and_an_arm_only_grows_or_only_shrinks(splits: list[dict[str, int]]) -> None:
    whole = ramp(*splits, arms=[arm(1, 0), arm(2, BUCKETS), arm(3, 0)])
    generations = walk(whole, baseline())
    back = rollback_from(whole, generations[-1])
    held = [{name: members(one.ranges.get(name, ())) for name in NAMES} for one in (baseline(), *generations, back)]
    assert [{name: len(one[name]) for name in NAMES if one[name]} for one in held[1:-1]] == [
        {name: share for name, share in one.shares.items() if share} for one in whole.steps
    ]
    for before, after in pairwise(held):
        assert set().union(*after.values()) == set(range(BUCKETS))
        assert sum(len(one) for one in after.values()) == BUCKETS
        assert all(before[name] <= after[name] or after[name] <= before[name] for name in NAMES)


@settings(max_examples=40, deadline=None)
@given(st.lists(split(), min_size=1, max_size=5))
def test_on_every_ramp_all_that_the_plan_names_stays_loaded_and_the_champion_answers(splits: list[dict[str, int]]) -> None:
    for one in walk(ramp(*splits, arms=[arm(1, 0), arm(2, BUCKETS), arm(3, 0)]), baseline()):
        assert sorted(names((*one.arms, *one.warm))) == list(NAMES)
        assert one.champion in one.ranges
        assert one.leaving == ()
        if "v1" in one.ranges:
            assert one.champion == "v1", "who was champion before stays so until nothing is left to it"
