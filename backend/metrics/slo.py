"""Objectives, error budgets and burn rates. Pure: counts in, verdicts out. No data is never a pass.

An objective says which share of an endpoint's requests shall be good over a window of days. Its budget is the rest: at 99.9 %
one request in a thousand may be bad. The burn rate is how many times faster than evenly over the window that budget is being
used up. One alarms where a long window shows that it matters and a short one that it still goes on.

Source: Google, The Site Reliability Workbook, chapter 5, "Alerting on SLOs" (multiwindow, multi-burn-rate alerts), whose
factors are for a window of 30 days; for another one they are such that the same share of the budget goes in the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Severity = Literal["page", "ticket"]
Verdict = Literal["burning", "fine", "unknown"]
NEVER_FIRES = "At this target and window no alert can fire, not even in a full outage."
ENOUGH_COVERED = 0.5
"""What share of a window has to have been looked at for its figures to speak for it."""
LEAST_TARGET, MOST_TARGET = 0.5, 0.99999
LEAST_DAYS, MOST_DAYS = 1, 90


@dataclass(frozen=True)
class Objective:
    """One promise about an endpoint.

    Args:
        kind: `availability`: answered without an error; `latency`: answered within `seconds`, an error counts as too late.
        target: the share that shall be good, such as 0.999.
        seconds: the threshold of a latency objective.
    """

    kind: Literal["availability", "latency"]
    target: float
    seconds: float | None = None

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return 1 - self.target

    @property
    def name(self) -> str:
        """How it is called among its endpoint's: `availability`, `latency-250ms`."""
        return self.kind if self.seconds is None else f"{self.kind}-{milliseconds(self.seconds)}"


@dataclass(frozen=True)
class Alert:
    """One pair of windows. `share`: of the whole budget, used up in the long window at the rate that alarms."""

    severity: Severity
    share: float
    long: timedelta
    short: timedelta

    def factor(self, days: int) -> float:
        """The burn rate that alarms, for a window of so many days: 14.4, 6, 3 and 1 for 30."""
        return self.share * (timedelta(days=days) / self.long)

    def can_fire(self, objective: Objective, days: int) -> bool:
        """Whether it alarms at least when every request fails: a low target has a budget that nothing burns so fast."""
        return self.factor(days) * objective.budget < 1


ALERTS: tuple[Alert, ...] = (
    Alert("page", 0.02, HOUR, timedelta(minutes=5)),
    Alert("page", 0.05, 6 * HOUR, timedelta(minutes=30)),
    Alert("ticket", 0.10, DAY, 2 * HOUR),
    Alert("ticket", 0.10, 3 * DAY, 6 * HOUR),
)
WINDOWS: tuple[timedelta, ...] = tuple(sorted({window for alert in ALERTS for window in (alert.long, alert.short)}))


def can_alarm(objective: Objective, days: int) -> bool:
    """Whether any alert can fire: at 50 % over 60 days and more none can, and nobody would ever be told of an outage."""
    return any(alert.can_fire(objective, days) for alert in ALERTS)


@dataclass(frozen=True)
class Counts:
    """What is known of one window.

    Args:
        good, total: requests. `good` is a guess where the threshold is not among the bounds of a histogram, and then
            lies between `least` and `most`.
        covered: which share of the window was looked at, 0 to 1.
    """

    good: float
    total: float
    covered: float
    least: float | None = None
    most: float | None = None

    @property
    def bad_share(self) -> float | None:
        """None where there was nothing to judge."""
        return max(0.0, 1 - self.good / self.total) if self.total > 0 else None

    @property
    def is_blind(self) -> bool:
        """Whether too little of the window was looked at."""
        return self.covered < ENOUGH_COVERED

    @property
    def why_unknown(self) -> str:
        """Why nothing can be said of this window; "" where something can."""
        if self.is_blind:
            return f"only {100 * self.covered:.2g} % of it was looked at"
        return "" if self.total > 0 else "nobody asked anything"


@dataclass(frozen=True)
class Burn:
    """How fast one window uses up the budget.

    Args:
        rate: None where that is unknown, with the reason.
        blind: it is unknown because nobody looked; else because nobody asked anything.
    """

    window: timedelta
    rate: float | None
    reason: str = ""
    blind: bool = False


@dataclass(frozen=True)
class Judged:
    """One alert as it stands. `unknown` is no pass: whoever watches has to be told of it too.

    Args:
        can_fire: see `Alert.can_fire`; one that cannot says nothing of how its objective stands.
    """

    alert: Alert
    factor: float
    verdict: Verdict
    long: Burn
    short: Burn
    reason: str
    can_fire: bool = True


