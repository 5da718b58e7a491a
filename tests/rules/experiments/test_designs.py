"""Designs from outside, the states of experiments, and what a plan says that it can see: against simulations and known sums."""

from __future__ import annotations

import json
import math
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import BaseModel

from backend.core.errors import Refusal
from backend.delivery import comparison
from backend.delivery.comparison import Comparison, Metric
from backend.experiments.designs import planning, spec
from backend.experiments.designs.goals import goal_of, variance_of
from backend.experiments.designs.measured import Measured, MetricMeasured
from backend.experiments.designs.planning import Stage
from backend.experiments.designs.rules import EXPERIMENT, Running, refuse_beside
from backend.experiments.designs.spec import Design, parse_design
from backend.experiments.statistics import sequences
from backend.experiments.statistics.planning import Traffic
from backend.policy.guardrails import GuardrailAsked
from tests.designs import DESIGN

STEADY = Traffic(tuple(1_000.0 * day for day in range(1, 15)))


def measured(traffic: Traffic = STEADY, **metrics: MetricMeasured) -> Measured:
    told = {"errors": MetricMeasured(0.05, 0.05 * 0.95, 1.0), "slow": MetricMeasured(0.1, 0.1 * 0.9, 1.0), **metrics}
    return Measured(1, units=int(traffic.by(14)), traffic=traffic, cuts=(0.2, 0.5), metrics=told)


def designed(**told: Any) -> Design:
    return parse_design({**DESIGN, **told})


def planned(design: Design, known: Measured | None = None) -> Any:
    found = known or measured()
    return planning.plan(planning.comparison_of(design, "x", found), planning.stages_of_design(design), found)


METRIC = {"name": "loss", "kind": "log_loss", "outcome": "late"}


@pytest.mark.parametrize(
    ("told", "field", "says"),
    [
        ({"hypothesis": ""}, "hypothesis", "at least 1 character"),
        ({"hypothesis": "a\x00b"}, "hypothesis", "cannot be printed"),
        ({"arms": []}, "arms", "at least 1 item"),
        ({"arms": [{"version": number, "share": 1} for number in range(1, 17)]}, "arms", "at most 15"),
        ({"arms": [{"version": 2, "share": 1}, {"version": 2, "share": 1}]}, "", "a version has two arms"),
        ({"arms": [{"version": 2, "share": 5_000}, {"version": 3, "share": 5_000}]}, "", "leave nothing to the champion"),
        ({"arms": [{"version": 2, "share": "50"}]}, "arms.0.share", "valid integer"),
        ({"arms": [{"version": True, "share": 50}]}, "arms.0.version", "valid integer"),
        ({"arms": [{"version": 2, "share": 50, "weight": 1}]}, "arms.0.weight", "not permitted"),
        ({"metrics": [METRIC]}, "", "no metric is called"),
        ({"metrics": [*DESIGN["metrics"], {"name": "loss", "kind": "log_loss"}]}, "metrics.2", "needs outcome"),
        ({"metrics": [*DESIGN["metrics"], {**METRIC, "cap": [1, 0]}]}, "metrics.2", "have to rise"),
        ({"metrics": [*DESIGN["metrics"], {**METRIC, "cap": [0, math.nan]}]}, "metrics.2.cap.1", "finite"),
        ({"metrics": [*DESIGN["metrics"], {**METRIC, "adjusted": True}]}, "", "needs before_days"),
        ({"metrics": [*DESIGN["metrics"], *DESIGN["metrics"]]}, "", "two metrics have the same name"),
        ({"guardrails": [{"metric": "slow", "margin": 0}]}, "guardrails.0.margin", "greater than 0"),
        ({"guardrails": [{"metric": "slow", "margin": 0.1, "eta": 1}]}, "guardrails.0.eta", "not permitted"),
        ({"primary": {"metric": "errors", "smallest": math.inf}}, "primary.smallest", "finite"),
        ({"primary": {"metric": "errors", "smallest": 1, "goal": "not_worse"}}, "primary", "has a margin above 0"),
        ({"primary": {"metric": "errors", "smallest": 1, "margin": 1}}, "primary", "has none"),
        ({"alpha": math.nan}, "alpha", "less than 0.5"),
        ({"planned_days": 181}, "planned_days", "less than or equal to 180"),
        ({"planned_days": 10**400}, "planned_days", "less than or equal"),
        ({"unit_header": "X-Unit\r\nEvil"}, "unit_header", "match pattern"),
        ({"segments": [{"name": "a", "feature": "x", "value": "y", "low": 1}]}, "segments.0", "a segment is"),
        ({"nonsense\u202e": 1}, "nonsense", "not permitted"),
    ],
)  # fmt: skip
def test_a_design_that_does_not_hold_together_is_refused_by_its_first_wrong_field(told: Any, field: str, says: str) -> None:
    with pytest.raises(Refusal, match=says) as found:
        parse_design({**DESIGN, **told})
    assert (found.value.code, str(found.value.facts["field"]).startswith(field)) == ("bad-design", True), found.value.facts
    assert found.value.message.isprintable()


