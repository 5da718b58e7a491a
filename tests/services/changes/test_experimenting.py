"""Experiments and guardrails by changes: measured, tuned and never blind; begun, split, decided and taken back in one act."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from backend.changes.service import Changes
from backend.core.ledger import LedgerRow
from backend.delivery.plan import BUCKETS, parse_plan
from backend.experiments.designs.measured import Measured, MetricMeasured
from backend.experiments.designs.rows import Experiment
from backend.experiments.designs.service import Experiments
from backend.experiments.statistics.planning import Traffic
from backend.inference_log.service import InferenceLog
from backend.policy.guardrails import GuardrailAsked
from tests.services.changes.world import ENDPOINT, World, refused

ERRORS = {"name": "errors", "kind": "errors", "margin": 0.01}
RAMP = [{"share": 500, "hold_seconds": 3_600}, {"share": 5_000, "hold_seconds": 86_400}]
BUSY = Measured(
    version=1,
    requests=700_000,
    units=700_000,
    traffic=Traffic(tuple(100_000.0 * day for day in range(1, 8))),
    failures=0.01,
    metrics={"errors": MetricMeasured(level=0.01, unit_variance=0.0099, requests=1.0)},
)
QUIET = Measured(
    version=1, traffic=Traffic((3.0, 6.0)), metrics={"errors": MetricMeasured(level=0.01, unit_variance=0.0099, requests=1.0)}
)
DESIGN: dict[str, Any] = {
    "hypothesis": "Fewer answers fail.",
    "arms": [{"version": 2, "share": 2_000}, {"version": 3, "share": 1_000}],
    "metrics": [{"name": "errors", "kind": "errors"}],
    "guardrails": [{"metric": "errors", "margin": 0.01}],
    "primary": {"metric": "errors", "smallest": 0.005},
    "planned_days": 7,
}


class Planner:
    """Says what was measured, by script, and counts how often it is asked."""

    def __init__(self, found: Measured) -> None:
        self.found, self.asked = found, 0

    def measured(self, *asked: Any) -> Measured:
        self.asked += 1
        return self.found


@pytest.fixture
def planner(world: World) -> Planner:
    """A busy endpoint."""
    planner = Planner(BUSY)
    world.changes = Changes(
        world.database, versions=world.versions, packaging=world.packaging, packages=world.store, planner=planner
    )
    return planner


@pytest.fixture
def experiments(world: World, tmp_path: Any) -> Experiments:
    return Experiments(world.database, InferenceLog(tmp_path / "log"))


def experiment(world: World, slug: str = "fewer") -> Experiment:
    with world.database.read() as session:
        return session.exec(select(Experiment).where(Experiment.slug == slug)).one()


def test_a_guardrail_is_measured_and_tuned_before_anybody_votes_on_it(world: World, planner: Planner) -> None:
    plan = parse_plan(world.change(world.propose(2, ramp=RAMP, guardrails=[ERRORS])).plan)
    assert plan.comparison is not None
    (guardrail,) = plan.guardrails
    assert guardrail.eta is not None
    assert plan.comparison.metrics[0].unit_variance == pytest.approx(0.0099)
    assert [one.statistics for one in plan.ramp] == ["not_failed", "passed"]
    world.propose(2, ramp=RAMP, guardrails=[ERRORS])
    assert planner.asked == 1, "a log is not read again for a minute"


def test_what_the_policy_asks_for_is_in_every_ramp_and_cannot_be_asked_for_less(world: World, planner: Planner) -> None:
    world.policy(guardrails=(GuardrailAsked.model_validate(ERRORS),))
    assert [one.margin for one in parse_plan(world.change(world.propose(2, ramp=RAMP)).plan).guardrails] == [0.01]
    stricter = parse_plan(world.change(world.propose(2, ramp=RAMP, guardrails=[{**ERRORS, "margin": 0.005}])).plan)
    assert [one.margin for one in stricter.guardrails] == [0.005]
    refused("policy", world.propose, 2, ramp=RAMP, guardrails=[{**ERRORS, "margin": 0.02}])
    assert not parse_plan(world.change(world.propose(2)).plan).guardrails, "nothing shares the traffic"


@pytest.mark.parametrize("found", [QUIET, Measured(why="nothing is in its log")])
def test_a_blind_ramp_is_refused_with_what_it_would_take(world: World, planner: Planner, found: Measured) -> None:
    planner.found = found
    refusal = refused("blind", world.propose, 2, ramp=RAMP, guardrails=[ERRORS])
    assert "units are needed" in str(refusal) or "let the champion be measured first" in str(refusal)
    world.propose(2, ramp=RAMP, guardrails=[{**ERRORS, "on_fail": "warn"}])


def test_an_experiment_begins_as_designed_and_its_decision_becomes_a_change(
    world: World, planner: Planner, experiments: Experiments
) -> None:
    experiments.create(world.ana, ENDPOINT, "fewer", "Fewer failures", DESIGN)
    change = world.changes.begin_experiment(world.ana, ENDPOINT, "fewer", "To know it")
    plan = parse_plan(change.plan)
    assert plan.shares == {"v1": 7_000, "v2": 2_000, "v3": 1_000}
    assert plan.comparison is not None
    assert (plan.comparison.control, plan.treatments, plan.salt) == ("v1", ("v2", "v3"), f"{ENDPOINT}/fewer")
    assert experiment(world).state == "draft"
    _through(world, change.number)
    row = experiment(world)
    assert (row.state, row.changes, row.planned is not None) == ("running", [change.id], True)

    other = world.reviewed(4)
    world.vote(other)
    world.run()
    assert world.state(other) == "approved", "it would end the experiment without a word"
    assert "fewer runs on" in world.change(other).state_reason
    world.changes.withdraw(world.ana, other, "later")

    wider = world.propose(
        2, share=4_000, experiment="fewer", rest=[{"version": 1, "share": 4_000}, {"version": 3, "share": 2_000}]
    )
    _through(world, wider)
    assert experiment(world).changes == [change.id, world.change(wider).id]
    refused("which-version", world.changes.decide, world.ana, ENDPOINT, "fewer", "ship", "It is better.")
    shipped = world.changes.decide(world.ana, ENDPOINT, "fewer", "ship", "It is better.", version=2)
    assert shipped is not None
    assert (parse_plan(shipped.plan).shares["v2"], shipped.title) == (BUCKETS, "Ship: Fewer failures")
    row = experiment(world)
    assert (row.state, row.outcome, row.reason) == ("decided", "ship", "It is better.")
    _through(world, shipped.number)
    assert world.desired_champion() == "v2"


def test_a_decision_whose_change_cannot_be_proposed_is_none(world: World, planner: Planner, experiments: Experiments) -> None:
    experiments.create(world.ana, ENDPOINT, "fewer", "Fewer failures", DESIGN)
    _through(world, world.changes.begin_experiment(world.ana, ENDPOINT, "fewer", "To know it").number)
    world.versions.digests[2] = "sha256:" + "9" * 64
    refused("digest-mismatch", world.changes.decide, world.ana, ENDPOINT, "fewer", "ship", "It is better.", version=2)
    assert experiment(world).state == "running"
    refused("not-allowed", world.changes.decide, world.audra, ENDPOINT, "fewer", "no_decision", "x")
    back = world.changes.decide(world.ana, ENDPOINT, "fewer", "roll_back", "It is not.")
    assert back is not None
    assert parse_plan(back.plan).shares["v1"] == BUCKETS
    assert experiment(world).outcome == "roll_back"


def test_a_way_back_ends_the_experiment(world: World, planner: Planner, experiments: Experiments) -> None:
    experiments.create(world.ana, ENDPOINT, "fewer", "Fewer failures", DESIGN)
    begun = world.changes.begin_experiment(world.ana, ENDPOINT, "fewer", "To know it").number
    _through(world, begun)
    world.changes.roll_back(world.olga, begun, "It is slow.")
    world.prove()
    world.run()
    row = experiment(world)
    assert (row.state, row.outcome, row.reason) == ("decided", "roll_back", "It is slow.")
    with world.database.read() as session:
        assert session.exec(select(LedgerRow).where(LedgerRow.action == "experiment.decide")).one()


def test_what_the_design_does_not_try_is_no_part_of_it(world: World, planner: Planner, experiments: Experiments) -> None:
    experiments.create(world.ana, ENDPOINT, "fewer", "Fewer failures", DESIGN)
    refused("not-in-design", world.propose, 4, share=1_000, experiment="fewer")
    refused("not-in-design", world.propose, 2, share=1_000, experiment="fewer", unit_header="x-other")
    assert parse_plan(world.change(world.propose(4, share=1_000, experiment="bare")).plan).comparison is None


def _through(world: World, number: int) -> None:
    """Reviewed, approved, started and proved."""
    world.run()
    world.check()
    world.vote(number)
    world.run()
    world.prove()
    world.run()
    assert world.state(number) == "done", world.change(number).state_reason