@dataclass(frozen=True)
class Budget:
    """What is left of an objective's budget.

    Args:
        allowed: how many requests may be bad, of those that were counted.
        used: how many were.
        left: share of the budget that is left; below 0 where it is overspent, None where nothing is known.
        covered: share of the window of which something is known.
        reason: why it is not known, or known in part only.
    """

    allowed: float
    used: float
    left: float | None
    covered: float
    reason: str = ""


def burn(objective: Objective, window: timedelta, counts: Counts | None) -> Burn:
    """The burn rate of one window."""
    if counts is None:
        return Burn(window, None, "no source tells it", blind=True)
    if counts.why_unknown:
        return Burn(window, None, counts.why_unknown, blind=counts.is_blind)
    return Burn(window, (counts.bad_share or 0.0) / objective.budget)


def judge(objective: Objective, days: int, counts: Mapping[timedelta, Counts | None]) -> tuple[Judged, ...]:
    """Every alert of an objective.

    Burning takes both windows above the factor. Fine takes one window that is known to be below it, and none that nobody looked
    at: where requests are rare, a short window without any does not hide that the long one is well. Where no alert can fire
    at all, every one of them is unknown, whatever is counted: that none of them burns would say nothing.
    """
    watched = can_alarm(objective, days)
    return tuple(_judged(objective, alert, days, counts, watched=watched) for alert in ALERTS)


def _judged(
    objective: Objective, alert: Alert, days: int, counts: Mapping[timedelta, Counts | None], *, watched: bool
) -> Judged:
    factor, can_fire = alert.factor(days), alert.can_fire(objective, days)
    long, short = (burn(objective, window, counts.get(window)) for window in (alert.long, alert.short))

    def told(verdict: Verdict, reason: str) -> Judged:
        return Judged(alert, factor, verdict, long, short, reason, can_fire)

    blind = next((one for one in (long, short) if one.blind), None)
    idle = next((one for one in (long, short) if one.rate is None), None)
    slow = next((one for one in (long, short) if one.rate is not None and (one.rate <= factor or not can_fire)), None)
    if not watched:
        return told("unknown", NEVER_FIRES)
    if blind is not None:
        return told("unknown", _says(blind))
    if slow is not None and not can_fire:
        most = 1 / objective.budget
        says = f"At this target even a full outage burns at {most:.3g} times, below {factor:.3g}: the other alerts watch."
        return told("fine", says)
    if slow is not None:
        return told("fine", f"{slow.rate:.3g} times over {words(slow.window)}.")
    if idle is not None:
        return told("unknown", _says(idle))
    says = f"The budget burns at {long.rate:.3g} times over {words(alert.long)}, {short.rate:.3g} over {words(alert.short)}."
    return told("burning", says)


def _says(burnt: Burn) -> str:
    return f"In {lately(burnt.window)}: {burnt.reason}."


def budget(objective: Objective, counts: Counts | None) -> Budget:
    """What is left of the budget over the objective's whole window."""
    if counts is None:
        return Budget(0.0, 0.0, None, 0.0, "No source tells it.")
    allowed, used = objective.budget * counts.total, max(0.0, counts.total - counts.good)
    if counts.total <= 0:
        return Budget(0.0, 0.0, None, counts.covered, f"{_upper(counts.why_unknown)}.")
    reason = "" if counts.covered >= ENOUGH_COVERED else f"{_upper(counts.why_unknown)}: this is of that part alone."
    return Budget(allowed, used, 1 - used / allowed, counts.covered, reason)


def worst(judged: Sequence[Judged]) -> Verdict:
    """Of several alerts: burning before unknown before fine. Without one that can fire nothing is known."""
    found = {one.verdict for one in judged if one.can_fire}
    return next((one for one in ("burning", "unknown", "fine") if one in found), "unknown")


def milliseconds(seconds: float) -> str:
    """`250ms`, `1500ms`, `2.5ms`."""
    return f"{round(seconds * 1000, 3):g}ms"


def words(window: timedelta) -> str:
    """`5 minutes`, `1 hour`, `3 days`."""
    minutes = round(window.total_seconds() / 60)
    for size, name in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes % size == 0:
            count = minutes // size
            return f"{count} {name}{'' if count == 1 else 's'}"
    raise AssertionError("every number of minutes is divided by 1")


def lately(window: timedelta) -> str:
    """`the last 5 minutes`, `the last hour`."""
    return f"the last {words(window).removeprefix('1 ')}"


def promql(window: timedelta) -> str:
    """`5m`, `1h`, `3d`, as Prometheus writes durations."""
    count, name = words(window).split()
    return f"{count}{name[0]}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
