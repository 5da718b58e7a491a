"""Statements that sum a comparison's requests up to one row a unit and stratum, and those rows to moments. Text of ours alone.

A stratum is one generation: a stretch of time with one split. Names of features and outcomes go through `Reading.column`,
numbers through `repr`, names of arms and values of segments through parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.experiments.designs.unit_sql import FAILED, Counted
from backend.experiments.statistics import moments

FIRSTS, UNITS = "compared_firsts", "compared_units"
FELL_BACK = "coalesce(served_arm <> assigned_arm, false)"
BINS_LOW, BINS_STEP = 0.0005, 0.02
SHARED = f"""
SELECT generation, assigned_arm AS arm, served_arm AS served, count(*) AS requests,
    count(*) FILTER ({FAILED}) AS failures, count(*) FILTER ({FELL_BACK}) AS fallbacks, max(received_at) AS newest
FROM requests
WHERE unit IS NOT NULL AND bucket IS NOT NULL AND generation IN (SELECT unnest($1)) AND event_time <= $2
GROUP BY ALL
"""  # noqa: S608 - text of ours
NEW_BY_HOUR = f"""
SELECT date_trunc('hour', first) AS hour, arm, count(*) AS units FROM {FIRSTS}
WHERE NOT crossed GROUP BY ALL ORDER BY hour DESC, arm
"""  # noqa: S608


@dataclass(frozen=True)
class Shape:
    """How requests become rows of units.

    Args:
        each_step: a unit has a row in each stratum that it was seen in, instead of its first one alone.
        window: seconds after its first request; None: open.
        now: seconds since 1970.
    """

    each_step: bool
    window: int | None
    now: float


def firsts(segments: Sequence[str], shape: Shape) -> str:
    """Each unit's first request by stratum. Parameters: generations, the moment of the look, names of the compared arms.

    `turn` is 1 in the stratum of its very first one. Which arms it was seen in later makes it `crossed`.
    """
    told = "".join(f", s{place} := coalesce({one}, false)" for place, one in enumerate(segments))
    mine = "" if shape.each_step else " AND turn = 1"
    return f"""
WITH seen AS (
    SELECT unit, generation, min(event_time) AS first, min(assigned_arm) <> max(assigned_arm) AS crossed,
        arg_min(struct_pack(arm := assigned_arm, id := request_id, failed := {FAILED}{told}),
            struct_pack(at := event_time, id := request_id)) AS told
    FROM requests
    WHERE unit IS NOT NULL AND bucket IS NOT NULL AND assigned_arm IS NOT NULL
        AND generation IN (SELECT unnest($1)) AND event_time <= $2
    GROUP BY unit, generation
), turned AS (
    SELECT unit, generation, first, crossed, unnest(told),
        row_number() OVER (PARTITION BY unit ORDER BY first, generation) AS turn
    FROM seen
)
SELECT * FROM turned WHERE arm IN (SELECT unnest($3)){mine}
"""  # noqa: S608


def units(each: Sequence[Counted], segments: int, shape: Shape, *, with_outcomes: bool) -> str:
    """One row a unit and stratum: `v0`, `d0` and so on, sums of each ratio. Parameter: the moment of the look."""
    kept = "".join(f", any_value(f.s{place}) AS s{place}" for place in range(segments))
    sums = "".join(f", {_sums(place, one, shape)}" for place, one in enumerate(each))
    source = "joined" if with_outcomes else "requests"
    return f"""
SELECT f.unit AS unit, f.generation AS generation, any_value(f.arm) AS arm, any_value(epoch(f.first)) AS first,
    any_value(f.crossed) AS crossed, any_value(f.turn) AS turn, any_value(f.failed) AS failed{kept}{sums}
FROM {FIRSTS} f JOIN {source} r ON r.unit = f.unit AND r.generation = f.generation
WHERE r.bucket IS NOT NULL AND r.event_time <= $1{_within(shape)}
GROUP BY f.unit, f.generation
"""  # noqa: S608


def before(each: Sequence[Counted], names: Sequence[int]) -> str:
    """A unit's own mean of each covariate, of requests between two moments (parameters)."""
    told = ", ".join(f"avg({each[place].value}) FILTER ({each[place].counts}) AS c{place}" for place in names)
    return f"""
SELECT unit, {told} FROM joined WHERE event_time >= $1 AND event_time < $2 AND unit IN (SELECT unit FROM {FIRSTS}) GROUP BY unit
"""  # noqa: S608