@pytest.mark.parametrize("content", [None, [], "x", 7, {}, {"arms": None}])
def test_what_is_no_object_is_no_design(content: object) -> None:
    with pytest.raises(Refusal, match="This cannot be an experiment"):
        parse_design(content)


def test_a_design_says_the_same_after_it_was_stored() -> None:
    design = designed(segments=[{"name": "night", "feature": "hour", "low": 22, "guarded": True}], layer="page")
    assert parse_design(json.loads(json.dumps(design.to_json()))) == design
    assert (design.control_share, design.layer) == (5_000, "page")


def test_what_is_asked_for_has_the_fields_of_the_plan_s_values_but_for_what_is_measured() -> None:
    def names(kind: type[BaseModel]) -> set[str]:
        return set(kind.model_fields)

    assert names(spec.MetricAsked) == names(Metric) - {"unit_variance"}
    assert names(spec.GuardedAsked) == names(comparison.Guardrail) - {"eta"}
    assert names(spec.PrimaryAsked) == names(comparison.Primary) - {"eta"}
    assert set(get_args(comparison.MetricKind)) == {
        one.kind
        for one in (spec.MetricAsked(name="x", **needed) for needed in _ONE_OF_EACH)  # type: ignore[arg-type]
    }


_ONE_OF_EACH: tuple[dict[str, Any], ...] = (
    {"kind": "errors"}, {"kind": "slow", "above_seconds": 1}, {"kind": "latency", "quantile": 0.9}, {"kind": "predictions"},
    *({"kind": one, "outcome": "late"} for one in ("outcome", "log_loss", "brier", "squared_error", "absolute_error")),
)  # fmt: skip


def test_an_experiment_starts_once_and_nothing_leaves_what_is_decided() -> None:
    assert EXPERIMENT.final == {"decided", "withdrawn"}
    assert EXPERIMENT.allowed("draft") == ("edit", "start", "withdraw")
    assert EXPERIMENT.allowed("running") == ("decide", "split")


def test_experiments_of_one_endpoint_or_one_layer_exclude_each_other() -> None:
    here, there = Running("a", "one", None), Running("b", "two", "page", shown=False)
    refuse_beside("c", "x", None, [here, there])
    refuse_beside("c", "x", "other", [here, there])
    refuse_beside("a", "one", "x", [here])
    for endpoint, layer in (("a", None), ("c", "page")):
        with pytest.raises(Refusal) as found:
            refuse_beside(endpoint, "x", layer, [here, there])
        assert found.value.code == "busy"
        assert "two" not in found.value.message


def test_a_plan_has_the_units_and_days_of_the_textbook() -> None:
    """A fixed sample of two halves needs 16 variance / difference^2 units an arm, within the sequence's price of 1.69."""
    (primary, slow) = planned(designed()).figures
    fixed = 2 * 2 * (1.959964 + 0.841621) ** 2 * 0.0475 / 0.02**2
    assert primary.units == pytest.approx(1.69 * fixed * (0.0563 / 0.0475), rel=0.01), "shares vary more at 7 % than at 5 %"
    assert (primary.days, primary.blind, primary.known) == (14.0, "", True), "in whole weeks"
    assert primary.detectable < 0.02 and slow.detectable < slow.wanted < slow.harm  # noqa: PT018


def test_a_blind_plan_is_refused_with_its_figure() -> None:
    of_outcomes = [*DESIGN["metrics"], {"name": "late", "kind": "outcome", "outcome": "late"}]
    known = measured(late=MetricMeasured(0.3, 0.21, 1.0))

    def smallest(effect: float) -> Any:
        return planned(designed(metrics=of_outcomes, primary={"metric": "late", "smallest": effect}), known)

    found = smallest(0.001)
    (words,) = found.blind
    assert "sees differences of late from" in words and "units are needed" in words  # noqa: PT018
    primary = found.figures[0]
    with pytest.raises(Refusal, match="blind to late") as refused:
        found.refuse_blind()
    assert refused.value.facts["detectable"] == primary.detectable > 0.001
    assert smallest(primary.detectable * 1.0001).blind == (), "exactly what it sees is not refused"
    assert smallest(primary.detectable * 0.999).blind != ()


