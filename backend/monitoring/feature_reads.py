"""Reads of features and predictions: the heatmap, one feature's distributions and scores, null rates, what was predicted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from sqlmodel import Session, col, select

from backend.core.errors import Refusal
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.drift.bars import bars
from backend.drift.counts import ColumnCounts, Counts
from backend.drift.discovery import pace
from backend.drift.formulas import cumulated
from backend.drift.layout import Feature, Layout, NumberCells
from backend.drift.profile import Profile
from backend.drift.references import Choice, Window
from backend.drift.values import PREDICTION, Key, Role
from backend.monitoring import features, hours, needs, references, segmenting, windows
from backend.monitoring.hours import Part
from backend.monitoring.line_reads import SHELF
from backend.monitoring.live import Live, Place, place_of
from backend.monitoring.needs import Watched
from backend.monitoring.rows import Monitor, MonitorRun, MonitorScore, ReferenceProfile
from backend.monitoring.rules import HOUR, OF_FEATURES, MonitorSpec
from backend.monitoring.views import (
    FeatureView,
    HeatCell,
    Heatmap,
    HeatRow,
    NullRate,
    PredictionPoint,
    PredictionView,
    ScorePoint,
    SharePoint,
    Where,
)

DAY = timedelta(days=1)
MOST = timedelta(days=400)
MOST_SUMMED = timedelta(days=31)
"""Of a longer span, distributions and rates are those of its end."""
NOT_BY_SEGMENT = "Features are not counted by this segment: this is of all requests."
SCORED_WHOLE = "Monitors judge whole windows: scores are of all requests."
REFERENCE_WHOLE = "The reference is of all requests: training data is not counted by segment."
_RANK = ("", "notice", "info", "warning", "critical")


@dataclass(frozen=True)
class _Counted:
    """What was counted of one version in a span.

    Args:
        profile, row: of the version.
        what: under which name its hours are kept: all requests', or those of the segment that was asked for.
        parts: of all versions, in its cells.
        note: what is to be known of it.
    """

    place: Place
    live: Live
    row: ReferenceProfile
    profile: Profile
    window: Window
    what: str
    parts: tuple[Part, ...]
    note: str

    @property
    def is_segment(self) -> bool:
        """Whether these are one segment's."""
        return self.what != needs.cells_of(self.profile)


def span_of(where: Where) -> Window:
    """The whole hours of a span. Refusal `bad-span`."""
    start, end = (one.astimezone(UTC).replace(minute=0, second=0, microsecond=0) for one in (where.start, where.end))
    end = end if end == where.end else end + HOUR
    if end <= start or end - start > MOST:
        raise Refusal("That is no span of time, or it is longer than 400 days.", "Ask for a shorter one.", code="bad-span")
    return Window(start, end)


def heatmap(session: Session, where: Where) -> Heatmap:
    """See `queries.heatmap`."""
    row, span = named(session, Endpoint, where.endpoint), span_of(where)
    days = tuple(_days(span))
    scores = _scores(session, row.id, where, span)
    gaps = _gaps(session, row.id, span)
    keys = dict.fromkeys((one.role, one.column) for one, _ in scores)
    cells = {key: _cells([pair for pair in scores if (pair[0].role, pair[0].column) == key], days, gaps) for key in keys}
    order = sorted(cells, key=lambda key: (key[0] != "prediction", -_farthest(cells[key]), key[1]))
    note = SCORED_WHOLE if where.segment else "" if cells else "No monitor of features has judged a window of this span."
    return Heatmap(days, tuple(HeatRow(key[1], key[0], cells[key]) for key in order), note)


def feature(session: Session, where: Where, name: str, role: str) -> FeatureView:
    """See `queries.feature`."""
    row, span = named(session, Endpoint, where.endpoint), span_of(where)
    key = Key(_role(role), name)
    points = _points(session, row.id, where, span, key)
    found = _counted(session, row, where, span)
    told = _pace(points)
    if isinstance(found, str):
        return FeatureView(name, role, "", where.version, (), "", 0, 0, points, told, found, _segment_note(where))
    place = found.profile.layout.places.get(key)
    if place is None:
        why = f"The reference of version {found.live.version} has no such column."
        return FeatureView(name, role, "", found.live.version, (), "", 0, 0, points, told, why, _segment_note(where))
    return _beside(session, where, found, place, points, told)


