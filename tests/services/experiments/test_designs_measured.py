"""What is measured of an endpoint before a plan: beside the same by hand from the raw rows, and what stays unknown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.core.unit import writing
from backend.experiments.designs.measured import Measured
from backend.experiments.designs.measuring import Champion, Wanted, measure
from backend.experiments.designs.spec import MetricAsked
from backend.inference_log.service import InferenceLog

END = datetime(2026, 3, 9, 9, tzinfo=UTC)
DAY = timedelta(days=1)
ENDPOINT, CHAMPION = "flight-delay", Champion("v1", 1)
METRICS = (
    MetricAsked(name="errors", kind="errors"),
    MetricAsked(name="slow", kind="slow", above_seconds=0.2),
    MetricAsked(name="p90", kind="latency", quantile=0.9),
    MetricAsked(name="spread", kind="predictions", cuts=(0.3,)),
    MetricAsked(name="late", kind="outcome", outcome="late", horizon_seconds=3_600),
    MetricAsked(name="capped", kind="outcome", outcome="late", cap=(0.2, 0.8)),
    MetricAsked(name="loss", kind="log_loss", outcome="late"),
    MetricAsked(name="brier", kind="brier", outcome="late"),
    MetricAsked(name="apart", kind="absolute_error", outcome="late"),
)
Rows = list[dict[str, Any]]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[InferenceLog]:
    with InferenceLog(tmp_path / "log", clock=lambda: END) as opened:
        yield opened


def rows(units: int = 300, days: int = 3, seed: int = 1) -> tuple[Rows, Rows]:
    """Requests of units that come two or three times a day, and their outcomes."""
    rng, requests, outcomes = np.random.default_rng(seed), [], []
    for unit in range(units):
        own = rng.normal(0, 0.1)
        for place in range(int(rng.integers(1, 3 * days))):
            hour = rng.choice([2, 20, *([30, 47] if days > 1 else []), *([68] if days > 2 else [])])
            at = END - timedelta(hours=float(hour) + float(rng.uniform(0.01, 0.99)))
            failed = bool(rng.random() < 0.05)
            score = float(np.clip(0.5 + own + rng.normal(0, 0.2), 0, 1))
            one = f"{unit}-{place}"
            requests.append({
                "request_id": one, "event_time": at, "unit": f"u{unit}", "assigned_arm": "v1", "version": 1,
                "served_arm": "v1", "failure": "timeout" if failed else "", "latency_seconds": float(rng.exponential(0.1)),
                "prediction": None if failed else score,
            })  # fmt: skip
            if rng.random() < 0.8:
                known_at = at + timedelta(minutes=20)
                outcomes.append({"request_id": one, "known_at": known_at, "values": {"late": rng.random() < score}})
    return requests, outcomes


def put(log: InferenceLog, requests: Rows, outcomes: Rows = ()) -> None:  # type: ignore[assignment]
    assert log.append(ENDPOINT, requests).rejected == 0
    assert log.append_outcomes(ENDPOINT, outcomes).rejected == 0
    log.flush()


def measured(log: InferenceLog, now: datetime = END, **told: Any) -> Measured:
    most = told.pop("most_rows", 2_000_000)
    return measure(log, ENDPOINT, CHAMPION, Wanted(**{"metrics": METRICS, "window_seconds": 0, **told}), now, most_rows=most)


def by_hand(requests: Rows, outcomes: Rows, window: int | None) -> dict[str, tuple[float, float, float]]:
    """Level, unit variance and requests a unit of each metric, by plain loops."""
    came = {one["request_id"]: float(one["values"]["late"]) for one in outcomes}
    times = [one["event_time"] for one in requests]
    end = max(times).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    start = end - (end - min(times)) // DAY * DAY
    latencies = [one["latency_seconds"] for one in requests if one["event_time"] >= start]
    q90 = float(np.quantile(latencies, 0.9))
    clip = lambda p: min(max(p, 2.0**-52), 1 - 2.0**-52)  # noqa: E731
    of: dict[str, Callable[[dict[str, Any]], float | None]] = {
        "errors": lambda r: float(r["failure"] != ""),
        "slow": lambda r: float(r["latency_seconds"] > 0.2),
        "p90": lambda r: float(r["latency_seconds"] > q90),
        "spread": lambda r: float(r["prediction"] < 0.3) if r["prediction"] is not None else None,
        "late": lambda r: came.get(r["request_id"]),
        "capped": lambda r: min(max(came[r["request_id"]], 0.2), 0.8) if r["request_id"] in came else None,
        "loss": lambda r: -math.log(clip(r["prediction"]) if came[r["request_id"]] else 1 - clip(r["prediction"])),
        "brier": lambda r: (r["prediction"] - came[r["request_id"]]) ** 2,
        "apart": lambda r: abs(r["prediction"] - came[r["request_id"]]),
    }
    losses = ("loss", "brier", "apart")
    units: dict[Any, Rows] = {}
    for one in sorted(requests, key=lambda r: (r["event_time"], r["request_id"])):
        if one["event_time"] >= start:
            day = (one["event_time"] - start) // DAY if window is None else 0
            units.setdefault((one["unit"], day), []).append(one)
    found = {}
    for name, value in of.items():
        horizon = 3_600 if name == "late" else 0
        v, d = [], []
        for mine in units.values():
            first = mine[0]["event_time"]
            if window is None:
                kept = [r for r in mine if r["event_time"] + timedelta(seconds=horizon) <= END]
            elif first + timedelta(seconds=window + horizon) > END:
                continue
            else:
                kept = mine[:1] if window == 0 else [r for r in mine if r["event_time"] <= first + timedelta(seconds=window)]
            if name in losses:
                kept = [r for r in kept if r["request_id"] in came and r["prediction"] is not None]
            values = [one for r in kept if (one := value(r)) is not None]
            if values:
                v.append(sum(values))
                d.append(len(values))
        va, da = np.array(v), np.array(d, dtype=float)
        ratio = va.sum() / da.sum()
        found[name] = (ratio, float(np.var((va - ratio * da) / da.mean(), ddof=1)), float(da.mean()))
    return found


@pytest.mark.parametrize("window", [0, 36 * 3_600, None])
def test_levels_and_variances_are_those_of_the_raw_rows(log: InferenceLog, window: int | None) -> None:
    told = rows()
    put(log, *told)
    found, wanted = measured(log, window_seconds=window), by_hand(*told, window)
    for name, (level, variance, requests) in wanted.items():
        one = found.metrics[name]
        if name == "p90":
            assert one.level == pytest.approx(np.quantile([r["latency_seconds"] for r in told[0]], 0.9), rel=0.05)
        else:
            assert one.level == pytest.approx(level), name
        assert (one.unit_variance, one.requests) == (pytest.approx(variance), pytest.approx(requests)), name


def test_traffic_is_of_all_arms_and_figures_are_the_champion_s_alone(log: InferenceLog) -> None:
    requests, _ = rows(units=200)
    others = [
        {**one, "request_id": f"o{one['request_id']}", "unit": f"o{one['unit']}", "assigned_arm": "v2", "version": 2,
         "served_arm": "v2", "failure": "always"}
        for one in requests
    ]  # fmt: skip
    nobodys = [{**one, "request_id": f"n{one['request_id']}", "unit": None} for one in requests[:50]]
    fallen = {**requests[0], "request_id": "fallback", "unit": "f", "served_arm": "v2", "version": 2, "failure": ""}
    put(log, [*requests, *others, *nobodys, fallen])
    found = measured(log, metrics=METRICS[:1])
    assert (found.requests, found.without_unit) == (2 * len(requests) + 1, 50)
    assert found.units == found.traffic.distinct[-1] > 380
    assert len(found.traffic.distinct) == 2, "whole days alone, of the 2.8 that are there"
    assert found.failures is not None
    assert 0.02 < found.failures < 0.09
    assert found.metrics["errors"].level == pytest.approx(found.failures, abs=0.03)


def test_what_a_log_leaves_out_is_counted_back(log: InferenceLog) -> None:
    put(log, *rows(units=400))
    whole = measured(log, metrics=METRICS[:1])
    sampled = measured(log, metrics=METRICS[:1], most_rows=whole.requests // 2)
    assert sampled.sampled_every > 1
    assert sampled.units == pytest.approx(whole.units, rel=0.25)
    kept = measured(log, metrics=METRICS[:1], kept_every=10)
    assert kept.units == 10 * whole.units


def test_a_covariate_takes_off_what_units_keep_and_nothing_where_the_log_is_too_short(log: InferenceLog) -> None:
    rng, requests, outcomes = np.random.default_rng(4), [], []
    for unit in range(400):
        own = rng.normal(0, 3)
        for day in range(4):
            one, at = f"{unit}-{day}", END - (day + 0.5) * DAY
            requests.append({"request_id": one, "event_time": at, "unit": f"u{unit}", "assigned_arm": "v1", "version": 1})
            outcomes.append({"request_id": one, "known_at": at, "values": {"spent": own + rng.normal(0, 1)}})
    put(log, requests, outcomes)
    spent = MetricAsked(name="spent", kind="outcome", outcome="spent", adjusted=True)
    plain = measured(log, metrics=(spent.model_copy(update={"adjusted": False}),)).metrics["spent"]
    taken = measured(log, metrics=(spent,), before_days=2).metrics["spent"]
    late = measured(log, metrics=(spent,), before_days=30).metrics["spent"]
    assert plain.unit_variance == pytest.approx(10, rel=0.15)
    assert taken.unit_variance == pytest.approx(1 + 9 * (1 - 9 / 9.5), rel=0.2), "a mean of two days before knows most of it"
    assert late.unit_variance == pytest.approx(plain.unit_variance)
    assert "does not go back far enough" in late.why


def test_what_is_not_in_the_log_is_unknown_with_its_reason(log: InferenceLog) -> None:
    assert measured(log).why == "nothing is in its log"
    assert measure(log, ENDPOINT, None, Wanted(), END).why == "no version answers there yet"
    requests, _ = rows(units=20, days=1)
    put(log, [{**one, "unit": None} for one in requests])
    assert measured(log).why == "no request in its log names a unit"
    put(log, [{**one, "request_id": f"x{one['request_id']}", "prediction": None} for one in requests])
    found = measured(log)
    assert found.why.startswith("only ")
    assert "a whole day brings more units" in found.why
    assert "of the 100 units that it takes have one" in found.of("errors").why
    assert "is a number" in measured(log, metrics=(MetricAsked(name="spread", kind="predictions"),)).of("spread").why
    assert found.of("never-asked-for").unit_variance is None
    assert all(one.unit_variance is None and one.why for one in found.metrics.values())
    assert measured(log, END - 2 * DAY).why == "nothing is in its log", "what is dated later is not there yet"
    assert measured(log, END + 40 * DAY).end == found.end, "the newest that there is, with its date"


def test_windows_that_are_open_are_waited_for(log: InferenceLog) -> None:
    put(log, *rows(units=300, days=2))
    waiting = measured(log, window_seconds=30 * 86_400, metrics=METRICS[:1])
    assert "wait for their windows" in waiting.metrics["errors"].why


def test_names_of_outcomes_are_never_part_of_a_statement(log: InferenceLog) -> None:
    put(log, *rows(units=150, days=1))
    evil = MetricAsked(name="evil", kind="outcome", outcome='late") FROM requests; DROP VIEW requests; --')
    found = measured(log, metrics=(evil, METRICS[0]))
    assert found.metrics["evil"].unit_variance is None
    assert found.metrics["errors"].level is not None
    strange = measure(log, ENDPOINT, Champion("v1' OR true --", 7), Wanted(METRICS[:1], 0), END)
    assert "has no requests" in strange.why


def test_a_log_is_never_read_inside_a_unit_of_work(log: InferenceLog) -> None:
    with writing(), pytest.raises(RuntimeError, match="inside a unit of work"):
        measured(log)


def test_deciles_of_predictions_are_cuts_that_have_something_below_them(log: InferenceLog) -> None:
    requests, _ = rows(units=200)
    put(log, [{**one, "prediction": float(place % 2)} for place, one in enumerate(requests)])
    spread = MetricAsked(name="spread", kind="predictions")
    found = measured(log, metrics=(spread,))
    assert found.cuts == (1.0,)
    assert found.metrics["spread"].level == pytest.approx(0.5, abs=0.15)
