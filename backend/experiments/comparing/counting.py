"""Counts a comparison from the inference log: one row a unit and stratum, then sums. It reads files: never inside a unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from backend.core.unit import assert_outside_unit
from backend.delivery.comparison import OF_OUTCOMES, Metric, Segment
from backend.experiments.comparing import effects, unit_rows
from backend.experiments.comparing.clustered import statement, weights
from backend.experiments.comparing.counts import EVERYONE, Asked, Counts, Traffic
from backend.experiments.comparing.unit_rows import FIRSTS, UNITS
from backend.experiments.designs.unit_sql import Counted as Ratio
from backend.experiments.designs.unit_sql import counted as ratios_of
from backend.experiments.statistics.moments import FIELDS, Floats, Moments, of_sums
from backend.experiments.statistics.quantiles import Bins, design_effect, latency_edges
from backend.inference_log.reading import Reading
from backend.inference_log.service import InferenceLog

MOST_HOURS = 336
HOUR = timedelta(hours=1)
_KEYS = ("place", "generation", "arm")


def count(log: InferenceLog, asked: Asked) -> Counts | None:
    """Counts what the log has; None where nothing of these generations can be in it. Raises ExternalFailure."""
    assert_outside_unit("reading the inference log")
    hours = _hours(log, asked)
    if not hours or not asked.strata:
        return None
    start = hours[0] - timedelta(days=asked.comparison.before_days)
    now = asked.now.astimezone(UTC)
    with log.read(asked.endpoint, None, start, hours[-1] + HOUR, known_by=now) as reading:
        return _Counting(reading, asked).count()


def _hours(log: InferenceLog, asked: Asked) -> list[datetime]:
    """Hours that may hold its requests: whose files came since it began. What is replayed lies in hours of its own past."""
    found = log.touched(asked.endpoint, asked.began_at).requests
    return [one for one in found if one <= asked.now]


class _Counting:
    """One look at one reading."""

    def __init__(self, reading: Reading, asked: Asked) -> None:
        self.reading, self.asked = reading, asked
        self.comparison, self.shape = asked.comparison, asked.shape
        self.segments = (None, *range(len(self.comparison.segments)))
        self.now = asked.now.astimezone(UTC)

    def name(self, segment: int | None) -> str:
        return EVERYONE if segment is None else self.comparison.segments[segment].name

    def count(self) -> Counts:
        generations = [one.generation for one in self.asked.strata]
        where, values = self._where()
        self.reading.keep(FIRSTS, unit_rows.firsts(where, self.shape), [generations, self.now, list(self.asked.arms), *values])
        bins = self._bins()
        ratios, of_metric = self._ratios(bins)
        self._keep_units(ratios)
        found = Counts(self.asked, *self._arms(), self._traffic(generations), self._by_hour(), ratios, of_metric, bins=bins)
        self._sum_up(found)
        return found

    def _where(self) -> tuple[list[str], list[object]]:
        """Conditions of segments; what a person wrote goes into parameters from $4 on."""
        found, values = list[str](), list[object]()
        for one in self.comparison.segments:
            found.append(self._condition(one, values))
        return found, values

    def _condition(self, one: Segment, values: list[object]) -> str:
        if one.value is not None:
            values.append(one.value)
            text, flag = self.reading.column(one.feature, "text"), self.reading.column(one.feature, "flag")
            return f"coalesce({text}, CAST({flag} AS VARCHAR)) = ${len(values) + 3}"
        number = self.reading.column(one.feature, "number")
        ends = [f"{number} >= {float(one.low)!r}"] if one.low is not None else []
        ends += [f"{number} < {float(one.high)!r}"] if one.high is not None else []
        return f"(isfinite({number}) AND {' AND '.join(ends)})"

    def _bins(self) -> dict[str, list[Bins]]:
        if not any(one.kind == "latency" for one in self.comparison.metrics):
            return {}
        edges, found = latency_edges(unit_rows.BINS_LOW), dict[str, list[Bins]]()
        for segment in self.segments:
            counts = np.zeros((len(self.asked.arms), len(self.asked.strata), len(edges) + 1))
            for row in self._rows(unit_rows.bins(segment, self.shape, len(edges) + 1), [self.now]):
                counts[(*self._place(row), row["bin"])] = row["values"]
            found[self.name(segment)] = [Bins(edges, one) for one in counts]
        return found

    def _ratios(self, bins: Mapping[str, Sequence[Bins]]) -> tuple[list[Ratio], dict[str, list[int]]]:
        found, of_metric = list[Ratio](), dict[str, list[int]]()
        for one in self.comparison.metrics:
            mine = ratios_of(one, (), _threshold(one, bins), lambda name: self.reading.column(name, "outcome"))
            of_metric[one.name] = list(range(len(found), len(found) + len(mine)))
            found += mine
        return found, of_metric

    def _keep_units(self, ratios: Sequence[Ratio]) -> None:
        outcomes = any(one.kind in OF_OUTCOMES for one in self.comparison.metrics)
        own = unit_rows.units(ratios, len(self.comparison.segments), self.shape, with_outcomes=outcomes)
        adjusted = [place for place, one in enumerate(ratios) if one.adjusted]
        if not adjusted:
            self.reading.keep(UNITS, own, [self.now])
            return
        began = self._began()
        days = timedelta(days=self.comparison.before_days)
        self.reading.keep("compared_before", unit_rows.before(ratios, adjusted), [began - days, began])
        self.reading.keep("compared_own", own, [self.now])
        middles = ", ".join(f"(SELECT avg(c{place}) FROM compared_before) AS m{place}" for place in adjusted)  # noqa: S608
        self.reading.keep(
            UNITS,
            f"SELECT o.*, b.* EXCLUDE (unit), {middles} FROM compared_own o LEFT JOIN compared_before b USING (unit)",  # noqa: S608
        )

    def _began(self) -> datetime:
        """What came before everything that is compared: also where its hours are of a past that is replayed."""
        (row,) = self._rows(f"SELECT min(first) AS first FROM {FIRSTS}")  # noqa: S608
        own = self.asked.began_at.astimezone(UTC)
        return own if row["first"] is None else min(own, row["first"].astimezone(UTC))

    def _arms(self) -> tuple[Floats, Floats, Floats, Floats]:
        made = tuple(np.zeros((len(self.asked.arms), len(self.asked.strata))) for _ in range(4))
        for row in self._rows(unit_rows.arms(self.comparison.matures_seconds, self.shape)):
            for each, name in zip(made, ("units", "complete", "crossed", "new"), strict=True):
                each[self._place(row)] = row[name]
        return made[0], made[1], made[2], made[3]

    def _traffic(self, generations: list[int]) -> list[Traffic]:
        rows = self._rows(unit_rows.SHARED, [generations, self.now])
        return [Traffic(**row) for row in rows if row["arm"] is not None]

    def _by_hour(self) -> list[tuple[datetime, str, int]]:
        rows = self._rows(f"{unit_rows.NEW_BY_HOUR} LIMIT {MOST_HOURS * len(self.asked.arms)}")
        return [(row["hour"].astimezone(UTC), row["arm"], row["units"]) for row in reversed(rows)]

    def _sum_up(self, found: Counts) -> None:
        (near,) = self._rows(unit_rows.middles(len(found.ratios)))
        places_of_all = range(len(found.ratios))
        found.centres = [_finite(near[f"k{place}"]) for place in places_of_all]
        denominators = [_finite(near[f"d{place}"]) for place in places_of_all]
        for name, places in found.of_metric.items():
            found.broken[name] = max(int(near[f"x{place}"] or 0) for place in places)
        for segment in self.segments:
            self._sum_segment(found, segment, denominators)

    def _sum_segment(self, found: Counts, segment: int | None, denominators: list[float]) -> None:
        rows = self._rows(unit_rows.cells(found.ratios, segment, self.shape, found.centres, denominators))
        for place in range(len(found.ratios)):
            mine = [row for row in rows if row["place"] == place]
            found.cells[place, self.name(segment)] = self._moments(mine, {"denominator": denominators[place]})
        found.firsts[self.name(segment)] = self._first_failures(segment)
        for metric in self.comparison.metrics:
            if metric.kind == "latency":
                (place,) = found.of_metric[metric.name]
                (row,) = self._rows(unit_rows.spread(place, segment, found.ratios[place], self.shape))
                found.spreads[metric.name, self.name(segment)] = design_effect(of_sums(row))
        if self.asked.pooled:
            self._cluster(found, segment)

    def _moments(self, rows: Sequence[Mapping[str, Any]], shifts: Mapping[str, float]) -> Moments:
        size = (len(self.asked.arms), len(self.asked.strata))
        made = {one: np.zeros(size) for one in FIELDS}
        for row in rows:
            cell = of_sums({name: one for name, one in row.items() if name not in _KEYS and one is not None}, shifts)
            for one in FIELDS:
                made[one][self._place(row)] = getattr(cell, one)
        return Moments(**made)

    def _first_failures(self, segment: int | None) -> Moments:
        size = (len(self.asked.arms), len(self.asked.strata))
        n, failed = np.zeros(size), np.zeros(size)
        for row in self._rows(unit_rows.first_failures(segment)):
            n[self._place(row)], failed[self._place(row)] = row["n"], row["failed"]
        return of_sums({"n": n, "value": failed, "vv": failed, "vvv": failed, "waiting": 0 * n, "lost": 0 * n})

    def _cluster(self, found: Counts, segment: int | None) -> None:
        """The second pass: variances with a unit's strata together."""
        name = self.name(segment)
        wanted = [
            (place, arm, weights(found.cells[place, name], arm, effects.plain(found, place, arm, name), one, self.shape))
            for place, one in enumerate(found.ratios)
            for arm in range(1, len(self.asked.arms))
        ]
        for start in range(0, len(wanted), 40):
            some = wanted[start : start + 40]
            sql = statement([(found.ratios[place], place, told) for place, _, told in some], found.centres, self.asked, segment)
            (row,) = self._rows(sql, list(self.asked.arms))
            for number, (place, arm, _) in enumerate(some):
                told = tuple(float(row[f"{which}{number}"] or 0.0) for which in ("aa", "ab", "bb"))
                found.clustered[place, self.asked.arms[arm], name] = (told[0], told[1], told[2])

    def _place(self, row: Mapping[str, Any]) -> tuple[int, int]:
        generations = [one.generation for one in self.asked.strata]
        return self.asked.arms.index(row["arm"]), generations.index(row["generation"])

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.reading.query(sql, parameters).to_pylist()
        return rows


def _finite(value: float | None) -> float:
    return value if value is not None and np.isfinite(value) else 0.0


def _threshold(one: Metric, bins: Mapping[str, Sequence[Bins]]) -> float | None:
    """The quantile of both arms together, above which requests tell how alike a unit's are."""
    if one.kind != "latency" or one.quantile is None:
        return None
    counts = np.sum([each.counts.sum(0) for each in bins[EVERYONE]], axis=0)
    if not counts.sum():
        return 1.0
    edges = bins[EVERYONE][0].edges
    place = int(np.searchsorted(counts.cumsum() / counts.sum(), one.quantile))
    return float(edges[min(place, len(edges) - 1)])
