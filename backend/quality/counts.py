"""Counts by hour, version, arm, segment and bin. Whatever is asked of a window is asked of a sum of them. Pure.

One row is one bin of one hour: how many requests, how many of them with which kind of outcome, and sums of what the figures
need. Nothing in it depends on other rows, so that windows, arms and segments add up, and an hour that a late or corrected
outcome touched is counted anew by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backend.quality.intervals import Array, summed
from backend.quality.tasks import Regression, Task

Code = Literal[-1, -2, -3, -4, -5]
"""Stands as the bin of what is no usable prediction."""
NO_PREDICTION: Final = -1
NOT_FINITE: Final = -2
OUTSIDE: Final = -3
MALFORMED: Final = -4
NOT_ONE: Final = -5

STATES = ("requests", "pending", "valueless", "wrong", "labelled")
"""All requests of a bin, and of these those without an outcome yet, without a value, with an impossible one, with one."""
SCORES = (
    *(*STATES, "positives", "called", "called_labelled", "called_positives"),
    *("score", "score2", "log_yes", "log_no", "score_labelled", "score2_labelled", "logit_labelled"),
    *("log_loss", "log_loss2", "square", "square2", "low", "high"),
)
"""Of a probability: see docs/quality.md for each. `score` sums all, `score_labelled` those with an outcome."""
ERRORS = (
    *STATES,
    *("score", "error", "absolute", "square", "square2", "outcome", "low", "high", "lowest", "highest"),
)
"""Of a number: `error` is prediction less outcome, `low` and `high` its smallest and greatest size in the bin, `lowest` and
`highest` the smallest and greatest prediction."""
_LEAST, _MOST = frozenset({"low", "lowest"}), frozenset({"high", "highest"})
WHOLE = frozenset({*STATES, "positives", "called", "called_labelled", "called_positives"})

KEYS = ("hour", "version", "arm", "segmentation", "segment", "label", "bin")
_KEY_TYPES = (pa.timestamp("us", tz="UTC"), pa.int32(), pa.string(), pa.string(), pa.string(), pa.string(), pa.float64())


class Every:
    """Every version, or every arm, those that are None included."""

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = Every()


@dataclass(frozen=True, slots=True)
class Where:
    """Which counts to sum.

    Args:
        start, end: of the hours; `end` is outside. None is open.
        version, arm: ANY sums all; None stands for requests of which nothing says so. Several versions are summed.
        segmentation, segment: a feature and one of its segments; "" is all requests, whatever their segment.
        label: of several classes, the one; "" is the class that was predicted most probable.
    """

    start: datetime | None = None
    end: datetime | None = None
    version: int | Every | frozenset[int | None] | None = ANY
    arm: str | Every | None = ANY
    segmentation: str = ""
    segment: str = ""
    label: str = ""


@dataclass(frozen=True)
class Tally:
    """Sums by bin, the lowest bin first; the unusable ones apart.

    Args:
        bins: lower edge of each bin, or the score itself where each score is a bin of its own.
        sums: each measure's sum (of `low`, `high` and the like: the smallest and greatest) by bin.
        unusable: requests whose prediction could not be used, by code, and of these those with a known outcome.
    """

    bins: Array
    sums: Mapping[str, Array]
    unusable: Mapping[int, int]

    def __getitem__(self, measure: str) -> Array:
        return self.sums[measure]

    def total(self, measure: str) -> float:
        """A measure's sum over all bins."""
        return float(self.sums[measure].sum())

    def count(self, measure: str) -> int:
        """A count over all bins."""
        return int(self.sums[measure].sum())

    @property
    def missing(self) -> int:
        """Requests whose outcome is not known yet."""
        return self.count("pending")

    @property
    def share_known(self) -> float:
        """Share of the requests whose outcome is known, of those that have or may get one; 0 where none is."""
        known = self.count("labelled")
        return known / (known + self.missing) if known else 0.0

    @property
    def is_constant(self) -> bool:
        """Whether all predictions are the same number."""
        least, most = ("lowest", "highest") if "lowest" in self.sums else ("low", "high")
        return bool(len(self.bins)) and float(self[least].min()) == float(self[most].max())


