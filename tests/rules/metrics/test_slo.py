"""Budgets and burn rates: the workbook's factors, what alarms, what does not, and that no data is never a pass."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.metrics import slo
from backend.metrics.slo import ALERTS, DAY, HOUR, WINDOWS, Counts, Objective

THREE_NINES = Objective("availability", 0.999)


def everywhere(bad: float, *, total: float = 100_000, covered: float = 1.0) -> dict[timedelta, Counts | None]:
    """The same share of bad requests in every window."""
    return {window: Counts(total * (1 - bad), total, covered) for window in WINDOWS}


def verdicts(counts: dict[timedelta, Counts | None], objective: Objective = THREE_NINES, days: int = 30) -> list[str]:
    return [one.verdict for one in slo.judge(objective, days, counts)]


def test_the_factors_are_the_workbooks_for_thirty_days_and_keep_its_shares_for_others() -> None:
    assert [alert.factor(30) for alert in ALERTS] == pytest.approx([14.4, 6, 3, 1])
    assert [alert.factor(28) for alert in ALERTS] == pytest.approx([13.44, 5.6, 2.8, 28 / 30])
    pairs = [(alert.severity, slo.promql(alert.long), slo.promql(alert.short)) for alert in ALERTS]
    assert pairs == [("page", "1h", "5m"), ("page", "6h", "30m"), ("ticket", "1d", "2h"), ("ticket", "3d", "6h")]


@pytest.mark.parametrize(
    ("bad", "wanted"),
    [
        (0.02, ["burning"] * 4),
        (0.01, ["fine", "burning", "burning", "burning"]),
        (0.004, ["fine", "fine", "burning", "burning"]),
        (0.0015, ["fine", "fine", "fine", "burning"]),
        (0.0005, ["fine"] * 4),
        (0.0, ["fine"] * 4),
    ],
)
def test_what_burns_faster_alarms_sooner(bad: float, wanted: list[str]) -> None:
    assert verdicts(everywhere(bad)) == wanted


def test_what_is_over_does_not_alarm_although_the_long_window_still_shows_it() -> None:
    counts = everywhere(0.02)
    counts[timedelta(minutes=5)] = Counts(1000, 1000, 1.0)
    assert verdicts(counts)[0] == "fine"


def test_what_just_began_does_not_alarm_before_it_matters() -> None:
    counts = everywhere(0.0)
    counts[timedelta(minutes=5)] = Counts(0, 1000, 1.0)
    assert verdicts(counts) == ["fine"] * 4


@given(st.floats(0, 1), st.floats(0, 0.49), st.sampled_from(WINDOWS))
def test_a_window_that_nobody_looked_at_is_never_a_pass(bad: float, covered: float, window: timedelta) -> None:
    counts = everywhere(bad)
    counts[window] = Counts(100, 100, covered)
    judged = slo.judge(THREE_NINES, 30, counts)
    concerned = [one for one in judged if window in (one.alert.long, one.alert.short)]
    assert concerned
    assert {one.verdict for one in concerned} == {"unknown"}
    assert all("was looked at" in one.reason for one in concerned)


def test_no_source_and_no_traffic_are_unknown_and_say_so() -> None:
    nothing: dict[timedelta, Counts | None] = {}
    assert verdicts(nothing) == ["unknown"] * 4
    assert slo.judge(THREE_NINES, 30, nothing)[0].reason == "In the last hour: no source tells it."
    idle = everywhere(0.0, total=0)
    assert verdicts(idle) == ["unknown"] * 4
    assert "nobody asked anything" in slo.judge(THREE_NINES, 30, idle)[0].reason


def test_where_requests_are_rare_a_short_window_without_any_hides_nothing() -> None:
    quiet, failing = everywhere(0.0), everywhere(0.5)
    for counts in (quiet, failing):
        counts[timedelta(minutes=5)] = Counts(0, 0, 1.0)
    assert verdicts(quiet)[0] == "fine"
    assert verdicts(failing)[0] == "unknown"


def test_an_alert_that_a_low_target_never_lets_fire_says_so() -> None:
    ninety = Objective("availability", 0.9)
    judged = slo.judge(ninety, 30, everywhere(1.0))
    assert [one.verdict for one in judged] == ["fine", "burning", "burning", "burning"]
    assert "full outage burns at 10 times" in judged[0].reason


HALF = Objective("availability", 0.5)


@pytest.mark.parametrize(
    ("target", "days", "alarms"), [(0.5, 59, True), (0.5, 60, False), (0.66, 90, False), (0.67, 90, True), (0.9, 90, True)]
)
def test_whether_any_alert_can_fire_is_what_a_full_outage_does(target: float, days: int, alarms: bool) -> None:
    objective = Objective("availability", target)
    assert slo.can_alarm(objective, days) == alarms
    assert ("burning" in verdicts(everywhere(1.0), objective, days)) == alarms


@pytest.mark.parametrize("counts", [{}, everywhere(0.0), everywhere(1.0), everywhere(0.0, total=0)])
def test_where_no_alert_can_fire_nothing_is_known_whatever_is_counted(counts: dict[timedelta, Counts | None]) -> None:
    judged = slo.judge(HALF, 90, counts)
    assert slo.worst(judged) == "unknown"
    assert {(one.verdict, one.reason) for one in judged} == {("unknown", slo.NEVER_FIRES)}


def test_an_alert_that_cannot_fire_is_no_pass_without_data_and_says_nothing_of_the_objective() -> None:
    ninety = Objective("availability", 0.9)
    assert verdicts({}, ninety) == ["unknown"] * 4
    assert verdicts(everywhere(0.0, total=0), ninety) == ["unknown"] * 4
    blind_at_first = everywhere(0.0)
    blind_at_first[timedelta(minutes=5)] = None
    judged = slo.judge(ninety, 30, blind_at_first)
    assert [(one.verdict, one.can_fire) for one in judged[:2]] == [("unknown", False), ("fine", True)]
    assert slo.worst(judged) == "fine"
    blind_later = everywhere(0.0)
    blind_later[timedelta(minutes=30)] = None
    assert slo.worst(slo.judge(ninety, 30, blind_later)) == "unknown"


@given(st.floats(0.5, 0.99999), st.integers(1, 10**6), st.floats(0, 1), st.integers(1, 90))
def test_the_budget_is_what_the_target_leaves(target: float, total: int, bad: float, days: int) -> None:
    objective = Objective("availability", target)
    found = slo.budget(objective, Counts(total * (1 - bad), total, 1.0))
    assert found.allowed == pytest.approx((1 - target) * total)
    assert found.used == pytest.approx(bad * total, abs=1e-6)
    assert found.left is not None
    assert (found.left < 0) == (found.used > found.allowed)
    burnt = slo.burn(objective, timedelta(days=days), Counts(total * (1 - bad), total, 1.0))
    assert burnt.rate == pytest.approx(1 - found.left, abs=1e-6), "at a burn rate of 1 the whole window uses the whole budget"


def test_a_budget_of_which_little_or_nothing_is_known_says_so() -> None:
    assert slo.budget(THREE_NINES, None).left is None
    assert slo.budget(THREE_NINES, Counts(0, 0, 1.0)).reason == "Nobody asked anything."
    part = slo.budget(THREE_NINES, Counts(999, 1000, 0.1))
    assert part.left == pytest.approx(0)
    assert part.reason == "Only 10 % of it was looked at: this is of that part alone."


def test_words() -> None:
    assert [slo.words(one) for one in (timedelta(minutes=5), HOUR, 6 * HOUR, DAY, 3 * DAY)] == [
        "5 minutes", "1 hour", "6 hours", "1 day", "3 days",
    ]  # fmt: skip
    assert [Objective("latency", 0.9, one).name for one in (0.25, 1.5, 0.0025)] == [
        "latency-250ms", "latency-1500ms", "latency-2.5ms",
    ]  # fmt: skip
    assert slo.worst(slo.judge(THREE_NINES, 30, everywhere(0.02))) == "burning"
    assert slo.worst(()) == "unknown"