def bins(segment: int | None, shape: Shape, count: int) -> str:
    """Latencies by stratum, arm and bin of 2 %, of units that are complete. Parameter: the moment of the look."""
    place = f"1 + floor(ln(latency_seconds / {BINS_LOW!r}) / ln(1 + {BINS_STEP!r}))"
    ripe = "" if shape.window is None else f" AND epoch(f.first) + {shape.window} <= {shape.now!r}"
    return f"""
SELECT f.generation AS generation, f.arm AS arm, count(*) AS values,
    CAST(CASE WHEN latency_seconds < {BINS_LOW!r} THEN 0 ELSE least({count - 1}, {place}) END AS INTEGER) AS bin
FROM {FIRSTS} f JOIN requests r ON r.unit = f.unit AND r.generation = f.generation
WHERE r.bucket IS NOT NULL AND r.event_time <= $1 AND isfinite(latency_seconds) AND NOT f.crossed{_in(segment)}
    {_within(shape)}{ripe}
GROUP BY ALL
"""  # noqa: S608


def arms(matures: int, shape: Shape) -> str:
    """How many units each arm has in each stratum. `new` are counted where they were seen first, crossed ones too."""
    ripe = f"first + {matures} <= {shape.now!r}"
    return f"""
SELECT generation, arm, count(*) FILTER (NOT crossed) AS units, count(*) FILTER (NOT crossed AND {ripe}) AS complete,
    count(*) FILTER (crossed) AS crossed, count(*) FILTER (turn = 1) AS new
FROM {UNITS} GROUP BY ALL
"""  # noqa: S608


def first_failures(segment: int | None) -> str:
    """Whether units' very first requests failed, for the exact test."""
    return f"""
SELECT generation, arm, count(*) AS n, count(*) FILTER (failed) AS failed FROM {UNITS}
WHERE turn = 1 AND NOT crossed{_in(segment)} GROUP BY ALL
"""  # noqa: S608


def middles(many: int) -> str:
    """Where values lie, so that sums are made near there; and how many values are no numbers."""
    told = [f"sum(v{n}) / sum(d{n}) AS k{n}, avg(d{n}) AS d{n}, sum(x{n}) AS x{n}" for n in range(many)]
    return f"SELECT {', '.join(told)} FROM {UNITS}"  # noqa: S608


def centred(place: int, centre: float) -> str:
    """A unit's sum without so much for each of its requests: what is left of values of the size 1e9 that differ by 1."""
    return f"(v{place} - {centre!r} * d{place})"


def cells(
    each: Sequence[Counted], segment: int | None, shape: Shape, centres: Sequence[float], denominators: Sequence[float]
) -> str:
    """Moments by ratio (`place`), stratum and arm; values are `centred`, and denominators summed near where they lie."""
    found = []
    for place, one in enumerate(each):
        told = moments.sql(denominator=True, covariate=one.adjusted, shifts={"denominator": denominators[place]})
        rows = f"generation, arm, {centred(place, centres[place])} AS value, d{place} AS denominator"
        rows += f", {mature(one, shape)} AS mature"
        rows += f", {covariate(place)} AS covariate" if one.adjusted else ""
        source = f"SELECT {rows} FROM {UNITS} WHERE NOT crossed{_in(segment)}"  # noqa: S608
        found.append(f"SELECT {place} AS place, generation, arm, {told} FROM ({source}) GROUP BY generation, arm")  # noqa: S608
    return " UNION ALL BY NAME ".join(found)


def spread(place: int, segment: int | None, one: Counted, shape: Shape) -> str:
    """Moments of a ratio by unit, whatever the arm and stratum: for a design effect."""
    source = f"""SELECT sum(v{place}) AS value, sum(d{place}) AS denominator, true AS mature FROM {UNITS}
        WHERE NOT crossed AND {mature(one, shape)}{_in(segment)} GROUP BY unit"""  # noqa: S608
    return f"SELECT {moments.sql(denominator=True)} FROM ({source})"  # noqa: S608


def mature(one: Counted, shape: Shape) -> str:
    """Whether a unit's figure is complete; of an open window that of its first request."""
    return f"(first + {(shape.window or 0) + one.horizon} <= {shape.now!r})"


def covariate(place: int) -> str:
    """A unit's covariate; of one who was not there before, what everyone's is."""
    return f"coalesce(c{place}, m{place}, 0)"


def _sums(place: int, one: Counted, shape: Shape) -> str:
    ripe = f" AND epoch(r.event_time) + {one.horizon} <= {shape.now!r}" if shape.window is None and one.horizon else ""
    known = f"({one.counts}){ripe}"
    return (
        f"sum({one.value}) FILTER ({known}) AS v{place}, CAST(count(*) FILTER ({known}) AS DOUBLE) AS d{place}, "
        f"count(*) FILTER ({_no_number(one)}) AS x{place}"
    )


def _no_number(one: Counted) -> str:
    """A value that is there and is no number; what is not there is NULL, and none."""
    return "false" if one.counts == "true" else f"NOT ({one.counts})"


def _within(shape: Shape) -> str:
    if shape.window is None:
        return ""
    if shape.window == 0:
        return " AND r.request_id = f.id"
    return f" AND r.event_time <= f.first + to_seconds({shape.window})"


def _in(segment: int | None) -> str:
    return "" if segment is None else f" AND s{segment}"
