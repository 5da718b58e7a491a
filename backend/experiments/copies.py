"""What a shadow arm answered beside the live one: how often they differ and by how much, how fast they were, whose errors are
smaller where the outcome is known. A copy is no request: nothing here is in any other figure.

Figures are counted by the database, one pass over the pairs of the window; an interval rests on one value a unit
(`statistics.paired`). docs/experiments.md says what is compared, and what is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from backend.core.errors import Refusal
from backend.experiments import copies_sql as sql
from backend.experiments.statistics import moments, paired
from backend.inference_log.reading import Reading
from backend.inference_log.service import InferenceLog

ALPHA = 0.05
SETTLED = timedelta(minutes=1)
"""How long ago a request must be, so that a copy without an answer counts as one that got none."""
LONGEST = timedelta(days=31)
MOST_SHADOWS = 10
TOLERATED_SHARE = 0.01
"""Of the distance between the 5 % and the 95 % quantile of the live predictions: what differs by more disagrees."""
TOLERATED_IN_DOCUMENTS = 0.01
QUANTILES = (0.5, 0.9, 0.95, 0.99)
_QUANTILES_OF_DIFFERENCES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Estimated:
    """A mean over pairs.

    Args:
        low, high: of a 95 % interval that holds at every look; None where it does not count yet, which `unsettled` explains.
        units: that it rests on.
    """

    mean: float
    low: float | None
    high: float | None
    units: int
    unsettled: str


@dataclass(frozen=True)
class Disagreement:
    """How often the two said something else.

    Args:
        tolerance: numbers that lie no further apart agree. `told` says whether the caller named it.
        threshold: where one is named, numbers agree that are on the same side of it, whatever they are.
    """

    share: Estimated
    tolerance: float
    told: bool
    threshold: float | None


@dataclass(frozen=True)
class Differences:
    """Shadow less live, of predictions that are finite numbers. `quantiles`: of the difference, by their shares as text."""

    pairs: int
    mean: float
    mean_absolute: float
    largest: float
    quantiles: Mapping[str, float]


@dataclass(frozen=True)
class Latencies:
    """Seconds at the arms, of pairs in which both answered; by quantile, such as `0.95`."""

    pairs: int
    live: Mapping[str, float]
    shadow: Mapping[str, float]
    mean_difference: float


@dataclass(frozen=True)
class Loss:
    """Errors where the outcome is known.

    Args:
        name: `log_loss` and `brier` of outcomes of 0 and 1, `squared_error` and `absolute_error` of others.
        live, shadow: means; less is better.
        difference: shadow less live, within pairs: below 0 the shadow is better.
    """

    name: str
    pairs: int
    live: float
    shadow: float
    difference: Estimated


@dataclass(frozen=True)
class Copies:
    """What one shadow arm did in a window.

    Args:
        start, end: of the requests' time; `end` is outside, and lies a minute back at least.
        versions: of the shadow, as it told them.
        asked: requests of which the shadow was sent a copy, as far as was heard; without mistakes of callers.
        answered, failed, missing: the shadow's valid answers, its failures, and live answers beside which nothing was heard
            of the shadow: it was too slow, its connection broke, or what it answered was lost on the way here. Together they
            are `asked`.
        failure_share: failed over failed and answered; None where there are none. `missing_share`: of all that were asked.
        failures: kind of failure -> how often.
        mistaken: copies that the shadow refused by 4xx and that have no valid live answer either: the caller's mistake.
        unread: valid answers of the shadow that could not be read: binary tensors, more than 64 KiB, no JSON.
        untold: answers of the shadow that were read, to requests whose live prediction nobody told.
        compared: pairs of predictions; `disagreement` is None where there are none.
        outcome: which outcome `losses` are of; None where none was named and there is not exactly one of `outcomes`.
    """

    endpoint: str
    arm: str
    start: datetime
    end: datetime
    versions: tuple[int, ...]
    asked: int
    answered: int
    failed: int
    missing: int
    failure_share: float | None
    missing_share: float | None
    failures: Mapping[str, int]
    mistaken: int
    unread: int
    untold: int
    compared: int
    disagreement: Disagreement | None
    differences: Differences | None
    latency: Latencies | None
    outcome: str | None
    outcomes: tuple[str, ...]
    losses: tuple[Loss, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-able; times in ISO 8601."""
        return {**asdict(self), "start": self.start.isoformat(), "end": self.end.isoformat()}