@dataclass(frozen=True)
class Counts:
    """Hourly counts of one task. `table` has the columns KEYS, then those of `measures(task)`; of each key one row."""

    task: Task
    table: pa.Table

    @classmethod
    def none(cls, task: Task) -> Counts:
        """Of nothing."""
        return cls(task, schema(task).empty_table())

    @classmethod
    def sum(cls, task: Task, parts: Iterable[Counts]) -> Counts:
        """Counts of different requests, added up."""
        return cls(task, _grouped(pa.concat_tables([schema(task).empty_table(), *(part.table for part in parts)])))

    @property
    def hours(self) -> list[datetime]:
        """The hours that anything was counted in, in order."""
        return sorted(set(self.table["hour"].to_pylist()))

    def replaced(self, hours: Collection[datetime], anew: Counts) -> Counts:
        """The same with some hours counted anew. What `anew` holds of other hours is not looked at."""
        kept = self.table.filter(pc.invert(_among(self.table, hours)))
        return Counts(self.task, pa.concat_tables([kept, anew.table.filter(_among(anew.table, hours))]))

    def only(self, hours: Collection[datetime]) -> Counts:
        """What was counted in some hours."""
        return Counts(self.task, self.table.filter(_among(self.table, hours)))

    def rows(self, where: Where) -> pa.Table:
        """The rows that a question is about."""
        return self.table.filter(_mask(self.table, where))

    def tally(self, where: Where) -> Tally:
        """The sum of what a question is about."""
        return tally_of(self.rows(where))

    def apart(self, where: Where, each: timedelta) -> list[Tally]:
        """The same in spans of so long, each by itself, those without a row left out: days, to see how much days differ."""
        rows = self.rows(where)
        spans = pc.divide(pc.cast(rows["hour"], pa.int64()), int(each.total_seconds() * 1_000_000))
        return [tally_of(rows.filter(pc.equal(spans, one))) for one in sorted(pc.unique(spans).to_pylist())]

    def segments(self, where: Where) -> dict[str, Tally]:
        """Each segment of `where.segmentation` by itself."""
        rows = self.table.filter(_mask(self.table, where, any_segment=True))
        names = sorted(set(rows["segment"].to_pylist()))
        return {name: tally_of(rows.filter(pc.equal(rows["segment"], name))) for name in names}

    @property
    def segmentations(self) -> list[str]:
        """The features that segments were counted by."""
        return sorted(set(pc.unique(self.table["segmentation"]).to_pylist()) - {""})


def measures(task: Task) -> tuple[str, ...]:
    """The names of what is counted and summed."""
    return ERRORS if isinstance(task, Regression) else SCORES


def schema(task: Task) -> pa.Schema:
    """The table's columns."""
    types = [pa.int64() if name in WHOLE else pa.float64() for name in measures(task)]
    return pa.schema([*map(pa.field, KEYS, _KEY_TYPES), *map(pa.field, measures(task), types)])


def tally_of(rows: pa.Table) -> Tally:
    """Rows summed by bin."""
    names = [name for name in rows.column_names if name not in KEYS]
    grouped = rows.group_by("bin", use_threads=False).aggregate([(name, _reduction(name)) for name in names])
    bins = _array(grouped["bin"])
    order = np.argsort(bins)
    order = order[np.searchsorted(bins[order], 0.0) :]
    requests = _array(grouped["requests_sum"])
    unusable = {int(code): int(count) for code, count in zip(bins, requests, strict=True) if code < 0}
    sums = {name: _array(grouped[f"{name}_{_reduction(name)}"])[order] for name in names}
    return Tally(bins[order], sums, unusable)


def added(tallies: Sequence[Tally]) -> Tally:
    """Tallies of different requests as one; at least one."""
    bins, place = np.unique(np.concatenate([one.bins for one in tallies]), return_inverse=True)
    sums = {name: _by_place(name, np.concatenate([one[name] for one in tallies]), place, len(bins)) for name in tallies[0].sums}
    codes = {code for one in tallies for code in one.unusable}
    return Tally(bins, sums, {code: sum(one.unusable.get(code, 0) for one in tallies) for code in sorted(codes)})


def _by_place(name: str, values: Array, place: NDArray[np.intp], count: int) -> Array:
    if name not in _LEAST | _MOST:
        return summed(place, values, count)
    found, reduce = np.full(count, np.nan), np.fmin if name in _LEAST else np.fmax
    reduce.at(found, place, values)
    return found


def _grouped(table: pa.Table) -> pa.Table:
    names = [name for name in table.column_names if name not in KEYS]
    grouped = table.group_by(list(KEYS), use_threads=False).aggregate([(name, _reduction(name)) for name in names])
    columns = [grouped[key] for key in KEYS] + [grouped[f"{name}_{_reduction(name)}"] for name in names]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _reduction(name: str) -> str:
    return "min" if name in _LEAST else "max" if name in _MOST else "sum"


def _array(column: Any) -> Array:
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _among(table: pa.Table, hours: Collection[datetime]) -> Any:
    return pc.is_in(table["hour"], pa.array(sorted(hours), table.schema.field("hour").type))


def _mask(table: pa.Table, where: Where, *, any_segment: bool = False) -> Any:
    checks = [pc.equal(table["segmentation"], where.segmentation), pc.equal(table["label"], where.label)]
    if not any_segment:
        checks.append(pc.equal(table["segment"], where.segment))
    if where.start is not None:
        checks.append(pc.greater_equal(table["hour"], pa.scalar(where.start, table.schema.field("hour").type)))
    if where.end is not None:
        checks.append(pc.less(table["hour"], pa.scalar(where.end, table.schema.field("hour").type)))
    checks += [_same(table[name], one) for name, one in (("version", where.version), ("arm", where.arm)) if one is not ANY]
    mask = checks[0]
    for check in checks[1:]:
        mask = pc.and_(mask, check)
    return mask


def _same(column: Any, value: object) -> Any:
    if isinstance(value, frozenset):
        told = pc.is_in(column, pa.array([one for one in value if one is not None], column.type))
        return pc.or_(told, pc.is_null(column)) if None in value else told
    return pc.is_null(column) if value is None else pc.fill_null(pc.equal(column, value), False)