def test_what_is_unknown_is_never_planned_and_what_only_warns_never_refuses() -> None:
    unknown = MetricMeasured(why="12 of the 100 units that it takes have one")
    found = planned(designed(), measured(slow=unknown))
    assert [one.known for one in found.figures] == [True, False]
    assert found.blind == (
        "How much slow varies is not known (12 of the 100 units that it takes have one): let the champion be measured first.",
    )
    warned = designed(guardrails=[{"metric": "slow", "margin": 0.05, "on_fail": "warn"}])
    assert planned(warned, measured(slow=unknown)).blind == ()
    json.dumps(found.to_json(), allow_nan=False)
    nobody = planned(designed(), measured(traffic=Traffic(())))
    assert [one.to_json()["days"] for one in nobody.figures] == [None, None]
    json.dumps(nobody.to_json(), allow_nan=False)


def test_a_relative_margin_is_a_share_of_the_champion_s_figure() -> None:
    def slow(level: float, **told: Any) -> Any:
        known = measured(slow=MetricMeasured(level, 0.09, 1.0))
        return planned(designed(guardrails=[{"metric": "slow", **told}]), known).figures[1]

    absolute, relative = slow(0.1, margin=0.02), slow(0.1, margin=0.2, relative=True)
    assert relative.units == absolute.units
    assert relative.detectable == pytest.approx(10 * absolute.detectable)
    assert not slow(0.0, margin=0.2, relative=True).known, "a share of nothing says nothing"


def test_none_that_failed_is_not_none_that_will() -> None:
    never = MetricMeasured(0.0, 0.0, 1.0)
    design = designed(guardrails=[{"metric": "errors", "margin": 0.01}], primary={"metric": "slow", "smallest": 0.05})
    found = planned(design, measured(errors=never)).figures[1]
    assert found.known and found.units > 1_000  # noqa: PT018


def test_seconds_of_a_latency_are_read_from_how_many_requests_lie_between() -> None:
    curve = tuple((one / 100, -math.log(1 - one / 100)) for one in range(1, 100))
    known = MetricMeasured(-math.log(0.1), 0.09, 1.0, curve)
    asked = {"name": "p90", "kind": "latency", "quantile": 0.9}
    rail = {"metric": "p90", "margin": 0.3}
    design = designed(metrics=[*DESIGN["metrics"], asked], guardrails=[rail])
    goal = goal_of(
        design.comparison("x", cuts=(), planned_weight=None),
        design.comparison("x", cuts=(), planned_weight=None).guardrails[0],
        1,
    )
    between = 0.1 - 0.1 * math.exp(-0.3)
    assert variance_of(goal, known) == pytest.approx(0.09 * (0.3 / between) ** 2, rel=0.02)
    assert math.isnan(variance_of(goal, MetricMeasured(why="nothing")))


def test_the_arm_that_gets_least_says_what_a_plan_sees() -> None:
    two = designed(arms=[{"version": 2, "share": 3_000}, {"version": 3, "share": 500}])
    found = planned(two)
    assert {one.arm for one in found.figures} == {"v3"}
    assert found.figures[0].alpha == pytest.approx(0.025)
    assert found.weight == pytest.approx(14_000 * 0.05 * 0.65 / 0.70)


def test_tunings_and_cuts_come_with_the_plan_and_nothing_is_tuned_by_what_nobody_knows() -> None:
    asked = {"name": "spread", "kind": "predictions"}
    design = designed(metrics=[*DESIGN["metrics"], asked], guardrails=[{"metric": "spread", "margin": 0.1}], looks="pocock")
    known = measured(spread=MetricMeasured(0.5, 0.25, 1.0))
    found = planning.comparison_of(design, "x", known)
    assert found.metric("spread").cuts == (0.2, 0.5)
    assert (found.metric("errors").unit_variance, found.planned_weight) == (0.0475, pytest.approx(14_000 / 4))
    assert found.primary is not None and found.primary.eta is not None  # noqa: PT018
    assert found.guardrails[0].eta is not None
    assert Comparison.model_validate(json.loads(found.model_dump_json())) == found
    own = designed(metrics=[*DESIGN["metrics"], {**asked, "cuts": [0.9]}])
    unknown = planning.comparison_of(own, "x", Measured(why="nothing is in its log"))
    assert unknown.metric("spread").cuts == (0.9,)
    assert (unknown.primary.eta, unknown.guardrails[0].eta) == (None, None)  # type: ignore[union-attr]
    for blind in (design, designed(looks="obrien_fleming")):
        with pytest.raises(Refusal) as refused:
            planning.comparison_of(blind, "x", Measured(why="nothing is in its log"))
        assert refused.value.code == "not-measured"


