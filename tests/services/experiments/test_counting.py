"""What is counted from a real log equals what a slow and plain computation makes of the same rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from backend.delivery.comparison import Comparison
from backend.experiments.comparing import effects
from backend.experiments.comparing.counting import count
from backend.experiments.comparing.counts import EVERYONE, Asked, Counts, Stratum
from backend.inference_log.service import InferenceLog
from tests.services.experiments.comparing_world import request

BEGAN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NOW = BEGAN + timedelta(hours=3)
ARMS, GENERATIONS = ("v1", "v2"), (4, 5)
METRICS: list[dict[str, Any]] = [
    {"name": "errors", "kind": "errors"},
    {"name": "slow", "kind": "slow", "above_seconds": 0.1},
    {"name": "p90", "kind": "latency", "quantile": 0.9},
    {"name": "spread", "kind": "predictions", "cuts": [0.3, 0.6]},
    {"name": "late", "kind": "outcome", "outcome": "late", "horizon_seconds": 1_800},
    {"name": "capped", "kind": "outcome", "outcome": "delay", "cap": [-5.0, 5.0]},
    {"name": "huge", "kind": "outcome", "outcome": "huge", "better": "higher"},
    {"name": "before", "kind": "outcome", "outcome": "delay", "adjusted": True},
    {"name": "logloss", "kind": "log_loss", "outcome": "late"},
    {"name": "brier", "kind": "brier", "outcome": "late"},
    {"name": "squared", "kind": "squared_error", "outcome": "delay"},
    {"name": "absolute", "kind": "absolute_error", "outcome": "delay"},
]
SEGMENTS = [{"name": "jets", "feature": "kind", "value": "jet"}, {"name": "near", "feature": "miles", "high": 500.0}]
SHAPES = [("once", None), ("each_step", None), ("once", 0), ("once", 1_200), ("each_step", 1_200)]


@dataclass
class Rows:
    """What was put into the log."""

    requests: list[dict[str, Any]]
    outcomes: dict[str, dict[str, float]]


def made() -> Rows:
    """Units that come several times, before it began too, some of them in both steps, a few in two arms."""
    rng = np.random.default_rng(11)
    requests, outcomes = list[dict[str, Any]](), dict[str, dict[str, float]]()
    for unit in range(120):
        level, side = rng.normal(), unit % 2
        for _ in range(rng.integers(2, 9)):
            at = BEGAN + timedelta(seconds=int(rng.integers(-7_200, 10_800)), microseconds=int(rng.integers(1_000_000)))
            step = 0 if at < BEGAN + timedelta(hours=1) else 1
            arm = ARMS[side] if rng.random() > 0.01 else ARMS[1 - side]
            before = at < BEGAN
            one = request(f"u{unit}", at, arm, 3 if before else GENERATIONS[step], fails=bool(rng.random() < 0.1 + 0.1 * side))
            one |= {"latency_seconds": float(rng.lognormal(-3 + 0.3 * side + 0.3 * level)), "prediction": float(rng.random())}
            one |= {"features": {"kind": "jet" if unit % 3 else "prop", "miles": float(rng.integers(100, 1_000))}}
            requests.append(one)
            if rng.random() < 0.8:
                told = {"late": float(rng.random() < 0.3), "delay": float(3 * level + rng.normal(side, 4)), "huge": 1e9 + level}
                outcomes[one["request_id"]] = told
    return Rows(requests, outcomes)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[InferenceLog, Rows]]:
    rows = made()
    with InferenceLog(tmp_path_factory.mktemp("counting") / "log", clock=lambda: NOW) as log:
        assert log.append("ep", rows.requests).rejected == 0
        told = [{"request_id": name, "known_at": NOW, "values": one} for name, one in rows.outcomes.items()]
        assert log.append_outcomes("ep", told).rejected == 0
        log.flush()
        yield log, rows


def counted(log: InferenceLog, counts: str, window: int | None) -> Counts:
    comparison = Comparison.model_validate(
        {
            "control": "v1",
            "counts": counts,
            "window_seconds": window,
            "before_days": 1,
            "metrics": METRICS,
            "guardrails": [{"metric": "errors", "margin": 0.1}],
            "segments": SEGMENTS,
        }
    )
    strata = tuple(Stratum(one, {"v1": 5_000, "v2": 5_000}, BEGAN) for one in GENERATIONS)
    found = count(log, Asked("ep", comparison, ARMS, strata, BEGAN, NOW))
    assert found is not None
    return found


# -- the slow and plain way


@dataclass
class Seen:
    """One unit in one stratum."""

    unit: str
    stratum: int
    arm: str
    crossed: bool
    first: datetime
    rows: list[dict[str, Any]]


def seen(rows: Rows, counts: str, window: int | None) -> list[Seen]:
    found = []
    mine = [one for one in rows.requests if one["generation"] in GENERATIONS]
    for unit in sorted({one["unit"] for one in mine}):
        own = sorted((one for one in mine if one["unit"] == unit), key=lambda one: (one["event_time"], one["request_id"]))
        for place, generation in enumerate(sorted({one["generation"] for one in own})):
            there = [one for one in own if one["generation"] == generation]
            first = there[0]["event_time"]
            kept = there[:1] if window == 0 else there
            kept = [one for one in kept if window is None or one["event_time"] <= first + timedelta(seconds=window)]
            if place == 0 or counts == "each_step":
                crossed = len({one["assigned_arm"] for one in there}) > 1
                stratum = GENERATIONS.index(generation)
                found.append(Seen(unit, stratum, there[0]["assigned_arm"], crossed, first, kept))
    return found


def value_of(metric: dict[str, Any], rows: Rows, cut: float) -> Callable[[dict[str, Any]], float | None]:
    """A request's value; None where it has none."""

    def told(one: dict[str, Any]) -> float | None:
        outcome = rows.outcomes.get(one["request_id"], {}).get(metric.get("outcome", ""))
        p, kind = one["prediction"], metric["kind"]
        if kind == "errors":
            return float(one["failure"] != "")
        if kind == "slow":
            return float(one["latency_seconds"] > metric["above_seconds"])
        if kind == "predictions":
            return float(p < cut)
        if outcome is None:
            return None
        if kind == "outcome":
            low, high = metric.get("cap", (-math.inf, math.inf))
            return min(max(outcome, low), high)
        losses = {
            "log_loss": -(outcome * math.log(p) + (1 - outcome) * math.log(1 - p)),
            "brier": (p - outcome) ** 2,
            "squared_error": (p - outcome) ** 2,
            "absolute_error": abs(p - outcome),
        }
        return losses[kind]

    return told