def null_rates(session: Session, where: Where) -> tuple[NullRate, ...]:
    """See `queries.null_rates`."""
    row, span = named(session, Endpoint, where.endpoint), span_of(where)
    found = _counted(session, row, where, span)
    if isinstance(found, str):
        return ()
    summed = _by_span(found, where)
    rates = [_null_rate(found.profile, place, summed) for place in range(len(found.profile.layout.features))]
    return tuple(sorted(rates, key=lambda one: -_change(one)))


def predictions(session: Session, where: Where) -> PredictionView:
    """See `queries.predictions`."""
    row, span = named(session, Endpoint, where.endpoint), span_of(where)
    found = _counted(session, row, where, span)
    if isinstance(found, str):
        return PredictionView(None, (), found)
    key = next((one.key for one in found.profile.layout.features if one.key.role == "prediction"), None)
    if key is None:
        return PredictionView(None, (), f"The reference of version {found.live.version} has no prediction.")
    view = feature(session, where, key.name, "prediction")
    place = found.profile.layout.places[key]
    points = tuple(_predicted(at, one, found.profile.layout, place) for at, one in sorted(_by_span(found, where).items()))
    return PredictionView(view, points, view.why)


# -- scores


def _scores(session: Session, endpoint_id: str, where: Where, span: Window) -> Sequence[tuple[MonitorScore, str]]:
    query = select(MonitorScore, Monitor.name).join(Monitor, col(Monitor.id) == MonitorScore.monitor_id)
    query = query.where(
        MonitorScore.endpoint_id == endpoint_id, col(MonitorScore.slot) > span.start, col(MonitorScore.slot) <= span.end
    )
    if where.version is not None:
        query = query.where(MonitorScore.version == where.version)
    if where.arm is not None:
        query = query.where(col(MonitorScore.arm).in_(("", where.arm)))
    return session.exec(query.order_by(col(MonitorScore.slot))).all()


def _gaps(session: Session, endpoint_id: str, span: Window) -> Mapping[date, str]:
    """Day -> why there is no score: what the runs of that day said; nothing for days on which none ran."""
    query = select(MonitorRun.slot, MonitorRun.why, MonitorRun.state).join(Monitor, col(Monitor.id) == MonitorRun.monitor_id)
    query = query.where(
        MonitorRun.endpoint_id == endpoint_id,
        col(Monitor.kind).in_(OF_FEATURES),
        col(MonitorRun.slot) > span.start,
        col(MonitorRun.slot) <= span.end,
    )
    found: dict[date, str] = {}
    for slot, why, state in session.exec(query.order_by(col(MonitorRun.slot))):
        says = why or ("It is being judged." if state == "running" else "The column was not looked at.")
        found[_day(slot)] = says
    return found


def _cells(scores: Sequence[tuple[MonitorScore, str]], days: Sequence[date], gaps: Mapping[date, str]) -> tuple[HeatCell, ...]:
    by_day: dict[date, list[tuple[MonitorScore, str]]] = {}
    for pair in scores:
        by_day.setdefault(_day(pair[0].slot), []).append(pair)
    return tuple(_cell(day, by_day.get(day, []), gaps.get(day, "No monitor ran for this day.")) for day in days)


def _cell(day: date, scores: Sequence[tuple[MonitorScore, str]], why: str) -> HeatCell:
    if not scores:
        return HeatCell(day, "", None, None, None, "", why, None, "", None)
    severity = max((one.severity for one, _ in scores), key=_RANK.index)
    farthest, name = max(scores, key=lambda pair: (_times(pair[0]) is not None, _times(pair[0]) or 0.0))
    said = "" if farthest.value is not None else farthest.why
    return HeatCell(
        day, farthest.score, farthest.value, farthest.threshold, _times(farthest), severity, said, farthest.version, name,
        farthest.slot,
    )  # fmt: skip


def _times(one: MonitorScore) -> float | None:
    if one.value is None or one.threshold is None:
        return None
    return one.value / max(one.threshold, 1e-12)


