"""Reads: an endpoint's figures over time by arm and version, and how it stands by its objectives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import repeat
from types import MappingProxyType
from typing import Literal, NamedTuple

from sqlmodel import Session, select

from backend.core.errors import Refusal
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.metrics import slo
from backend.metrics.figures import FIGURES, QUANTILES
from backend.metrics.quantiles import Estimate, Histogram, below, merge, quantiles
from backend.metrics.reading import Read, Stream, covering, points, preferred, rolled, segments, streams_of
from backend.metrics.rows import COARSE, FINE, RAW, SloRow
from backend.metrics.slo import Budget, Counts, Judged, Objective

By = Literal["arm", "version", "endpoint"]
SHOWN = ("requests", "errors", "failures", "latency", "request_seconds", "queue_seconds", "compute_seconds", "overflow",
         "in_flight", "pending", "latency_quantile", "rows", "executions")  # fmt: skip
NOTHING: Mapping[float, Estimate] = MappingProxyType({})
MINUTE = 60
MOST_POINTS = 2_000


class Moment(NamedTuple):
    """What a group did in one span of time; None for what nobody told. A chart has hundreds of them: a tuple is made quickly.

    Args:
        at: the end of the span, which is `seconds` long.
        throughput: requests a second, of the time in which somebody looked.
        error_rate: share of the requests to which the caller got no good answer; `failure_rate`: that the arm failed.
        latency: quantile -> seconds, with the bucket's bounds; from the server's own quantiles where there is no histogram.
        mean_seconds: of a request, where it is told.
        queue_share: how much of the time in the server requests waited: 0 for none. What saturates a server shows here first.
        queue_seconds, compute_seconds: of one request on average. A cold start shows in the latter.
        in_flight, pending: the most at any look.
    """

    at: datetime
    seconds: int
    requests: float | None = None
    throughput: float | None = None
    error_rate: float | None = None
    failure_rate: float | None = None
    latency: Mapping[float, Estimate] = NOTHING
    mean_seconds: float | None = None
    queue_share: float | None = None
    queue_seconds: float | None = None
    compute_seconds: float | None = None
    overflow: float | None = None
    in_flight: float | None = None
    pending: float | None = None


@dataclass(frozen=True)
class Group:
    """One arm, one version, or the whole endpoint."""

    arm: str
    version: int | None
    shadow: bool
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class Chart:
    """An endpoint's figures over a span of time. `covered`: span's end -> which share of it somebody looked, 0 to 1."""

    endpoint: str
    start: datetime
    end: datetime
    step: int
    groups: tuple[Group, ...]
    covered: Mapping[datetime, float]


@dataclass(frozen=True)
class Promise:
    """One objective as it stands."""

    objective: Objective
    budget: Budget
    alerts: tuple[Judged, ...]
    verdict: slo.Verdict


@dataclass(frozen=True)
class SloStanding:
    """The objectives of an endpoint as they stand. Without any, there is nothing to stand by."""

    endpoint: str
    days: int
    revision: int
    set_at: datetime
    promises: tuple[Promise, ...]


# -- charts


def chart(session: Session, endpoint: str, start: datetime, end: datetime, *, by: By = "arm", step: int | None = None) -> Chart:
    """An endpoint's figures. `step`: seconds of one span; by default so that there are a few hundred."""
    row = named(session, Endpoint, endpoint)
    width = step if step is not None else fitting(start, end)
    _refuse_odd(start, end, width)
    found = _read(session, row.id, (*SHOWN, "covered"), start, end, width)
    chosen = preferred(found)
    groups: dict[tuple[str, int | None, bool], dict[Stream, Sequence[Read]]] = defaultdict(dict)
    for one, read in chosen.items():
        groups[_group(one, by)][one] = read
    covered = _sums(covering(found, chosen), width)
    told = tuple(
        Group(arm, version, shadow, _moments(mine, width, covered))
        for (arm, version, shadow), mine in sorted(groups.items(), key=lambda each: (each[0][2], each[0][0], each[0][1] or 0))
    )
    return Chart(row.name, start, end, width, told, {_at(at): min(1.0, seconds / width) for at, seconds in covered.items()})


def fitting(start: datetime, end: datetime) -> int:
    """A minute up to three hours, five minutes up to two days, else an hour."""
    span = end - start
    return MINUTE if span <= timedelta(hours=3) else FINE if span <= timedelta(days=2) else COARSE


def _refuse_odd(start: datetime, end: datetime, step: int) -> None:
    if step not in (MINUTE, FINE, COARSE):
        raise Refusal("Figures come by the minute, by five minutes or by the hour.", "Ask for one of them.", code="bad-step")
    if end <= start or (end - start).total_seconds() / step > MOST_POINTS:
        raise Refusal(
            f"That span has no points, or more than {MOST_POINTS}.",
            "Ask for a shorter one, or for longer steps.",
            code="bad-span",
        )


