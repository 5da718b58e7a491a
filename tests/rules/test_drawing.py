"""Drawing plans: one absolute future of what is wanted, on what is live, within the policy; and the difference in words."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.changes.difference import from_base, from_plan
from backend.changes.drawing import EndpointFacts, PackageFacts, VersionFacts, base_after, draw
from backend.changes.shares import apportion
from backend.changes.walk import Terms
from backend.changes.wanted import Wanted, parse_wanted
from backend.core.errors import Refusal
from backend.delivery.base import base_digest, base_from
from backend.delivery.buckets import members
from backend.delivery.desired import EndpointRoute
from backend.delivery.generations import DesiredEndpoint, generation_from, rollback_from
from backend.delivery.plan import BUCKETS, Plan
from backend.delivery.rules import Seen
from backend.delivery.rules import Wanted as WantedThere
from backend.delivery.seen import SeenModel, SeenServer, SeenVersion
from backend.policy.rules import BUILT_IN, Policy, RampRule
from tests.databases import Clock

OPEN = BUILT_IN["production"]
SAME, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def artifact(version: int) -> str:
    return "sha256:" + f"{version:064x}"


def package(version: int) -> str:
    return "sha256:" + f"{version + 100:064x}"


def base(champion: str | None = "v1", **shares: int) -> dict[str, Any]:
    arms = [
        {
            "name": name, "version": int(name[1:]), "served_as": {"model": "flight-delay", "version": int(name[1:])},
            "package_digest": package(int(name[1:])), "artifact_digest": artifact(int(name[1:])), "buckets": share,
        }
        for name, share in sorted(shares.items())
    ]  # fmt: skip
    return {"generation": 3, "champion": champion, "arms": arms, "routed": True}


def endpoint(live: dict[str, Any], **changes: Any) -> EndpointFacts:
    desired = DesiredEndpoint.model_validate(
        {"step": 0, "champion": live["champion"], "salt": "s", "arms": [
            {key: value for key, value in one.items() if key != "buckets"} for one in live["arms"]], **changes}
    )  # fmt: skip
    return EndpointFacts(
        name="flight-delay-production", environment="production", model="flight-delay", served_name="flight-delay",
        desired=desired if live["arms"] or changes else None, interfaces={package(number): SAME for number in range(1, 9)},
    )  # fmt: skip


def drawn(
    live: dict[str, Any],
    version: int = 2,
    *,
    interface: str = SAME,
    policy: Policy = OPEN,
    place: EndpointFacts | None = None,
    pickled: bool = False,
    **wanted: Any,
) -> Plan:
    return draw(
        parse_wanted({"version": version, **wanted}),
        live,
        place or endpoint(live),
        VersionFacts(version, artifact(version), pickled),
        PackageFacts(package(version), interface, {"digest": SAME, "count": 4}),
        Terms("production@1", policy),
    )


def refused(code: str, *args: Any, **options: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        drawn(*args, **options)
    assert caught.value.code == code, str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_a_new_version_takes_everything_and_the_old_one_stays_as_the_way_back() -> None:
    plan = drawn(base(v1=BUCKETS))
    assert plan.shares == {"v1": 0, "v2": BUCKETS}
    assert (plan.champion, plan.rollback.champion, plan.rollback.shares) == ("v2", "v1", {"v1": BUCKETS})
    assert plan.arm("v1").package_digest == package(1)
    assert (plan.arm("v2").served_as.model, plan.arm("v2").served_as.version) == ("flight-delay", 2)
    assert (plan.salt, plan.policy, plan.probes.count) == ("s", "production@1", 4)


def test_a_first_version_has_no_way_back() -> None:
    nothing = {"generation": 1, "champion": None, "arms": [], "routed": False}
    plan = drawn(nothing, policy=OPEN.model_copy(update={"ramp": RampRule(min_steps=3, max_first_share=100)}))
    assert (plan.shares, plan.champion, plan.rollback, plan.salt) == ({"v2": BUCKETS}, "v2", None, "flight-delay-production")
    refused("nothing-else-runs", nothing, share=5_000)
    refused("nothing-else-runs", nothing, share=0, shadow="this")


def test_a_share_leaves_the_others_their_proportions_and_the_champion() -> None:
    plan = drawn(base(v1=6_000, v3=4_000), share=2_500)
    assert plan.shares == {"v1": 4_500, "v3": 3_000, "v2": 2_500}
    assert (plan.champion, plan.rollback.shares) == ("v1", {"v1": 6_000, "v3": 4_000})


def test_a_version_that_is_there_keeps_its_arm_whatever_package_is_offered() -> None:
    live = base(v1=9_000, v2=1_000)
    plan = draw(
        Wanted(version=2, share=5_000), live, endpoint(live), VersionFacts(2, artifact(2)), PackageFacts(OTHER, OTHER),
        Terms("production@1", OPEN),
    )  # fmt: skip
    assert plan.arm("v2").package_digest == package(2)
    assert plan.shares == {"v1": 5_000, "v2": 5_000}


def test_a_version_that_is_still_warm_keeps_its_place() -> None:
    warm = base(v2=0)["arms"][0] | {"name": "old", "served_as": {"model": "flight-delay.0123abcd", "version": 2}}
    del warm["buckets"]
    live = base(v1=BUCKETS)
    place = endpoint(live, warm=[warm])
    plan = drawn(live, place=place)
    assert (plan.arm("old").served_as.model, plan.champion) == ("flight-delay.0123abcd", "old")


def test_another_interface_gets_a_name_of_its_own_as_long_as_the_old_one_is_loaded() -> None:
    live = base(v1=BUCKETS)
    assert drawn(live, interface=OTHER).arm("v2").served_as.model == "flight-delay.bbbbbbbb"
    leaving = {key: value for key, value in base(v3=0)["arms"][0].items() if key != "buckets"}
    place = endpoint({**live, "arms": []}, leaving=[leaving], champion=None)
    nothing = {"generation": 1, "champion": None, "arms": [], "routed": True}
    assert drawn(nothing, interface=OTHER, place=place).arm("v2").served_as.model == "flight-delay.bbbbbbbb"


def test_a_name_that_is_taken_is_not_used_again() -> None:
    live = base(v1=BUCKETS)
    live["arms"][0]["name"], live["champion"] = "v2", "v2"
    assert drawn(live).shares == {"v2": 0, "v2-1": BUCKETS}


def test_a_ramp_is_drawn_as_absolute_steps() -> None:
    ramp = [{"share": 1_000, "hold_seconds": 60}, {"share": 5_000, "person": True}]
    plan = drawn(base(v1=BUCKETS), ramp=ramp, bake_seconds=600)
    assert [step.shares for step in plan.steps] == [
        {"v1": 9_000, "v2": 1_000}, {"v1": 5_000, "v2": 5_000}, {"v1": 0, "v2": BUCKETS},
    ]  # fmt: skip
    assert [(step.hold_seconds, step.person) for step in plan.ramp] == [(60, False), (0, True)]
    assert plan.bake_seconds == 600


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({"v1": BUCKETS}, {"ramp": [{"share": 5_000}, {"share": 1_000}]}),
        ({"v1": BUCKETS}, {"ramp": [{"share": 5_000}, {"share": 5_000}]}),
        ({"v1": BUCKETS}, {"share": 4_000, "ramp": [{"share": 5_000}]}),
        ({"v1": 5_000, "v2": 5_000}, {"share": 1_000, "ramp": [{"share": 6_000}]}),
        ({"v1": 5_000, "v2": 5_000}, {"share": 5_000, "ramp": [{"share": 6_000}]}),
    ],
)
def test_a_ramp_goes_one_way(live: dict[str, int], wanted: dict[str, Any]) -> None:
    refused("bad-ramp", base(**live), **wanted)


def test_the_policy_s_ramp_and_bake_time_are_demanded() -> None:
    rule = RampRule(min_steps=2, max_first_share=500, min_hold_seconds=300)
    strict = OPEN.model_copy(update={"ramp": rule, "min_bake_seconds": 3_600})
    live = base(v1=BUCKETS)
    good = [{"share": 500, "hold_seconds": 300}, {"share": 5_000, "hold_seconds": 300}]
    assert "at least 2 step(s)" in str(refused("policy", live, policy=strict, ramp=good[:1]))
    assert "at most 5 %" in str(refused("policy", live, policy=strict, ramp=[{**good[0], "share": 501}, good[1]]))
    assert "300 s" in str(refused("policy", live, policy=strict, ramp=[{**good[0], "hold_seconds": 299}, good[1]]))
    assert "3600 s" in str(refused("policy", live, policy=strict, ramp=good, bake_seconds=3_599))
    assert drawn(live, policy=strict, ramp=good).bake_seconds == 3_600
    lowered = drawn(base(v1=5_000, v2=5_000), policy=strict, share=1_000)
    assert lowered.shares == {"v1": 9_000, "v2": 1_000}


def test_a_shadow_gets_no_share_and_is_kept_until_it_is_ended_or_promoted() -> None:
    live = base(v1=BUCKETS)
    plan = drawn(live, share=0, shadow="this")
    assert (plan.shadow, plan.shares) == ("v2", {"v1": BUCKETS, "v2": 0})
    there = base(v1=BUCKETS, v2=0)
    place = endpoint(there, shadow="v2")
    assert drawn(there, 3, share=1_000, place=place).shadow == "v2"
    assert drawn(there, 3, share=1_000, place=place, shadow="none").shares == {"v1": 9_000, "v3": 1_000}
    promoted = drawn(there, 2, share=1_000, place=place)
    assert (promoted.shadow, promoted.shares) == (None, {"v1": 9_000, "v2": 1_000})
    refused("bad-change", live, shadow="this")


def test_taking_the_champion_off_leaves_another_one() -> None:
    plan = drawn(base(champion="v2", v1=2_000, v2=5_000, v3=3_000), share=0)
    assert (plan.shares, plan.champion) == ({"v1": 4_000, "v2": 0, "v3": 6_000}, "v3")


def test_a_new_experiment_assigns_anew() -> None:
    live = base(v1=5_000, v2=5_000)
    plan = drawn(live, share=5_000, experiment="summer", unit_header="x-user")
    assert (plan.salt, plan.unit_header) == ("flight-delay-production/summer", "x-user")
    assert "assigned anew" in from_base(plan, live, salt="s").summary


@pytest.mark.parametrize(
    ("code", "live", "options"),
    [
        ("not-seen", None, {"place": endpoint(base(v1=BUCKETS))}),
        ("not-whole", base(v1=9_000), {}),
        ("not-whole", base(champion=None, v1=BUCKETS), {}),
        ("not-whole", base(champion="v2", v1=BUCKETS), {}),
        ("not-whole", {**base(), "arms": []}, {"place": endpoint(base(v1=BUCKETS))}),
        ("no-change", base(champion="v2", v2=BUCKETS), {}),
        ("no-change", base(v1=BUCKETS), {"share": 0}),
        ("bad-change", base(v1=BUCKETS), {"share": 10_001}),
        ("bad-change", base(v1=BUCKETS), {"share": 25.0}),
        ("bad-change", base(v1=BUCKETS), {"weight": 1}),
        ("bad-change", base(v1=BUCKETS), {"ramp": [{"share": 0}]}),
    ],
)
def test_what_cannot_be_drawn_is_refused(code: str, live: Any, options: dict[str, Any]) -> None:
    refused(code, live, **options)


def test_what_runs_from_another_artifact_is_not_the_registered_version() -> None:
    live = base(v1=9_000, v2=1_000)
    live["arms"][1]["artifact_digest"] = OTHER
    refused("digest-mismatch", live, share=5_000)


def test_pickled_code_is_refused_where_the_policy_says_so() -> None:
    live = base(v1=BUCKETS)
    assert drawn(live, pickled=True).champion == "v2"
    refused("pickled", live, pickled=True, policy=OPEN.model_copy(update={"pickled": "refuse"}))


def webster(given_weights: dict[str, int], total: int) -> dict[str, int]:
    """The method as it is defined: one by one to the highest `weight / (2 * given + 1)`."""
    had = dict.fromkeys(sorted(given_weights), 0)
    for _ in range(total):
        had[max(had, key=lambda name: Fraction(given_weights[name], 2 * had[name] + 1))] += 1
    return had


weights = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, BUCKETS), min_size=1)


@given(weights, st.integers(0, BUCKETS), st.integers(0, BUCKETS))
@settings(max_examples=60, deadline=None)
def test_sharing_out_is_exact_and_never_gives_more_of_less(given_weights: dict[str, int], one: int, other: int) -> None:
    less, more = apportion(given_weights, min(one, other)), apportion(given_weights, max(one, other))
    assert (sum(less.values()), sum(more.values())) == (min(one, other), max(one, other))
    assert all(less[name] <= more[name] for name in given_weights)
    assert apportion(given_weights, sum(given_weights.values())) == given_weights
    assert apportion(given_weights, 200) == webster(given_weights, 200)


@st.composite
def situations(draw_: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    names = draw_(st.lists(st.sampled_from(("v1", "v2", "v3", "v4")), min_size=1, unique=True))
    cuts = sorted(draw_(st.sets(st.integers(1, BUCKETS - 1), min_size=len(names) - 1, max_size=len(names) - 1)))
    shares = dict(zip(names, (after - before for before, after in pairwise((0, *cuts, BUCKETS))), strict=True))
    live = base(champion=draw_(st.sampled_from(names)), **shares)
    share = draw_(st.integers(1, BUCKETS)) if set(names) - {"v2"} else BUCKETS
    now = shares.get("v2", 0)
    between = range(min(now, share) + 1, max(now, share))
    steps = sorted(draw_(st.sets(st.sampled_from(between), max_size=4)), reverse=share < now) if between else []
    ramp = [{"share": one} for one in steps] if set(names) - {"v2"} else []
    return live, {"share": share, "ramp": ramp}


@given(situations())
@settings(max_examples=60, deadline=None)
def test_every_plan_sums_up_is_reproducible_and_moves_one_way(situation: tuple[dict[str, Any], dict[str, Any]]) -> None:
    live, wanted = situation
    if wanted["share"] == {one["name"]: one["buckets"] for one in live["arms"]}.get("v2"):
        live = {**live, "champion": "v2"}
        refused("no-change", live, **wanted)
        return
    plan = drawn(live, **wanted)
    assert drawn(live, **wanted).digest() == plan.digest()
    assert all(sum(step.shares.values()) == BUCKETS for step in plan.steps)
    assert plan.shares["v2"] == wanted["share"]
    assert plan.rollback.shares == {one["name"]: one["buckets"] for one in live["arms"]}
    grows = plan.shares["v2"] > plan.rollback.shares.get("v2", 0)
    way = [plan.rollback.shares, *(step.shares for step in plan.steps)]
    for other in set(plan.shares) - {"v2"}:
        told = [shares.get(other, 0) for shares in way]
        assert told == sorted(told, reverse=grows)
    moves = from_base(plan, live).moves
    assert not {move.source for move in moves} & {move.target for move in moves}
    assert all("v2" in (move.source, move.target) for move in moves)


def seen(desired: DesiredEndpoint, routed: bool) -> tuple[WantedThere, Seen]:
    """What is read back when a generation is in force as a whole."""
    models: dict[str, dict[int, SeenVersion]] = {}
    for arm in desired.arms:
        models.setdefault(arm.place[0], {})[arm.place[1]] = SeenVersion(arm.place[1], "ready")
    server = SeenServer({name: SeenModel(name, versions) for name, versions in models.items()})
    route: EndpointRoute | None = None
    if routed:
        route = desired.route(endpoint="flight-delay-production", model="flight-delay", upstream="u", generation=7)
    return WantedThere("flight-delay", models={}, leaving={name: dict.fromkeys(one, "") for name, one in models.items()},
                       route=route), Seen(Clock().now, server, route)  # fmt: skip


@pytest.mark.parametrize("routed", [True, False])
@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("wanted", [{}, {"share": 2_500, "ramp": [{"share": 100}]}, {"share": 0, "shadow": "this"}])
def test_the_base_after_a_plan_is_what_will_be_seen(routed: bool, back: bool, wanted: dict[str, Any]) -> None:
    plan = drawn(base(v1=6_000, v3=4_000), **wanted)
    first = generation_from(plan, 0, None)
    desired = rollback_from(plan, first) if back else generation_from(plan, len(plan.steps) - 1, first)
    assert base_digest(base_after(plan, routed=routed, back=back)) == base_digest(base_from(7, desired, *seen(desired, routed)))


def test_the_way_back_of_a_first_version_leads_to_nothing_and_is_drawn_on_as_such() -> None:
    first = drawn({"generation": 1, "champion": None, "arms": [], "routed": False})
    back = base_after(first, routed=True, back=True)
    desired = rollback_from(first, generation_from(first, 0, None))
    assert base_digest(back) == base_digest(base_from(7, desired, *seen(desired, True)))
    while_it_runs = endpoint(base(champion="v2", v2=BUCKETS))
    assert drawn(back, 3, place=while_it_runs).rollback is None
    refused("not-whole", {**back, "generation": 4}, 3, place=while_it_runs)


def test_the_difference_is_told_in_absolute_words() -> None:
    live = base(v1=BUCKETS)
    told = from_base(drawn(live, share=2_500, ramp=[{"share": 1_000, "hold_seconds": 60, "person": True}]), live)
    assert told.summary == (
        "v1 (version 1) gets 75 % of units; it has 100 %. v2 (version 2) is new and gets 25 % of units. "
        "2,500 of 10,000 buckets move from v1 to v2, none back. "
        "On the way: v1 90 %, v2 10 % for 1 min, then until somebody lets it go on. What ran before stays loaded for 30 min "
        "afterwards. Going back leads to v1 100 %."
    )
    assert told.to_json()["moves"] == [{"source": "v1", "target": "v2", "buckets": 2_500}]


def test_moves_are_counted_from_the_buckets_as_they_are() -> None:
    live = base(v1=5_000, v3=5_000)
    ranges = {"v1": ((0, 2_500), (7_500, 10_000)), "v3": ((2_500, 7_500),)}
    plan = drawn(live, 3, share=2_500)
    (move,) = from_base(plan, live, ranges=ranges).moves
    assert (move.source, move.target, move.buckets) == ("v3", "v1", 2_500)
    assert len(members(ranges["v1"])) == 5_000


def test_the_difference_tells_who_leaves_and_what_nobody_approved() -> None:
    live = {**base(v1=BUCKETS, v2=0), "strangers": [["flight-delay", 9]]}
    told = from_base(drawn(live, 3, bake_seconds=600), live).summary
    for says in (
        "v1 (version 1) gives up its 100 % and gets nobody.", "v2 is taken off.", "Version 9 of flight-delay is loaded",
        "v3 answers whoever is not assigned; now v1 does.", "stays loaded for 10 min",
    ):  # fmt: skip
        assert says in told


def test_the_difference_to_an_earlier_plan_names_every_field() -> None:
    live = base(v1=BUCKETS)
    told = from_plan(drawn(live, share=2_500), drawn(live, ramp=[{"share": 500}]))
    fields = {line.field: (line.before, line.after) for line in told.lines}
    assert fields == {
        "arms.v1.buckets": (0, 7_500), "arms.v2.buckets": (BUCKETS, 2_500), "champion": ("v2", "v1"),
        "ramp": ([{"shares": {"v1": 9_500, "v2": 500}, "hold_seconds": 0, "person": False}], []),
    }  # fmt: skip
    assert "Share of v2: 25 %; it was 100 %." in told.summary
    assert "On the way: at once; it was v1 95 %, v2 5 %." in told.summary
    assert from_plan(drawn(live), drawn(live)).summary == "Nothing changes."