def brute(rows: Rows, metric: dict[str, Any], counts: str, window: int | None, keep: Callable[[Seen], bool], cut: float) -> Any:
    """Difference of combined ratios and its variance, clustered by unit where a unit may stand in several strata."""
    told, horizon = value_of(metric, rows, cut), timedelta(seconds=metric.get("horizon_seconds", 0))
    cells: dict[tuple[int, str], list[tuple[str, float, float, float]]] = {(s, a): [] for s in (0, 1) for a in ARMS}
    earlier: dict[str, list[float]] = {}
    for one in rows.requests:
        if one["event_time"] < BEGAN and (value := told(one)) is not None:
            earlier.setdefault(one["unit"], []).append(value)
    everyones = {one.unit for one in seen(rows, counts, window)}
    middle = float(np.mean([np.mean(each) for unit, each in earlier.items() if unit in everyones]))
    for one in seen(rows, counts, window):
        if one.crossed or not keep(one) or one.first + timedelta(seconds=window or 0) + horizon > NOW:
            continue
        ripe = [each for each in one.rows if window is not None or each["event_time"] + horizon <= NOW]
        values = [value for each in ripe if (value := told(each)) is not None]
        if values:
            covariate = float(np.mean(earlier[one.unit])) if one.unit in earlier else middle
            cells[one.stratum, one.arm].append((one.unit, sum(values), float(len(values)), covariate))
    ratio = window != 0
    w = []
    for stratum in (0, 1):
        n0, n1 = (len(cells[stratum, arm]) for arm in ARMS)
        w.append(n0 * n1 / (n0 + n1) if min(n0, n1) >= 2 else 0.0)
    share = np.array(w) / sum(w)
    adds: dict[str, list[np.ndarray[Any, Any]]] = {}
    levels = {}
    means: dict[str, float] = {}
    pieces = []
    for arm in ARMS:
        own = [np.array([one[1:] for one in cells[s, arm]] or [(0.0, 0.0, 0.0)]) for s in (0, 1)]
        below = sum(share[s] * own[s][:, 1].mean() for s in (0, 1)) if ratio else 1.0
        levels[arm] = sum(share[s] * own[s][:, 0].mean() for s in (0, 1)) / below
        means[arm] = sum(share[s] * own[s][:, 2].mean() for s in (0, 1))
        for s in (0, 1):
            if not w[s]:
                continue
            e = (own[s][:, 0] - levels[arm] * own[s][:, 1] * ratio) / below
            pieces.append((s, arm, e - e.mean(), own[s][:, 2] - own[s][:, 2].mean()))
    theta = 0.0
    if metric.get("adjusted"):
        both = sum(share[s] ** 2 * (e @ c) / len(e) / (len(e) - 1) for s, _, e, c in pieces)
        own_c = sum(share[s] ** 2 * (c @ c) / len(c) / (len(c) - 1) for s, _, _, c in pieces)
        theta = both / own_c
    for s, arm, e, c in pieces:
        sign = 1 if arm == "v2" else -1
        for (unit, *_), add in zip(cells[s, arm], sign * share[s] * (e - theta * c) / len(e), strict=True):
            adds.setdefault(unit, []).append(add)
    plain = sum(share[s] ** 2 * ((e - theta * c) @ (e - theta * c)) / len(e) / (len(e) - 1) for s, _, e, c in pieces)
    together = sum(sum(each) ** 2 for each in adds.values())
    difference = levels["v2"] - levels["v1"] - theta * (means["v2"] - means["v1"])
    return difference, together if counts == "each_step" else plain