def _read(
    session: Session, endpoint_id: str, metrics: Iterable[str], start: datetime, end: datetime, step: int
) -> dict[Stream, Sequence[Read]]:
    """Every series, with its points there."""
    parts = segments(step, int(start.timestamp()), int(end.timestamp()), rolled(session))
    return {one: list(points(session, one, parts)) for one in streams_of(session, endpoint_id, metrics)}


def _group(one: Stream, by: By) -> tuple[str, int | None, bool]:
    if by == "arm":
        return one.arm, one.version, one.shadow
    return ("", one.version if by == "version" else None, one.shadow)


def _moments(mine: Mapping[Stream, Sequence[Read]], step: int, covered: Mapping[int, float]) -> tuple[Moment, ...]:
    counters = {
        metric: _sums({one: read for one, read in mine.items() if one.metric == metric}, step)
        for metric in {one.metric for one in mine}
        if FIGURES[metric].kind == "counter"
    }
    most = {
        metric: _most({one: read for one, read in mine.items() if one.metric == metric}, step)
        for metric in ("in_flight", "pending")
    }
    histograms = _histograms({one: read for one, read in mine.items() if one.metric == "latency"}, step)
    told = _told_quantiles({one: read for one, read in mine.items() if one.metric == "latency_quantile"}, step)
    told_at: list[Iterable[int]] = [*counters.values(), *most.values(), histograms, told]
    moments = sorted({at for each in told_at for at in each})

    def of(metric: str) -> list[float | None]:
        return list(map(counters.get(metric, {}).get, moments))

    requests, spent, queued = of("requests"), of("request_seconds"), of("queue_seconds")
    means = dict(zip(moments, map(_share, spent, requests), strict=True)) | {at: one.mean for at, one in histograms.items()}
    latency = {**told, **{at: found for at, found in quantiles(histograms, QUANTILES).items() if found}}
    columns = (
        map(_at, moments),
        repeat(step),
        requests,
        (_per_second(one, covered.get(at), step) for at, one in zip(moments, requests, strict=True)),
        map(_share, of("errors"), requests),
        map(_share, of("failures"), requests),
        (latency.get(at, NOTHING) for at in moments),
        map(means.get, moments),
        map(_share, queued, spent),
        map(_share, queued, requests),
        map(_share, of("compute_seconds"), requests),
        of("overflow"),
        map(most["in_flight"].get, moments),
        map(most["pending"].get, moments),
    )
    return tuple(map(Moment, *columns))


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _per_second(requests: float | None, covered: float | None, step: int) -> float | None:
    """Over the time that somebody looked: a span that is under way is not over yet, and in gaps nobody counted requests."""
    return requests / min(covered or step, step) if requests is not None else None


