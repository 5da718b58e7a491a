"""What a gate's result is worth, what the gates say together, and when two answers are the same."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.core.canonical import canonical
from backend.core.errors import Refusal
from backend.evidence.gates.recorded_answers import difference, parse_probes
from backend.evidence.rules import EVIDENCE, Outlook, outlook, standing, strictest_ages
from backend.policy.rules import GateRule

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Ran:
    """One result."""

    verdict: str = "passed"
    plan_digest: str = "p"
    finished_at: datetime | None = NOW
    valid_until: datetime | None = NOW + timedelta(hours=1)


EXPECTED = {
    ("queued", "begin"): "running", ("running", "begin"): "running", ("running", "passed"): "passed",
    ("running", "failed"): "failed", ("running", "error"): "error", ("queued", "void"): "void", ("running", "void"): "void",
    ("passed", "void"): "void", ("failed", "void"): "void", ("error", "void"): "void",
}  # fmt: skip


@pytest.mark.parametrize(("state", "event"), itertools.product(EVIDENCE.states, EVIDENCE.events))
def test_every_state_and_event(state: str, event: str) -> None:
    if (after := EXPECTED.get((state, event))) is not None:
        assert EVIDENCE.next(state, event) == after
        return
    with pytest.raises(Refusal):
        EVIDENCE.next(state, event)


@pytest.mark.parametrize(
    ("result", "worth"),
    [
        (None, "missing"),
        (Ran(), "passed"),
        (Ran("failed"), "failed"),
        (Ran("error"), "error"),
        (Ran("void"), "missing"),
        (Ran("queued", finished_at=None), "running"),
        (Ran("running", finished_at=None), "running"),
        (Ran(plan_digest="another"), "missing"),
        (Ran(valid_until=NOW), "stale"),
        (Ran("error", valid_until=NOW), "stale"),
        (Ran("failed", valid_until=NOW), "failed"),
        (Ran(finished_at=None), "stale"),
    ],
)
def test_a_result_is_worth_something_for_its_plan_and_its_time(result: Ran | None, worth: str) -> None:
    assert standing(result, "p", NOW) == worth


def test_a_policy_may_ask_for_a_fresher_result() -> None:
    result = Ran(finished_at=NOW - timedelta(seconds=60))
    assert standing(result, "p", NOW, max_age_seconds=61) == "passed"
    assert standing(result, "p", NOW, max_age_seconds=60) == "stale"


def test_of_a_check_that_a_policy_of_old_names_twice_the_stricter_one_counts() -> None:
    rules = [GateRule(gate="g", max_age_seconds=60), GateRule(gate="g", weight="inform"), GateRule(gate="h")]
    assert strictest_ages(rules) == strictest_ages(reversed(rules)) == {"g": 60, "h": None}
    assert outlook(rules, {"g": "stale", "h": "failed"}, frozenset()) == Outlook(wanted=("g",), blocking=("h",))


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("weight", ["must_pass", "must_not_fail", "inform"])
@pytest.mark.parametrize("stands", ["missing", "running", "passed", "failed", "error", "stale"])
def test_no_gate_is_passed_over_in_silence(stands: Any, weight: Any, hard: bool) -> None:
    found = outlook([GateRule(gate="g", weight=weight)], {"g": stands}, frozenset({"g"} if hard else ()))
    strict = hard or weight == "must_pass"
    blocks = (stands == "failed" and (strict or weight == "must_not_fail")) or (stands == "error" and strict)
    assert found.blocking == (("g",) if blocks else ())
    assert found.wanted == (("g",) if stands in ("missing", "stale") else ())
    assert found.waiting == (("g",) if stands == "running" else ())
    assert found.clear == (stands in ("passed", "failed", "error") and not blocks)


@pytest.mark.parametrize(
    ("expected", "got", "says"),
    [
        ({"y": 0.5}, {"y": 0.5}, ""),
        ({"y": 0.5}, {"y": [[0.5005]]}, ""),
        ({"y": 0.5}, {"y": 0.502}, "y is 0.502 instead of 0.5"),
        ({"y": 0.5}, {}, "y is missing"),
        ({"y": [1.0, 2.0]}, {"y": [1.0]}, "1 value(s) instead of 2"),
        ({"y": "late"}, {"y": "late"}, ""),
        ({"y": "late"}, {"y": "Late"}, "'Late' instead of 'late'"),
        ({"y": 1.0}, {"y": float("nan")}, "nan"),
        ({"y": True}, {"y": 1}, "1 instead of True"),
        ({"y": 1.0}, {"y": None}, "None"),
        ({"y": 1.0}, {"y": float("inf")}, "inf"),
    ],
)
def test_answers_agree_within_the_tolerance_and_no_further(expected: Any, got: Any, says: str) -> None:
    found = difference(expected, got, 0.001)
    assert (says in found) if says else (found == "")


def test_an_answer_with_further_outputs_agrees() -> None:
    assert difference({"y": 1.0}, {"y": 1.0, "label": 0}, 0.0) == ""


@pytest.mark.parametrize(
    "probes",
    [
        {}, [], {"inputs": [], "outputs": [], "tolerance": 0}, {"inputs": [{}], "outputs": [], "tolerance": 0},
        {"inputs": [{}], "outputs": [{}], "tolerance": -1}, {"inputs": [{}], "outputs": [{}], "tolerance": "x"},
        {"inputs": [1], "outputs": [{}], "tolerance": 0}, {"inputs": [{}], "outputs": [{}]},
    ],
)  # fmt: skip
def test_recorded_answers_that_are_none_are_refused(probes: Any) -> None:
    with pytest.raises(Refusal) as refused:
        parse_probes(canonical(probes))
    assert refused.value.code == "bad-probes"


def test_recorded_answers_are_read() -> None:
    probes = {"schema": 1, "inputs": [{"x": 1}], "outputs": [{"y": 2}], "tolerance": 0.01}
    assert parse_probes(canonical(probes)) == ([{"x": 1}], [{"y": 2}], 0.01)