@dataclass(frozen=True)
class _Asked:
    """What is asked of every shadow of a window."""

    endpoint: str
    start: datetime
    end: datetime
    tolerance: float | None
    threshold: float | None
    outcome: str | None


def compared(
    log: InferenceLog,
    endpoint: str,
    arm: str,
    start: datetime,
    end: datetime,
    now: datetime,
    *,
    tolerance: float | None = None,
    threshold: float | None = None,
    outcome: str | None = None,
) -> Copies:
    """One shadow arm in a window of time; zeros where it answered nothing. Raises as `all_compared`."""
    asked = _asked(endpoint, start, end, now, tolerance, threshold, outcome)
    if asked is None:
        return _nothing(endpoint, arm, start, end)
    with _read(log, asked, now) as reading:
        return _of(reading, asked, arm)


def all_compared(
    log: InferenceLog,
    endpoint: str,
    start: datetime,
    end: datetime,
    now: datetime,
    *,
    tolerance: float | None = None,
    threshold: float | None = None,
    outcome: str | None = None,
) -> tuple[Copies, ...]:
    """All shadow arms of an endpoint in a window, the newest first, ten at most.

    Args:
        start, end: of the requests' time, 31 days at most.
        now: which outcomes are known, and which answers are due.
        tolerance: numbers that lie no further apart agree. By default a hundredth of the distance between the 5 % and the 95 %
            quantile of the live predictions in the window.
        threshold: of decisions: numbers agree that are both below it, or both not.
        outcome: which outcome errors are measured by; by default the only one that there is.

    Raises Refusal `bad-window`, `bad-tolerance`; ExternalFailure when the log cannot be read.
    """
    asked = _asked(endpoint, start, end, now, tolerance, threshold, outcome)
    if asked is None:
        return ()
    with _read(log, asked, now) as reading:
        found = [str(row["shadow"]) for row in reading.query(sql.SHADOWS, [MOST_SHADOWS]).to_pylist()]
        return tuple(_of(reading, asked, arm) for arm in found)


def _asked(
    endpoint: str,
    start: datetime,
    end: datetime,
    now: datetime,
    tolerance: float | None,
    threshold: float | None,
    outcome: str | None,
) -> _Asked | None:
    """None where all of the window is too young."""
    if start.tzinfo is None or end.tzinfo is None or not start < end or end - start > LONGEST:
        raise Refusal(
            "This is not a window of copies.",
            f"Give a start before its end, both with their time zones, at most {LONGEST.days} days apart.",
            code="bad-window",
        )
    if any(one is not None and not math.isfinite(one) for one in (tolerance, threshold)) or (tolerance or 0.0) < 0:
        raise Refusal(
            "This is no tolerance, or no threshold.", "Give finite numbers, the tolerance 0 or more.", code="bad-tolerance"
        )
    end = min(end, now - SETTLED)
    return _Asked(endpoint, start, end, tolerance, threshold, outcome) if start < end else None


def _read(log: InferenceLog, asked: _Asked, now: datetime) -> Reading:
    return log.read(asked.endpoint, None, asked.start, asked.end, known_by=now, copies=True)


def _nothing(endpoint: str, arm: str, start: datetime, end: datetime) -> Copies:
    return Copies(endpoint, arm, start, end, (), 0, 0, 0, 0, None, None, {}, 0, 0, 0, 0, None, None, None, None, (), ())