def _sums(mine: Mapping[Stream, Sequence[Read]], step: int) -> dict[int, float]:
    found: dict[int, float] = defaultdict(float)
    for read in mine.values():
        for one in read:
            found[-(-one.at // step) * step] += one.value
    return dict(found)


def _most(mine: Mapping[Stream, Sequence[Read]], step: int) -> dict[int, float]:
    """The most at any look; of several series added up."""
    found: dict[int, float] = defaultdict(float)
    for read in mine.values():
        highest: dict[int, float] = {}
        for one in read:
            at = -(-one.at // step) * step
            highest[at] = max(highest.get(at, 0.0), one.value if one.high is None else one.high)
        for at, value in highest.items():
            found[at] += value
    return dict(found)


def _histograms(mine: Mapping[Stream, Sequence[Read]], step: int) -> dict[int, Histogram]:
    found: dict[int, list[Histogram]] = defaultdict(list)
    for stream, read in mine.items():
        for one in read:
            histogram = one.histogram(stream.bounds)
            if histogram is not None:
                found[-(-one.at // step) * step].append(histogram)
    merged = ((at, merge(each)) for at, each in found.items())
    return {at: one for at, one in merged if one is not None and one.count > 0}


def _told_quantiles(mine: Mapping[Stream, Sequence[Read]], step: int) -> dict[int, dict[float, Estimate]]:
    """Quantiles that a server tells itself, where it is about one version: those of several cannot be added up."""
    if len({(one.arm, one.version, one.source) for one in mine}) != 1:
        return {}
    found: dict[int, dict[float, Estimate]] = defaultdict(dict)
    for stream, read in mine.items():
        if (q := stream.quantile) is None:
            continue
        for one in read:
            low, high = one.low if one.low is not None else one.value, one.high if one.high is not None else one.value
            found[-(-one.at // step) * step][q] = Estimate(one.value, low, high)
    return dict(found)


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# -- objectives


def objectives(row: SloRow) -> tuple[Objective, ...]:
    """The objectives of a row."""
    return tuple(Objective(one["kind"], one["target"], one["seconds"]) for one in row.objectives)


def slo_row(session: Session, endpoint_id: str) -> SloRow | None:
    """An endpoint's objectives."""
    return session.exec(select(SloRow).where(SloRow.endpoint_id == endpoint_id)).one_or_none()


def promised(session: Session, endpoint: str) -> SloRow | None:
    """What is promised of an endpoint, by its name."""
    return slo_row(session, named(session, Endpoint, endpoint).id)


def standing(session: Session, endpoint: str, *, now: datetime) -> SloStanding | None:
    """How an endpoint stands by its objectives; None where it has none."""
    row = named(session, Endpoint, endpoint)
    found = slo_row(session, row.id)
    if found is None:
        return None
    promises = tuple(_promise(session, row.id, one, found.days, now) for one in objectives(found))
    return SloStanding(row.name, found.days, found.revision, found.set_at, promises)


def _promise(session: Session, endpoint_id: str, objective: Objective, days: int, now: datetime) -> Promise:
    whole = timedelta(days=days)
    counted = counts(session, endpoint_id, objective, (*slo.WINDOWS, whole), now)
    judged = slo.judge(objective, days, counted)
    return Promise(objective, slo.budget(objective, counted[whole]), judged, slo.worst(judged))


def counts(
    session: Session, endpoint_id: str, objective: Objective, windows: Iterable[timedelta], now: datetime
) -> dict[timedelta, Counts | None]:
    """What is known of each window up to now. None where no source tells what the objective is about."""
    found: dict[timedelta, Counts | None] = {}
    wanted = ("requests", "errors", "covered") + (("latency",) if objective.kind == "latency" else ())
    by_step: dict[int, list[timedelta]] = defaultdict(list)
    for window in windows:
        by_step[_step(window)].append(window)
    for step, mine in by_step.items():
        read = _read(session, endpoint_id, wanted, now - max(mine), now, step)
        callers = _callers(preferred(read))
        covered = covering(read, callers)
        for window in mine:
            after = int((now - window).timestamp())
            found[window] = _counted(objective, _after(callers, after), _after(covered, after), window)
    return found


def _after(read: Mapping[Stream, Sequence[Read]], after: int) -> dict[Stream, list[Read]]:
    return {one: [each for each in told if each.at > after] for one, told in read.items()}


def _step(window: timedelta) -> int:
    return RAW if window <= timedelta(hours=6) else FINE if window <= timedelta(days=3) else COARSE


def _callers(read: Mapping[Stream, Sequence[Read]]) -> dict[Stream, Sequence[Read]]:
    """Without copies that nobody waits for, and all of one teller: shares of what different ones told mean nothing."""
    mine = {one: each for one, each in read.items() if not one.shadow}
    main = next((one for metric in ("latency", "requests") for one in mine if one.metric == metric), None)
    return {one: each for one, each in mine.items() if main is not None and one.teller == main.teller}


def _counted(
    objective: Objective,
    read: Mapping[Stream, Sequence[Read]],
    covering: Mapping[Stream, Sequence[Read]],
    window: timedelta,
) -> Counts | None:
    """Without a word about errors nobody knows whether there were none; a quick error is no quick answer either."""
    metrics = {one.metric for one in read}
    covered = min(1.0, sum(one.value for each in covering.values() for one in each) / window.total_seconds())
    requests, errors = _total(read, "requests"), _total(read, "errors")
    if objective.seconds is None:
        return Counts(requests - errors, requests, covered) if {"requests", "errors"} <= metrics else None
    return _within(objective.seconds, read, requests, errors, covered) if {"latency", "errors"} <= metrics else None


def _within(
    seconds: float, read: Mapping[Stream, Sequence[Read]], requests: float, errors: float, covered: float
) -> Counts | None:
    """Errors count as too late, and as if all of them had been quick: a slow one is then counted twice, on the careful side.

    Requests that are neither in the histogram nor errors are left out: nobody knows how long they took. The share of the window
    that is known is smaller by theirs; where that are all of them, nothing is known.
    """
    told = [one.histogram(stream.bounds) for stream, each in read.items() if stream.metric == "latency" for one in each]
    histogram = merge([one for one in told if one is not None]) or Histogram((), (0.0,))
    asked = max(requests, histogram.count)
    judged = histogram.count + min(errors, asked - histogram.count)
    if asked <= 0:
        return Counts(0.0, 0.0, covered)
    if judged <= 0:
        return None
    quick = below(histogram, seconds)
    good, least = (min(judged, max(0.0, one - errors)) for one in (quick.value, quick.low))
    return Counts(good, judged, covered * judged / asked, least, min(judged, quick.high))


def _total(read: Mapping[Stream, Sequence[Read]], metric: str) -> float:
    return sum(one.value for stream, each in read.items() if stream.metric == metric for one in each)