def _farthest(cells: Sequence[HeatCell]) -> float:
    return max((one.times for one in cells if one.times is not None), default=0.0)


def _points(session: Session, endpoint_id: str, where: Where, span: Window, key: Key) -> tuple[ScorePoint, ...]:
    return tuple(
        ScorePoint(
            slot=one.slot,
            version=one.version,
            arm=one.arm,
            monitor=name,
            score=one.score,
            value=one.value,
            threshold=one.threshold,
            scores=dict(one.scores),
            missing=one.missing,
            rows=one.rows,
            severity=one.severity,
            why=one.why,
        )
        for one, name in _scores(session, endpoint_id, where, span)
        if (one.role, one.column) == (key.role, key.name)
    )


def _pace(points: Sequence[ScorePoint]) -> str:
    """Of the series that the newest score belongs to."""
    told = [one for one in points if one.value is not None and one.threshold is not None]
    if not told:
        return "none"
    last = told[-1]
    mine = [one for one in told if (one.monitor, one.version, one.score) == (last.monitor, last.version, last.score)]
    return pace([one.value or 0.0 for one in mine], last.threshold or 0.0)


# -- counts


def _counted(session: Session, row: Endpoint, where: Where, span: Window) -> _Counted | str:
    """What was counted of the version that is asked for, or of the champion; or the words why there is nothing."""
    place, known = place_of(session, row), references.of_model(session, row.model)
    version = where.version if where.version is not None else _usual(place, known)
    if version is None:
        return "No version here has a reference profile, so that nothing is counted."
    if version not in known:
        return f"Version {version} has no reference profile, so that its features are not counted."
    live = next((one for one in place.live if one.version == version), Live(version, (), False, row.created_at))
    window = span if span.end - span.start <= MOST_SUMMED else Window(span.end - MOST_SUMMED, span.end)
    profile = SHELF.read(session, known[version])
    what, note = _what(session, where, place, known, profile)
    note = note if window == span else f"This is of the last 31 days of that span. {note}".strip()
    parts = hours.parts(session, row.id, what, window)
    cells = needs.cells_of(profile)
    if what != cells:
        note = " ".join(filter(None, (note, _uncounted(parts, hours.parts(session, row.id, cells, window)))))
    if not parts:
        return note or f"No hour of this span was counted for version {version}."
    return _Counted(place, live, known[version], profile, window, what, parts, note)


def _uncounted(mine: Sequence[Part], whole: Sequence[Part]) -> str:
    """How much of a span is missing from a segment: it is counted by one from when on a monitor names its feature."""
    asked = {one.hour for one in whole if one.rows}
    lacking = asked - {one.hour for one in mine}
    if not lacking:
        return ""
    return f"{len(lacking):,} of the {len(asked):,} hours in which something was asked were not counted by this segment."


def _what(
    session: Session, where: Where, place: Place, known: Mapping[int, ReferenceProfile], profile: Profile
) -> tuple[str, str]:
    """Under which name the hours are kept that are asked for, and what is to be known of them."""
    cells = needs.cells_of(profile)
    if not where.segment:
        return cells, ""
    specs = [one.spec for one in needs.watched(session, [place.id], paused=True) if one.spec.kind in OF_FEATURES]
    for spec in specs:
        for one in needs.segmentations_of(session, SHELF, spec, place, known):
            if one.feature == where.segmentation and where.segment in segmenting.names(one):
                return segmenting.what_of(cells, one, where.segment), ""
    return cells, NOT_BY_SEGMENT


def _usual(place: Place, known: Mapping[int, ReferenceProfile]) -> int | None:
    live = [one.version for one in place.live if one.version in known]
    return next(iter((*live, *known)), None)


def _mine(found: _Counted, where: Where) -> tuple[Part, ...]:
    alone = found.place.alone == found.live.version
    return hours.chosen(found.parts, {found.live.version, *([0] if alone else [])}, where.arm)


def _by_span(found: _Counted, where: Where) -> dict[datetime, Counts]:
    """Counts by the hour, by the day for spans above three days."""
    by_day = found.window.end - found.window.start > 3 * DAY
    layout, summed = found.profile.layout, dict[datetime, list[Part]]()
    for one in _mine(found, where):
        at = one.hour.replace(hour=0) if by_day else one.hour
        summed.setdefault(at, []).append(one)
    return {at: hours.summed(each, layout) for at, each in summed.items()}


