"""What a plan compares and how it walks: gates of its steps, copies before a share, a copy of the same age, a split rest."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from backend.changes.drawing import PackageFacts, VersionFacts, draw
from backend.changes.walk import Terms
from backend.changes.wanted import parse_wanted
from backend.core.canonical import canonical, digest
from backend.core.errors import Refusal
from backend.delivery import comparison as compared
from backend.delivery.comparison import Comparison
from backend.delivery.generations import generation_from, rollback_from
from backend.delivery.plan import BUCKETS, Plan, parse_plan
from backend.policy import guardrails
from backend.policy.guardrails import GuardrailAsked, as_strict
from backend.policy.rules import between
from backend.policy.templates import TEMPLATES
from tests.rules.test_drawing import OPEN, SAME, artifact, base, endpoint, package
from tests.rules.test_plan import plan as plan_json

ERRORS = Comparison.model_validate(
    {
        "counts": "each_step",
        "metrics": [{"name": "errors", "kind": "errors"}],
        "guardrails": [{"metric": "errors", "margin": 0.01}],
    }
)
RAMP = [{"share": 500, "hold_seconds": 60, "min_units": 50}, {"share": 5_000, "hold_seconds": 60}]


def drawn(live: dict[str, Any], compares: Comparison | None = ERRORS, **wanted: Any) -> Plan:
    return draw(
        parse_wanted({"version": 2, **wanted}),
        live,
        endpoint(live),
        VersionFacts(2, artifact(2)),
        PackageFacts(package(2), SAME, None),
        Terms("production@1", OPEN),
        compares,
    )


def test_what_is_compared_is_part_of_the_plan_and_of_its_digest() -> None:
    plan = drawn(base(v1=BUCKETS), ramp=RAMP)
    assert plan.comparison is not None
    assert (plan.comparison.control, plan.treatments) == ("v1", ("v2",))
    assert [(one.min_units, one.statistics) for one in plan.steps] == [(50, "not_failed"), (0, "passed"), (0, None)]
    told = plan.to_json()
    assert told["guardrails"] == [{"metric": "errors", "margin": 0.01, "relative": False, "on_fail": "rollback", "eta": None}]
    assert "guardrails" not in told["comparison"]
    assert parse_plan(plan.canonical()) == plan
    wider = {**told, "guardrails": [{**told["guardrails"][0], "margin": 0.02}]}
    assert parse_plan(wider).digest() != plan.digest()


def test_a_plan_without_a_comparison_has_the_digest_that_it_always_had() -> None:
    """Computed by the code of before there were comparisons, of `test_plan.plan()`."""
    told = parse_plan(plan_json()).to_json()
    assert set(told) == {
        "schema", "endpoint", "environment", "model", "arms", "champion", "salt", "unit_header", "shadow", "ramp",
        "bake_seconds", "guardrails", "feature_service_digest", "probes", "rollback", "policy",
    }  # fmt: skip
    assert told["guardrails"] == []
    assert told["ramp"] == [{"shares": {"v1": 9000, "v2": 1000}, "hold_seconds": 60, "person": False}]
    assert parse_plan(plan_json()).digest() == "sha256:6e841b437d3cc5d4a7dabbde0de33c3312c079a4f5ec252fa81642bb96358b62"
    assert parse_plan(canonical(told)).digest() == digest(told)


def test_nothing_is_compared_where_no_two_arms_share_the_traffic() -> None:
    assert drawn(base(v1=BUCKETS)).comparison is None
    assert drawn(base(None), ramp=[]).comparison is None
    assert drawn(base(v1=BUCKETS), share=5_000).comparison is not None


@pytest.mark.parametrize(
    ("ramp", "says"),
    [
        ([{"share": 500, "min_units": 10}], "nothing is measured"),
        ([{"share": 500, "statistics": "passed"}], "nothing is measured"),
        ([{"share": 0}], "shadow"),
        ([{"share": 500, "shadow": True}], "shadow"),
        ([{"share": 500}, {"share": 0, "shadow": True}], "before it answers anybody"),
    ],
)
def test_gates_that_cannot_be_asked_are_refused(ramp: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(Refusal, match=says):
        drawn(base(v1=BUCKETS), None, ramp=ramp)


def test_copies_come_before_a_share_and_answer_nobody() -> None:
    plan = drawn(base(v1=BUCKETS), ramp=[{"share": 0, "shadow": True, "hold_seconds": 60, "person": True}, *RAMP])
    first, second, _, last = plan.steps
    assert (first.shadow, first.shares, first.statistics) == ("v2", {"v1": BUCKETS, "v2": 0}, None)
    assert (second.shadow, second.shares) == (None, {"v1": 9_500, "v2": 500})
    copies = generation_from(plan, 0, None)
    assert (copies.shadow, copies.champion, [one.name for one in copies.warm]) == ("v2", "v1", [])
    assert [one.name for one in copies.arms] == ["v1", "v2"]
    after = generation_from(plan, 1, copies)
    assert (after.shadow, [(one.name, one.buckets) for one in after.arms]) == (None, [("v1", 9_500), ("v2", 500)])
    assert rollback_from(plan, copies).shadow is None
    assert last.shares == {"v1": 0, "v2": BUCKETS}


def test_a_copy_of_the_same_age_gets_as_much_as_the_new_version_and_is_what_it_is_compared_with() -> None:
    plan = drawn(base(v1=BUCKETS), ramp=[{"share": share} for share in (100, 2_500, 5_000)], same_age=True)
    assert [one.shares for one in plan.steps] == [
        {"v1": 9_800, "v1-same-age": 100, "v2": 100},
        {"v1": 5_000, "v1-same-age": 2_500, "v2": 2_500},
        {"v1": 2_500, "v1-same-age": 2_500, "v2": 5_000},
        {"v1": 0, "v1-same-age": 0, "v2": BUCKETS},
    ]
    assert plan.comparison is not None
    assert (plan.comparison.control, plan.treatments) == ("v1-same-age", ("v2",))
    twin, champion = plan.arm("v1-same-age"), plan.arm("v1")
    assert (twin.package_digest, twin.version) == (champion.package_digest, champion.version)
    assert twin.served_as != champion.served_as, "the copy is loaded by itself"
    for step in range(3):
        assert generation_from(plan, step, None).champion == "v1"
    assert plan.rollback is not None
    assert plan.rollback.shares == {"v1": BUCKETS}


def test_the_rest_is_split_as_it_is_said_among_what_runs() -> None:
    live = base(v1=6_000, v3=4_000)
    plan = drawn(live, None, share=2_000, rest=[{"version": 1, "share": 5_000}, {"version": 3, "share": 3_000}])
    assert plan.shares == {"v1": 5_000, "v2": 2_000, "v3": 3_000}
    for rest in ([{"version": 1, "share": 8_000}], [{"version": 1, "share": 4_000}, {"version": 4, "share": 4_000}]):
        with pytest.raises(Refusal, match="runs 1, 3"):
            drawn(live, None, share=2_000, rest=rest)
    with pytest.raises(Refusal, match="do not sum"):
        drawn(live, None, share=2_000, rest=[{"version": 1, "share": 7_999}])


def test_every_template_can_be_drawn_from_any_share() -> None:
    for name, steps in TEMPLATES.items():
        for now in (0, 2_500, 9_500):
            live = base(v1=BUCKETS) if not now else base(v1=BUCKETS - now, v2=now)
            plan = drawn(live, ramp=[one.model_dump() for one in between(steps, now, BUCKETS)])
            assert plan.steps[-1].shares == {"v1": 0, "v2": BUCKETS}, name
            assert now == 0 or not any(step.shadow for step in plan.ramp), "what answers already gets no copies"


def test_a_guardrail_that_is_asked_for_and_one_that_is_compared_know_the_same_kinds() -> None:
    assert get_args(guardrails.Kind) == get_args(compared.MetricKind)
    assert guardrails.OF_OUTCOMES == compared.OF_OUTCOMES


@pytest.mark.parametrize(
    ("changes", "as_much"),
    [
        ({}, True), ({"margin": 0.005}, True), ({"margin": 0.02}, False), ({"on_fail": "rollback"}, True),
        ({"on_fail": "warn"}, False), ({"relative": True}, False), ({"name": "other"}, False),
    ],
)  # fmt: skip
def test_what_a_guardrail_asks_for(changes: dict[str, Any], as_much: bool) -> None:
    old = GuardrailAsked(name="errors", kind="errors", margin=0.01, on_fail="hold")
    assert as_strict(old, old.model_copy(update=changes)) is as_much
