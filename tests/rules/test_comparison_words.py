"""What a reviewer reads of guardrails, gates and what is compared: every value of a plan's comparison is told."""

from __future__ import annotations

from typing import Any

import pytest

from app.change_pages import change_plan
from app.change_pages.change_plan import Live
from backend.changes import comparison_words, field_words
from backend.changes.difference import from_base, from_plan
from backend.delivery.plan import Plan, parse_plan
from backend.policy.guardrails import GuardrailAsked, says
from tests.rules.test_plan import arm
from tests.rules.test_plan import plan as plan_json

METRICS: list[dict[str, Any]] = [
    {"name": "errors", "kind": "errors", "unit_variance": 0.0196},
    {"name": "slow", "kind": "slow", "above_seconds": 0.25},
    {"name": "p95", "kind": "latency", "quantile": 0.95},
    {"name": "spread", "kind": "predictions", "cuts": [0.1, 0.5]},
    {"name": "late", "kind": "outcome", "outcome": "late", "better": "higher", "horizon_seconds": 86_400, "cap": [0, 1]},
    {"name": "loss", "kind": "log_loss", "outcome": "late", "adjusted": True},
]
GUARDRAILS: list[dict[str, Any]] = [
    {"metric": "errors", "margin": 0.01, "eta": 0.0312},
    {"metric": "p95", "margin": 0.1, "relative": True, "on_fail": "hold"},
    {"metric": "spread", "margin": 0.05, "on_fail": "warn"},
]
COMPARISON: dict[str, Any] = {
    "control": "v1",
    "metrics": METRICS,
    "counts": "each_step",
    "window_seconds": 3_600,
    "failures": 3,
    "before_days": 7,
    "segments": [{"name": "jfk", "feature": "origin", "value": "JFK", "guarded": True},
                 {"name": "far", "feature": "distance", "low": 1_000}],
    "on": {"sample_ratio": "rollback", "stale": "warn"},
}  # fmt: skip
RAMP = [
    {"shares": {"v1": 10_000}, "shadow": "v2", "hold_seconds": 600, "person": True},
    {"shares": {"v1": 9_000, "v2": 1_000}, "hold_seconds": 3_600, "min_units": 1_000, "statistics": "passed"},
]


def compared(guardrails: list[dict[str, Any]] | None = None, **changes: Any) -> Plan:
    told = {**COMPARISON, **changes}
    return parse_plan(plan_json(ramp=RAMP, comparison=told, guardrails=GUARDRAILS if guardrails is None else guardrails))


def test_each_guardrail_says_what_is_measured_how_much_is_tolerated_and_what_follows() -> None:
    told = {field: told for field, _, told in comparison_words.lines(compared())}
    assert told["guardrails.errors"] == (
        "failed requests of all, one unit's variance 0.0196: at most 1 % of requests worse, else rolled back at once "
        "(interval tuned with 0.0312)"
    )
    assert "p95 of the latency: at most 10 % of the other's figure worse, else held" in told["guardrails.p95"]
    assert "an exact test alone judges" in told["guardrails.p95"]
    assert "at 0.1, 0.5: at most 5 % of requests worse, else told, and goes on" in told["guardrails.spread"]
    assert told["comparison.metrics.late"] == (
        "mean of late over requests, where higher is better, known after 1 d, each request taken to lie from 0 to 1"
    )
    assert told["comparison.metrics.loss"] == "log loss beside late, adjusted by the unit's days before"
    assert told["comparison.metrics.slow"] == "requests of all that took longer than 0.25 s"


def test_who_is_compared_how_sure_and_what_follows_without_data_is_told() -> None:
    told = {field: told for field, _, told in comparison_words.lines(compared())}
    assert told["comparison.control"] == "v2 (version 2) with v1 (version 1)"
    assert told["comparison.counts"].endswith("in each step that it has requests in, with its requests of the first 1 h; "
                                              "7 days before it for comparison")  # fmt: skip
    assert told["comparison.alpha"].startswith("wrong in at most 5 % of whole decisions")
    assert told["comparison.alpha"].endswith("a guardrail fails after 3 looks in a row")
    assert told["comparison.segments.jfk"] == "origin is JFK; guardrails hold for it too"
    assert told["comparison.segments.far"] == "distance lies from 1000 on; exploratory: it stops nothing"
    assert "shares that are not as planned: rolled back at once" in told["comparison.on"]
    assert "no look for 5 min: told, and goes on" in told["comparison.on"]