RAMP = tuple(Stage(86_400.0, 1 - share, {"v2": share}) for share in (0.01, 0.05, 0.25, 0.5))


def rollout(*guardrails: GuardrailAsked) -> Comparison:
    found = planning.rollout_comparison(guardrails, measured())
    assert found is not None
    return found


def test_a_ramp_sees_more_with_each_step_and_waits_for_what_it_needs() -> None:
    asked = rollout(GuardrailAsked(name="errors", kind="errors", margin=0.02))
    assert (asked.counts, asked.window_seconds, asked.experiment) == ("each_step", None, None)
    assert planning.rollout_comparison((), measured()) is None
    found = planning.plan(asked, RAMP, measured()).figures[0]
    assert sorted((one.detectable for one in found.steps), reverse=True) == [one.detectable for one in found.steps]
    assert found.detectable > 0.02 and found.blind  # noqa: PT018
    assert planning.plan(asked, RAMP, measured(), most_days=28).blind == ()
    (words,) = planning.plan(asked, RAMP, measured(), most_days=1).blind
    assert "at most 1 days are planned" in words
    assert planning.plan(asked, (), measured()).figures[0].blind, "no step compares anything"


def test_units_that_come_back_are_not_counted_for_new_ones() -> None:
    """Simulated at its worst: each unit says the same in every step. The planned error is no smaller than the true one."""
    rng, units, runs = np.random.default_rng(5), 1_000, 400
    asked = rollout(GuardrailAsked(name="errors", kind="errors", margin=0.02))
    course = planning._course(asked, RAMP, STEADY)
    values, place = rng.normal(size=(runs, units)), np.arange(units) / units
    sums, weights = np.zeros(runs), 0.0
    for share in (0.01, 0.05, 0.25, 0.5):
        treated = place < share
        w = units * share * (1 - share)
        sums += w * (values[:, treated].mean(1) - values[:, ~treated].mean(1))
        weights += w
    true = float((sums / weights).std())
    assert course.ends[-1].sum == pytest.approx(weights)
    assert 0.9 * true <= 1 / math.sqrt(course.ends[-1].weight) <= 1.3 * true
    assert true > 1.1 / math.sqrt(weights), "as if they were new ones the plan would promise too much"


def test_planned_power_is_the_power_of_simulated_experiments() -> None:
    """400 experiments with the planned smallest effect, looked at fifty times: about 80 % find it by the planned end."""
    design = designed(primary={"metric": "slow", "smallest": 0.1}, guardrails=[])
    known = measured(slow=MetricMeasured(0.0, 1.0, 1.0))
    found = planned(design, known)
    effect, weight = found.figures[0].detectable, found.weight
    tuned = planning.comparison_of(design, "x", known).primary
    assert tuned is not None and tuned.eta is not None  # noqa: PT018
    rng, looks = np.random.default_rng(3), np.arange(1, 51) / 50 * weight
    steps = rng.normal(effect * weight / 50, math.sqrt(weight / 50), size=(400, 50)).cumsum(1)
    limits = sequences.bound(looks, sequences.Tuning(tuned.eta), 0.05)
    power = float((np.abs(steps) / np.sqrt(looks) > limits).any(1).mean())
    assert 0.74 < power < 0.86
    alarms = rng.normal(0, math.sqrt(weight / 50), size=(2_000, 50)).cumsum(1)
    assert float((np.abs(alarms) / np.sqrt(looks) > limits).any(1).mean()) < 0.05


def test_a_rollout_s_guardrails_need_cuts_that_were_measured() -> None:
    asked = GuardrailAsked(name="spread", kind="predictions", margin=0.1)
    assert rollout(asked).metric("spread").cuts == (0.2, 0.5)
    with pytest.raises(Refusal, match="nothing is in its log") as found:
        planning.rollout_comparison((asked,), Measured(why="nothing is in its log"))
    assert found.value.code == "not-measured"