def _of(reading: Reading, asked: _Asked, arm: str) -> Copies:
    outcomes = tuple(one.name for one in reading.outcomes)
    outcome = asked.outcome or (outcomes[0] if len(outcomes) == 1 else None)
    known = reading.column(outcome, "outcome") if outcome is not None else "CAST(NULL AS DOUBLE)"
    reading.keep("sides_of_copies", sql.sides(known), [arm])
    tolerance = asked.tolerance if asked.tolerance is not None else _tolerance(reading)
    reading.keep("pairs_of_copies", sql.pairs(threshold=asked.threshold is not None), [asked.threshold or 0.0, tolerance])
    (count,) = reading.query(sql.COUNTS).to_pylist()
    failures = {str(row["failure"]): int(row["count"]) for row in reading.query(sql.FAILURES).to_pylist()}
    asked_of, answered, failed = (int(count[one]) for one in ("asked", "answered", "failed"))
    share = _estimated(reading, "differs") if count["compared"] else None
    return Copies(
        endpoint=asked.endpoint,
        arm=arm,
        start=asked.start,
        end=asked.end,
        versions=tuple(sorted(count["versions"] or ())),
        asked=asked_of,
        answered=answered,
        failed=failed,
        missing=int(count["missing"]),
        failure_share=failed / (failed + answered) if failed + answered else None,
        missing_share=int(count["missing"]) / asked_of if asked_of else None,
        failures=failures,
        mistaken=int(count["mistaken"]),
        unread=int(count["unread"]),
        untold=int(count["untold"]),
        compared=int(count["compared"]),
        disagreement=Disagreement(share, tolerance, asked.tolerance is not None, asked.threshold) if share else None,
        differences=_differences(reading),
        latency=_latency(reading),
        outcome=outcome,
        outcomes=outcomes,
        losses=_losses(reading) if outcome is not None else (),
    )


def _tolerance(reading: Reading) -> float:
    (row,) = reading.query(sql.SPREAD).to_pylist()
    if row["low"] is None:
        return TOLERATED_IN_DOCUMENTS
    return float(TOLERATED_SHARE * (row["high"] - row["low"]))


def _estimated(reading: Reading, column: str) -> Estimated:
    """The mean of a column of the pairs that have one, which some have."""
    linear = paired.linear_sql("pairs_of_copies", column)
    (row,) = reading.query(f"SELECT {moments.sql()} FROM ({linear})").to_pylist()  # noqa: S608 - statements of ours
    cell = moments.of_sums(row)
    found = paired.estimate(cell)
    unsettled = paired.missing_words(found)
    low, high = (float(one) for one in paired.interval(found, ALPHA))
    units = int(cell.n)
    return Estimated(float(cell.value), None if unsettled else low, None if unsettled else high, units, unsettled)


def _differences(reading: Reading) -> Differences | None:
    (row,) = reading.query(sql.differences(_QUANTILES_OF_DIFFERENCES)).to_pylist()
    if not row["pairs"]:
        return None
    quantiles = _named(_QUANTILES_OF_DIFFERENCES, row["quantiles"])
    return Differences(int(row["pairs"]), row["mean"], row["mean_absolute"], row["largest"], quantiles)


def _latency(reading: Reading) -> Latencies | None:
    (row,) = reading.query(sql.latencies(QUANTILES)).to_pylist()
    if not row["pairs"]:
        return None
    live, shadow = (_named(QUANTILES, row[one]) for one in ("live", "shadow"))
    return Latencies(int(row["pairs"]), live, shadow, row["mean_difference"])


def _losses(reading: Reading) -> tuple[Loss, ...]:
    (row,) = reading.query(sql.OF_CHANCES).to_pylist()
    if not row["pairs"]:
        return ()
    return tuple(_loss(reading, name) for name in (sql.OF_CHANCE if row["chances"] else sql.OF_VALUE))


def _loss(reading: Reading, name: str) -> Loss:
    live, shadow = (sql.loss(name, side) for side in ("live", "shadow"))
    (row,) = reading.query(sql.losses(live, shadow)).to_pylist()
    difference = _estimated(reading, f"({shadow} - {live})")
    return Loss(name, int(row["pairs"]), row["live"], row["shadow"], difference)


def _named(shares: tuple[float, ...], values: list[float]) -> dict[str, float]:
    return {f"{share:g}": float(value) for share, value in zip(shares, values, strict=True)}
