"""Looks at outcomes: whose requests they judge, when a limit decides, what estimates learn from and are held against."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backend.drift.references import Window
from backend.monitoring import outcome_reads
from backend.monitoring.live import Live
from backend.monitoring.looks import Verdict, came
from backend.monitoring.needs import Watched
from backend.monitoring.outcomes import Given, look
from backend.monitoring.rows import MonitorRun
from backend.monitoring.rules import MonitorSpec, parse_spec
from backend.monitoring.views import Where as Asked
from backend.quality import arrays
from backend.quality.counts import Tally
from backend.quality.tasks import Binary
from tests.rules.quality.test_judging import DAY, HOUR, LATE, counts_of, drawn, rows_of

NAN = float("nan")
A_DAY = timedelta(days=1)
WINDOW = Window(DAY, DAY + A_DAY)


def spec(kind: str = "quality", *, horizon: int | None = None, **told: Any) -> MonitorSpec:
    task = {"kind": "binary", "outcome": "late", **({"horizon_hours": horizon} if horizon else {})}
    return parse_spec({"kind": kind, "task": task, "wait_minutes": 15, **told})


def given(*tables: pa.Table, version: int = 1, alone: bool = True, task: Binary = LATE, days: int | None = None) -> Given:
    live = Live(version, ("champion",), True, DAY - 30 * A_DAY)
    reference = Window(DAY - days * A_DAY, DAY) if days else None
    return Given(live, WINDOW, counts_of(*tables, task=task), 24, reference, alone)


# -- whose requests


def test_what_another_version_answered_is_never_judged_as_the_only_one_s() -> None:
    tables = [
        rows_of(drawn(480, 1)),
        rows_of(drawn(480, 2, shift=0.3), version=2),
        rows_of(drawn(100, 3), version=None),
    ]
    assert [look(spec(), given(*tables, alone=alone)).figures["auc"]["n"] for alone in (True, False)] == [580, 480]
    assert look(spec(), given(*tables, version=2, alone=False)).rows == 480


def test_an_estimate_learns_from_its_own_version_s_days() -> None:
    past = [rows_of(drawn(300, day), DAY - (8 - day) * A_DAY) for day in range(8)]
    others = [rows_of(drawn(300, 20 + day, shift=0.35), DAY - (8 - day) * A_DAY, version=2) for day in range(8)]
    now = rows_of(drawn(500, 40))
    alone, beside = (look(spec("estimate"), given(*past, now, *more, days=8)) for more in ([], others))
    assert alone.figures == beside.figures
    assert alone.figures["positive_share"]["value"] == pytest.approx(0.325, abs=0.04)


# -- when limits decide


def test_a_limit_whose_figure_cannot_be_said_does_not_pass() -> None:
    never_called = arrays.probabilities(*_rows(400, 0.05, 0.4), 0.9)
    found = look(spec(limits={"precision": {"below": 0.9}}), given(rows_of(never_called)))
    (told,) = [one for one in found.found if one.severity == "warning"]
    assert (told.kind, told.feature) == ("quality.not-judged", "precision")
    assert told.says == (
        "The limit of precision cannot be judged for version 1: No prediction with a known outcome reached the threshold."
    )
    assert found.unjudged == {"quality.precision"}, "what was found of it before is not over"
    assert came([found]).state == "alarm"


def _rows(n: int, low: float, high: float, seed: int = 1) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    scores = random.uniform(low, high, n)
    return scores, (random.random(n) < scores).astype(float)


def early(known: int, n: int = 240) -> Tally:
    """Scores that are wrong the other way round, of which the first outcomes are known."""
    scores, _ = _rows(n, 0.05, 0.95)
    return arrays.probabilities(scores, np.where(np.arange(n) < known, (scores < 0.5).astype(float), NAN))


def test_a_handful_of_outcomes_decides_no_limit() -> None:
    limited: dict[str, Any] = {"limits": {"auc": {"below": 0.7}}}
    few = look(spec(**limited), given(rows_of(early(8))))
    assert came([few]).state == "no_data"
    assert few.why == (
        "Of 240 requests to version 1 8 outcomes are known, 3 %: limits decide from 50 % on. Wait longer after each window, or "
        "set `min_known` lower."
    )
    assert "quality.auc" in few.unjudged
    assert few.figures["auc"]["label"] == "provisional: 3 % of outcomes known"
    for told in ({"min_known": 0.01}, {"horizon": 1, "wait_minutes": 60}):
        task = Binary("late", horizon=HOUR) if "horizon" in told else LATE
        assert _kinds(look(spec(**limited, **told), given(rows_of(early(8)), task=task))) == ["quality.auc"], told
    assert _kinds(look(spec(**limited), given(rows_of(early(130))))) == ["quality.auc"]


def test_what_is_wrong_with_predictions_is_told_before_outcomes_are_in() -> None:
    scores, _ = _rows(240, 0.05, 0.95)
    scores[:30] = NAN
    for known in (0, 8):
        found = look(
            spec(limits={"auc": {"below": 0.7}}),
            given(_unusable(arrays.probabilities(scores, np.where(np.arange(240) < 30 + known, 0.0, NAN)))),
        )
        assert (_kinds(found), found.why) == (["quality.prediction-not-finite"], ""), "one class of 8 outcomes is nothing yet"
        assert {"quality.auc", "quality.segment"} <= found.unjudged


def _unusable(tally: Tally) -> pa.Table:
    """Rows with those that could not be used, as the log counts them."""
    codes = np.array(sorted(tally.unusable), dtype=float)
    requests = np.array([tally.unusable[int(one)] for one in codes], dtype=float)
    sums = {name: np.concatenate([np.zeros(len(codes)), tally[name]]) for name in tally.sums}
    sums["requests"][: len(codes)] = requests
    return rows_of(Tally(np.concatenate([codes, tally.bins]), sums, {}))


def _kinds(found: Verdict) -> list[str]:
    return [one.kind for one in found.found if one.severity != "notice"]


# -- what estimates learn from


def late_ones_missing(n: int, seed: int) -> Tally:
    """Half come true; of those that do, a part is known only days later."""
    random = np.random.default_rng(seed)
    scores = random.uniform(0.3, 0.7, n)
    became = (random.random(n) < scores).astype(float)
    return arrays.probabilities(scores, np.where((became == 1) & (random.random(n) < 0.6), NAN, became))


def test_days_whose_outcomes_are_not_in_teach_an_estimate_nothing() -> None:
    settled = [rows_of(drawn(300, day, low=0.3, high=0.7), DAY - (12 - day) * A_DAY) for day in range(7)]
    young = [rows_of(late_ones_missing(300, day), DAY - (5 - day) * A_DAY) for day in range(5)]
    now = rows_of(drawn(600, 40, low=0.3, high=0.7))
    found = look(spec("estimate"), given(*settled, *young, now, days=12))
    assert found.figures["positive_share"]["value"] == pytest.approx(0.5, abs=0.03)
    none = look(spec("estimate"), given(*young, now, days=12))
    assert none.figures == {}
    assert none.why == (
        "Version 1: A reference needs at least 500 known outcomes of both kinds; choose a longer one. 5 days were left out, "
        "because less than 95% of their outcomes are known; where no more will come, give the task a horizon."
    )


def test_days_older_than_the_horizon_have_all_the_outcomes_that_count() -> None:
    task = Binary("late", horizon=48 * HOUR)
    past = [rows_of(late_ones_missing(300, day), DAY - (8 - day) * A_DAY) for day in range(8)]
    now = rows_of(drawn(600, 40, low=0.3, high=0.7))
    found = look(spec("estimate", horizon=48), given(*past, now, days=8, task=task))
    assert found.figures["positive_share"]["value"] == pytest.approx(2 / 7, abs=0.03), "of those known within it"
    younger = look(spec("estimate", horizon=48), given(*past[-1:], now, days=8, task=task))
    assert "1 day was left out" in younger.why


# -- what estimates are held against


def estimated(**asked: Any) -> Any:
    """The record of one estimate of two versions, whose second is far off its scores since."""
    tables = [
        rows_of(drawn(300, 10 * version + day), DAY - (8 - day) * A_DAY, version=version, arm=arm)
        for version, arm in ((1, "champion"), (2, "challenger"))
        for day in range(8)
    ]
    tables += [rows_of(drawn(2_000, 40)), rows_of(drawn(2_000, 41, shift=0.35), version=2, arm="challenger")]
    told = spec("estimate")
    looks = [given(*tables, version=version, alone=False, days=8) for version in (1, 2)]
    run = MonitorRun(
        monitor_id="m", slot=WINDOW.end, endpoint_id="e", revision=1, window_start=WINDOW.start, started_at=WINDOW.end,
        figures=came([look(told, one) for one in looks]).figures,
    )  # fmt: skip
    found = outcome_reads._Found(
        Watched(None, told, None),  # type: ignore[arg-type]
        counts_of(*tables),
        WINDOW,
        frozenset(WINDOW.each()),
        champion=1,
    )
    where = Asked("e", WINDOW.start, WINDOW.end, **asked)
    record = {one.name: one for one in outcome_reads._record(found, [run], where)}
    return record["positive_share"], outcome_reads._estimated_of(found, where)


@pytest.mark.parametrize(
    ("asked", "inside", "says"),
    [
        ({}, 1, "Of all requests to version 1."),
        ({"version": 1}, 1, "Of all requests to version 1."),
        ({"version": 2}, 0, "Of all requests to version 2."),
        ({"arm": "challenger"}, 1, "Of all requests to version 1, not told apart by arm."),
        ({"segmentation": "carrier", "segment": "= UA"}, 1, "Of all requests to version 1, not told apart by segment."),
    ],
)
def test_an_estimate_is_held_against_what_became_of_the_very_requests_it_was_of(
    asked: dict[str, Any], inside: int, says: str
) -> None:
    record, words = estimated(**asked)
    assert (record.checks, record.inside, words) == (1, inside, says)
    assert abs(record.mean_error) < 0.05 or not inside