def test_a_copy_of_the_same_age_is_named_as_what_others_are_held_to() -> None:
    twin = {**arm(1, 0), "name": "v1-same-age", "served_as": {"model": "flight-delay.abcd1234", "version": 1}}
    plan = parse_plan(
        plan_json(
            arms=[arm(1, 0), twin, arm(2, 10_000)],
            ramp=[{"shares": {"v1": 8_000, "v1-same-age": 1_000, "v2": 1_000}}],
            comparison={**COMPARISON, "control": "v1-same-age"},
            guardrails=GUARDRAILS,
        )
    )
    (said,) = [told for field, _, told in comparison_words.lines(plan) if field == "comparison.control"]
    assert said == "v2 (version 2) with v1-same-age (version 1, a copy of the champion that is loaded as newly)"


def test_a_reviewer_reads_every_part_on_the_page_and_in_the_summary() -> None:
    plan, base = compared(), {"arms": [{**arm(1, 10_000)}], "champion": "v1", "generation": 3}
    names = {one.name for one in change_plan.fields(plan, Live(base))}
    said = from_base(plan, base).summary
    for _, title, words in comparison_words.lines(plan):
        assert title in names
        assert f"{title}: {words}." in said
    assert "copies to v2 for 10 min, then until somebody lets it go on" in said
    assert "until each arm has 1,000 units, then until every guardrail is proved to be kept" in said
    assert (
        change_plan.step_rows(plan)[1][2]
        == "held for 1 h, then each arm has 1,000 units, then every guardrail is proved to be kept"
    )
    assert "version 2 gets copies and answers nobody" in change_plan.step_rows(plan)[0][1]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"alpha": 0.1}, "Error of one decision: 0.1; it was 0.05."),
        ({"failures": 1}, "Failing looks in a row: 1; it was 3."),
        ({"on": {"sample_ratio": "hold", "stale": "warn"}},
         "Where nothing can be judged, sample ratio: hold; it was rollback."),
        ({"guardrails": [{**GUARDRAILS[0], "margin": 0.02}, *GUARDRAILS[1:]]},
         "Guardrail errors, tolerated harm: 0.02; it was 0.01."),
        ({"guardrails": [{**GUARDRAILS[0], "eta": 0.5}, *GUARDRAILS[1:]]},
         "Guardrail errors, tuning of its interval: 0.5; it was 0.0312."),
        ({"guardrails": GUARDRAILS[:2]}, "Guardrail spread, what follows: none; it was warn."),
        ({"metrics": [{**METRICS[0], "unit_variance": 0.5}, *METRICS[1:]]},
         "Metric errors, unit variance: 0.5; it was 0.0196."),
    ],
)  # fmt: skip
def test_an_edit_of_any_part_is_told_by_its_own_field(changed: dict[str, Any], line: str) -> None:
    assert line in [one.says for one in from_plan(compared(**changed), compared()).lines]


def test_the_first_guardrail_is_told_as_new_and_not_as_another_list() -> None:
    bare = parse_plan(plan_json(ramp=RAMP[:1]))
    told = [one.says for one in from_plan(compared(), bare).lines]
    assert "Guardrail errors, tolerated harm: 0.01; new." in told
    assert not [one for one in told if "{" in one and "primary" not in one]


def test_gates_are_told_in_the_order_in_which_they_are_asked() -> None:
    step = {"hold_seconds": 60, "min_units": 100, "statistics": "not_failed", "person": True}
    assert field_words.gates_say(step) == (
        "for 1 min, then until each arm has 100 units, then while no guardrail fails, then until somebody lets it go on"
    )
    assert field_words.gates_say({}) == ""


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"name": "errors", "kind": "errors", "margin": 0.01},
         "errors (errors): at most 1 % of requests worse; else rolls back"),
        ({"name": "p95", "kind": "latency", "margin": 0.1, "relative": True, "quantile": 0.95, "on_fail": "hold"},
         "p95 (latency, p95): at most 10 % of the champion's figure worse; else holds until a person acts"),
        ({"name": "late", "kind": "outcome", "margin": 0.5, "outcome": "late", "better": "higher", "horizon_seconds": 3_600},
         "late (outcome, of late, higher is better, known after 1h): at most 0.5 worse; else rolls back"),
    ],
)  # fmt: skip
def test_a_guardrail_of_a_policy_is_told_in_words(asked: dict[str, Any], words: str) -> None:
    assert says(GuardrailAsked.model_validate(asked)) == words