def _beside(
    session: Session, where: Where, found: _Counted, place: int, points: tuple[ScorePoint, ...], told: str
) -> FeatureView:
    layout = found.profile.layout
    one, spec = layout.features[place], _spec(session, found.place, where)
    against = windows.compared(spec, found.window, found.place.champion)
    if against.concurrent and found.live.is_champion:
        against = Choice(None, "the data that it was trained on")
    reference = hours.parts(session, found.place.id, found.what, against.window) if against.window is not None else ()
    given = features.Given(
        live=found.live,
        window=found.window,
        against=against,
        profile=found.profile,
        parts=found.parts,
        reference=reference,
        alone=found.place.alone == found.live.version,
    )
    why = ""
    try:
        current, other = features.between(spec.model_copy(update={"arm": where.arm}), given, found.profile)
    except Refusal as refusal:
        current, other, why = hours.summed(_mine(found, where), layout), None, str(refusal)
    sides = (other or found.profile.counts).of(layout, place), current.of(layout, place)
    drawn = bars(one, *sides) if not why else ()
    whole = REFERENCE_WHOLE if found.is_segment and against.window is None else ""
    note = " ".join(each for each in (found.note, whole, _segment_note(where)) if each)
    said = why or ("" if drawn else _nothing_drawn(one, *sides))
    return FeatureView(
        one.key.name, one.key.role, one.kind, found.live.version, drawn, against.words, sides[0].values, sides[1].values,
        points, told, said, note,
    )  # fmt: skip


def _spec(session: Session, place: Place, where: Where) -> MonitorSpec:
    """How the endpoint's features are compared: as its first monitor of drift says, else with training."""
    found: Sequence[Watched] = needs.watched(session, [place.id])
    mine = [one.spec for one in found if one.spec.kind == "drift" and one.spec.arm in (None, where.arm)]
    return mine[0] if mine else MonitorSpec(kind="drift")


def _nothing_drawn(one: Feature, reference: ColumnCounts, current: ColumnCounts) -> str:
    if one.cells is None:
        return f"{one.column.type} is not counted."
    return "No value of it was sent in this span." if not current.values else "The reference has no value of it."


def _null_rate(profile: Profile, place: int, summed: Mapping[datetime, Counts]) -> NullRate:
    key, layout = profile.layout.features[place].key, profile.layout
    own = profile.counts.of(layout, place)
    points = tuple(_share(at, one.of(layout, place)) for at, one in sorted(summed.items()))
    return NullRate(key.name, key.role, own.missing / own.rows if own.rows else None, points)


def _share(at: datetime, one: ColumnCounts) -> SharePoint:
    return SharePoint(at, one.missing / one.rows if one.rows else None, one.rows)


def _change(one: NullRate) -> float:
    shares = [each.share for each in one.points if each.share is not None]
    return max((abs(share - (one.reference or 0.0)) for share in shares), default=0.0)


def _predicted(at: datetime, counts: Counts, layout: Layout, place: int) -> PredictionPoint:
    column, cells = counts.of(layout, place), layout.features[place].cells
    if not isinstance(cells, NumberCells) or not column.values or not len(cells.edges):
        return PredictionPoint(at, column.values, None, None, None, None)
    shares = cumulated(column.cells)
    edges = np.clip(cells.edges, column.low, column.high)
    points = np.interp([0.05, 0.5, 0.95], np.append(shares, 1.0), np.append(edges, column.high))
    low, middle, high = (float(one) for one in points)
    return PredictionPoint(at, column.values, column.mean(cells), low, middle, high)


def _days(span: Window) -> Iterable[date]:
    day, last = span.start.date(), _day(span.end)
    while day <= last:
        yield day
        day += DAY


def _day(slot: datetime) -> date:
    """A window that ends at midnight is of the day before."""
    return (slot - timedelta(microseconds=1)).date()


def _segment_note(where: Where) -> str:
    return SCORED_WHOLE if where.segment else ""


def _role(role: str) -> Role:
    return "prediction" if role == PREDICTION.role else "feature"
