"""Comparisons on a database and a real log: counted, judged, stored, and told to whoever waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlmodel import select

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.ledger import LedgerRow
from backend.experiments.comparing import queries, service, showing
from backend.experiments.comparing.rows import ComparisonLook, ComparisonState
from backend.experiments.comparing.thinning import superfluous
from backend.findings.rows import Finding
from tests.databases import Clock
from tests.services.experiments.comparing_world import ENDPOINT, ERRORS, GUARD, Compared, plan, request


@pytest.fixture
def given(database: Database, clock: Clock, tmp_path: Path) -> Compared:
    return Compared(database, clock, tmp_path)


def _actions(given: Compared) -> list[str]:
    with given.database.read() as session:
        return list(session.exec(select(LedgerRow.action).where(LedgerRow.subject_kind == "comparison")))


def _findings(given: Compared) -> list[tuple[str, str]]:
    with given.database.read() as session:
        return [(one.kind, one.state) for one in session.exec(select(Finding).order_by("number"))]


def test_a_good_version_is_let_on_and_the_ramp_is_told(given: Compared) -> None:
    authorization = given.start(plan(window_seconds=0))
    given.add(given.rows(2_000, {"v1": 0.02, "v2": 0.02}))
    given.clock.tick(seconds=10)
    given.look()
    at = given.standing(authorization)
    assert (at.action, at.passed, at.not_failed, at.units) == ("go", True, True, 1_000)
    assert given.woken == [authorization]
    assert given.row.decision == "ship"
    assert _actions(given) == ["comparison.begin", "comparison.decide"]
    (guarded,) = given.figures.guardrails
    assert guarded.verdict == "pass"
    assert guarded.harm == pytest.approx(0.0)


def test_a_planted_regression_rolls_back_and_opens_a_finding(given: Compared) -> None:
    authorization = given.start(plan())
    given.add(given.rows(1_000, {"v1": 0.02, "v2": 0.4}))
    given.look()
    at = given.standing(authorization)
    assert (at.action, at.passed, at.not_failed) == ("rollback", False, False)
    assert "that much is not tolerated" in at.reason
    assert given.row.decision == "roll_back"
    assert _findings(given) == [("comparison.regression", "open")]


def test_nothing_is_passed_before_the_first_look_and_after_the_newest_one_got_old(given: Compared) -> None:
    authorization = given.start(plan(window_seconds=0))
    at = given.standing(authorization)
    assert (at.action, at.passed, at.not_failed, at.looked_at) == ("go", False, False, None)
    given.add(given.rows(2_000))
    given.look()
    assert given.standing(authorization).passed
    given.clock.tick(seconds=301)
    at = given.standing(authorization)
    assert (at.action, at.passed, at.not_failed) == ("hold", False, False)
    assert "301 s old" in at.reason
    given.clock.tick(hours=-1)
    assert "check the clocks" in given.standing(authorization).reason


@pytest.mark.parametrize(
    ("metric", "guard", "rows"),
    [
        ({"name": "slow", "kind": "slow", "above_seconds": 0.1}, {"metric": "slow"}, {"latency_seconds": None}),
        ({"name": "p95", "kind": "latency", "quantile": 0.95}, {"metric": "p95"}, {"latency_seconds": None}),
        ({"name": "spread", "kind": "predictions", "cuts": [0.4, 0.6]}, {"metric": "spread"}, {"prediction": float("nan")}),
        ({"name": "spread", "kind": "predictions", "cuts": [0.4, 0.6]}, {"metric": "spread"}, {"prediction": float("inf")}),
        ({"name": "loss", "kind": "log_loss", "outcome": "late"}, {"metric": "loss"}, {}),
        ({"name": "late", "kind": "outcome", "outcome": "late"}, {"metric": "late"}, {}),
    ],
)
def test_what_is_missing_or_no_number_never_passes(given: Compared, metric: Any, guard: Any, rows: Any) -> None:
    authorization = given.start(plan([metric], [{"margin": 0.5, "eta": 1.0, **guard}]))
    given.add(given.rows(1_000, **rows))
    given.look()
    at = given.standing(authorization)
    assert (at.passed, at.not_failed) == (False, False)
    assert [one.verdict for one in given.figures.guardrails] == ["missing"]
    assert given.row.decision == "keep_running"


def test_an_arm_without_traffic_holds(given: Compared) -> None:
    authorization = given.start(plan(no_traffic_seconds=60))
    given.add(one for one in given.rows(500) if one["assigned_arm"] == "v1")
    given.clock.tick(seconds=61)
    given.look()
    at = given.standing(authorization)
    assert (at.action, at.passed) == ("hold", False)
    assert "v2 got no request" in at.reason


def test_units_that_did_not_get_their_share_are_a_mismatch_that_stays(given: Compared) -> None:
    authorization = given.start(plan())
    rows = given.rows(1_000, {"v2": 0.5})
    given.add(one for place, one in enumerate(rows) if place % 2 == 0 or place % 4 == 1)
    given.look()
    at = given.standing(authorization)
    assert (at.action, at.passed, at.not_failed) == ("hold", False, False), "a failure on unsound data only holds"
    assert given.row.facts_kept.keys() == {"mismatch_units"}
    given.add(one for place, one in enumerate(rows) if place % 4 == 3)
    given.clock.tick(seconds=30)
    given.look()
    assert given.figures.mismatches[0].anytime_p > 0.001
    assert not given.standing(authorization).not_failed


def test_units_in_two_arms_are_left_out_and_too_many_invalidate(given: Compared) -> None:
    given.start(plan())
    rows = given.rows(400)
    given.add([*rows, *(request(f"u{n}", given.clock.now, "v2", given.generation) for n in range(0, 20, 2))])
    given.look()
    assert (given.figures.crossed.crossed, given.figures.crossed.invalid) == (10, True)
    assert [one.units for one in given.figures.arms] == [190, 200]
    assert given.row.decision == "keep_running"


def test_rows_that_are_sent_twice_or_dated_ahead_or_without_a_unit_count_as_they_should(given: Compared) -> None:
    given.start(plan())
    rows = given.rows(100)
    given.add(rows)
    ahead = [{**one, "request_id": f"a{n}", "event_time": given.clock.now.replace(hour=11)} for n, one in enumerate(rows)]
    stray = [{**one, "request_id": f"s{n}", "unit": None} for n, one in enumerate(rows)]
    given.add([*rows, *ahead, *stray])
    given.clock.tick(seconds=10)
    given.look()
    assert [(one.units, one.requests) for one in given.figures.arms] == [(50, 50), (50, 50)]
    given.clock.tick(hours=3)
    given.look()
    assert [one.requests for one in given.figures.arms] == [100, 100]


def test_a_fallback_is_the_assigned_arms_failure(given: Compared) -> None:
    given.start(plan())
    given.add({**one, "served_arm": "v1"} for one in given.rows(100))
    given.look()
    control, treatment = given.figures.arms
    assert (control.failures, treatment.failures, treatment.fallbacks) == (0, 50, 50)
    assert (treatment.assigned, treatment.served) == (0.5, 0.0)


def test_outcomes_that_come_late_twice_corrected_or_never(given: Compared) -> None:
    metric = {"name": "late", "kind": "outcome", "outcome": "late", "horizon_seconds": 60}
    given.start(plan([metric], [{"metric": "late", "margin": 0.5, "eta": 1.0}], window_seconds=0))
    rows = given.rows(40)
    given.add(rows)
    given.look()
    assert given.figures.effects[0].waiting == 40
    known = given.clock.tick(seconds=61)
    told = [{"request_id": one["request_id"], "known_at": known, "values": {"late": 1.0}} for one in rows[:30]]
    given.add([], told)
    given.add([], [*told, {**told[0], "values": {"late": 0.0}, "received_at": given.clock.tick(seconds=1)}])
    given.clock.tick(seconds=30)
    given.look()
    (late,) = given.figures.effects
    assert (late.n_control, late.n_treatment, late.lost, late.waiting) == (15, 15, 10, 0)
    assert late.control_value == pytest.approx(14 / 15)
    assert late.treatment_value == pytest.approx(1.0)


def test_a_guardrail_has_to_fail_so_many_looks(given: Compared) -> None:
    authorization = given.start(plan(failures=2))
    given.add(given.rows(1_000, {"v2": 0.5}))
    given.look()
    assert given.standing(authorization).action == "go"
    assert "1 of 2 looks" in given.standing(authorization).reason
    given.clock.tick(seconds=60)
    given.look()
    assert given.standing(authorization).action == "rollback"


@pytest.mark.parametrize(("on_fail", "action"), [("rollback", "rollback"), ("hold", "hold"), ("warn", "go")])
def test_what_follows_a_failure(given: Compared, on_fail: str, action: str) -> None:
    authorization = given.start(plan(guardrails=[{**GUARD, "on_fail": on_fail}]))
    given.add(given.rows(1_000, {"v2": 0.5}))
    given.look()
    at = given.standing(authorization)
    assert at.action == action
    assert bool(at.warnings) == (on_fail == "warn")
    assert _findings(given) == [("comparison.regression", "open")]


def test_a_look_that_fails_is_told_and_tried_again(given: Compared, monkeypatch: pytest.MonkeyPatch) -> None:
    authorization = given.start(plan(window_seconds=0))
    given.add(given.rows(2_000))
    given.look()
    assert given.standing(authorization).passed
    given.clock.tick(seconds=400)
    with monkeypatch.context() as broken:
        broken.setattr(given.log, "touched", lambda *_: (_ for _ in ()).throw(ValueError("no")))
        given.look()
    with given.database.read() as session:
        assert "ValueError" in (session.exec(select(ComparisonState)).one().problem or "")
    assert not given.standing(authorization).passed
    assert _findings(given) == [("comparison.stale", "open")]
    given.clock.tick(seconds=20)
    given.add(given.rows(10, name="w"))
    given.look()
    assert given.standing(authorization).passed
    assert _findings(given) == [("comparison.stale", "resolved")]


def test_a_look_whose_lease_is_lost_leaves_nothing(given: Compared, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.core import work

    given.start(plan())
    given.add(given.rows(100))
    (claim,) = work.claim(given.database, service.KIND, holder="dead", seconds=10)
    given.clock.tick(seconds=11)
    with pytest.raises(work.LeaseLost):
        given.comparing.handle(claim)
    with given.database.read() as session:
        assert not session.exec(select(ComparisonLook)).all()
    given.look()
    assert given.figures.arms[0].units == 50


def test_a_comparison_ends_with_its_rollout_and_another_plan_begins_anew(given: Compared) -> None:
    authorization = given.start(plan())
    with given.database.unit(SYSTEM) as tx:
        service.end(tx, authorization, "It was rolled back.")
    assert (given.row.state, given.row.why) == ("ended", "It was rolled back.")
    given.look()
    with given.database.read() as session:
        assert queries.of_endpoint(session, "end_1")[0].id == given.row.id


def test_each_step_counts_a_unit_in_each_and_once_in_the_first_alone(given: Compared) -> None:
    for counts, expected in (("each_step", [40, 40]), ("once", [20, 20])):
        if counts == "each_step":
            authorization = given.start(plan(counts=counts))
            first = given.generation
            given.add(given.rows(40))
            given.clock.tick(seconds=90)
            second = given.ramp(authorization)
            given.add(given.rows(40))
            assert second > first
        else:
            _ask(given, counts)
        given.look()
        assert [one.units for one in given.figures.arms] == expected
        given.clock.tick(seconds=90)


def _ask(given: Compared, counts: str) -> None:
    with given.database.unit(SYSTEM) as tx:
        row = tx.get(type(given.row), given.row.id)
        row.spec = {**row.spec, "comparison": {**row.spec["comparison"], "counts": counts}}
        tx.record("comparison.join", row)


def test_arms_are_the_means_of_their_rows(given: Compared) -> None:
    given.start(plan([ERRORS], [GUARD]))
    given.add(given.rows(400, {"v1": 0.1, "v2": 0.25}))
    given.look()
    (effect,) = given.figures.effects
    assert (effect.control_value, effect.treatment_value) == (pytest.approx(0.1), pytest.approx(0.25))
    assert effect.difference == pytest.approx(0.15)
    assert effect.low is not None
    assert effect.high is not None
    assert effect.low < 0.15 < effect.high
    assert np.isfinite(effect.better_chance)


def test_a_page_sees_the_newest_figures_and_the_series_of_looks(given: Compared) -> None:
    given.start(plan(window_seconds=0))
    for name in ("a", "b"):
        given.add(given.rows(400, {"v2": 0.1}, name=name))
        given.look()
        given.clock.tick(seconds=30)
    with given.database.read() as session:
        view = showing.of_rollout(session, ENDPOINT, now=given.clock.now)
        series = showing.series(session, view.id)
    assert view.figures is not None
    assert view.figures.arms[0].units == 400
    errors = [one for one in series if (one.of, one.metric, one.treatment) == ("effect", "errors", "v2")]
    assert [round(one.value or 0, 3) for one in errors] == [0.1, 0.1]
    assert sum(one.units for one in view.figures.exposure) == 800


def test_few_looks_are_kept_and_the_newest_ones_all() -> None:
    times = [datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=n) for n in range(501)]
    gone = superfluous(times)
    assert superfluous(times[:500]) == []
    assert set(gone).isdisjoint(times[-150:])
    assert times[0] not in gone
    assert 501 - len(gone) <= 500