@pytest.mark.parametrize(("counts", "window"), SHAPES)
def test_every_metric_is_what_raw_rows_say(given: tuple[InferenceLog, Rows], counts: str, window: int | None) -> None:
    log, rows = given
    found = counted(log, counts, window)
    keeps: dict[str, Callable[[Seen], bool]] = {
        EVERYONE: lambda _: True,
        "jets": lambda one: one.rows[0]["features"]["kind"] == "jet",
        "near": lambda one: one.rows[0]["features"]["miles"] < 500,
    }
    for metric in (one for one in METRICS if one["kind"] != "latency"):
        for segment, keep in keeps.items():
            for cut, made in zip(metric.get("cuts", [0.0]), effects.of_metric(found, metric["name"], 1, segment), strict=True):
                difference, variance = brute(rows, metric, counts, window, keep, cut)
                where = (metric["name"], segment, cut)
                rough = 1e-4 if metric["name"] == "huge" else 1e-6  # the plain way loses digits at the size 1e9
                assert float(made.difference) == pytest.approx(difference, rel=rough, abs=1e-9), where
                assert float(made.variance) == pytest.approx(variance, rel=rough, abs=1e-7 if rough > 1e-6 else 0), where


@pytest.mark.parametrize(("counts", "window"), SHAPES)
def test_units_and_latencies_are_what_raw_rows_say(given: tuple[InferenceLog, Rows], counts: str, window: int | None) -> None:
    log, rows = given
    found = counted(log, counts, window)
    units = seen(rows, counts, window)
    for place, arm in enumerate(ARMS):
        for stratum in (0, 1):
            mine = [one for one in units if one.arm == arm and one.stratum == stratum]
            assert found.units[place, stratum] == sum(not one.crossed for one in mine)
            assert found.crossed[place, stratum] == sum(one.crossed for one in mine)
    bins = found.bins[EVERYONE]
    ripe = [one for one in units if not one.crossed and (window is None or one.first + timedelta(seconds=window) <= NOW)]
    for place, arm in enumerate(ARMS):
        own = [each["latency_seconds"] for one in ripe if one.arm == arm for each in one.rows]
        edges = bins[place].edges
        expected = np.bincount(np.searchsorted(edges, own, side="right"), minlength=len(edges) + 1)
        assert np.array_equal(bins[place].counts.sum(0), expected)
    failed = [one.rows[0]["failure"] != "" for one in units if not one.crossed and one.arm == "v2" and _is_first(one, units)]
    firsts = found.firsts[EVERYONE].cell(1)
    assert float((firsts.n * firsts.value).sum()) == sum(failed)
    assert float(firsts.n.sum()) == len(failed)


def _is_first(one: Seen, units: list[Seen]) -> bool:
    return all(each.first >= one.first for each in units if each.unit == one.unit)
