"""The deployment timeline of several endpoints: one lane each, who had which share when, and what went wrong. Pure but for
`read`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import plotly.graph_objects as go
import streamlit as st

from app.kit import charts, components, times
from app.kit.charts import Sketch, plain, sketch
from app.kit.palette import Palette, current
from app.kit.plain import escape
from app.kit.states import look
from app.wiring import Reading
from backend.delivery import past
from backend.delivery.fleet import TROUBLED
from backend.delivery.past import Move, Span

PERIODS = {"Last 24 hours": 1, "Last 7 days": 7, "Last 30 days": 30, "Last 90 days": 90}
"""What is offered -> days."""
MOST = 20
"""Lanes of one picture: more cannot be read."""
_LANE, _HEIGHT = 30, 0.7
_NARROW = 0.035
"""A span that takes less than this part of the width is not named."""


@dataclass(frozen=True)
class Lane:
    """One endpoint: its generations in force in the period, and its changes of state."""

    name: str
    spans: tuple[Span, ...]
    moves: tuple[Move, ...]


def read(look: Reading, names: Mapping[str, str], start: datetime, end: datetime) -> list[Lane]:
    """A lane for each of these endpoints (id -> name), in their order, in two queries."""
    ids = list(names)
    spans = past.spans(look.session, ids, start, end)
    moved: dict[str, list[Move]] = {}
    for one in past.moves(look.session, ids, start, end):
        moved.setdefault(one.endpoint_id, []).append(one)
    return [Lane(name, spans.get(key, ()), tuple(moved.get(key, ()))) for key, name in names.items()]


def draw(look: Reading, names: Mapping[str, str], end: datetime | None) -> None:
    """The card: the endpoints that the list shows, over a chosen period that ends now or at the moment that is asked for."""
    shown = dict(list(names.items())[:MOST])
    note = "share of traffic by version, UTC" + (f"; the first {MOST} of the list" if len(names) > MOST else "")
    with components.card("Deployments", note) as head:
        with head:
            days = period()
        until = end or look.now
        start = until - timedelta(days=days)
        lanes = read(look, shown, start, until)
        if not any(lane.spans for lane in lanes):
            components.empty("Nothing was desired of these in this period", "Choose a longer one.", icon="timeline")
            return
        charts.show(lane_figure(current(), lanes, start, until), key="fleet-timeline", alt=words(lanes))


def period() -> int:
    """How many days a timeline shows: a choice in the head of its card."""
    chosen = st.selectbox(
        "Period", list(PERIODS), index=1, key="period", bind="query-params", label_visibility="collapsed", width=150
    )
    return PERIODS[chosen]


def words(lanes: Sequence[Lane]) -> str:
    """What the picture shows, for a screen reader."""
    told = [f"{lane.name}: {len(lane.spans)} generations" for lane in lanes if lane.spans]
    return "Deployment timeline. " + "; ".join(told)


@dataclass
class _Drawing:
    """What is gathered lane by lane."""

    palette: Palette
    start: datetime
    end: datetime
    drawn: Sketch
    points: list[tuple[datetime, float, str]] = field(default_factory=list)
    troubles: dict[str, list[tuple[datetime | None, float | None, str]]] = field(default_factory=dict)


def lane_figure(palette: Palette, lanes: Sequence[Lane], start: datetime, end: datetime) -> go.Figure:
    """Lanes from the top in the order given; shares stacked inside a lane, the champion below; trouble as a line under it."""
    drawn = sketch(palette, _LANE * max(1, len(lanes)) + 34, left=4, right=4)
    drawing = _Drawing(palette, start, end, drawn)
    for number, lane in enumerate(lanes):
        bottom = -number - _HEIGHT / 2
        edges = [*(max(one.start, start) for one in lane.spans), end]
        for span, begin, close in zip(lane.spans, edges, edges[1:], strict=False):
            _span(drawing, span, (begin, close), bottom)
        for begin, close, move in _troubles(lane.moves, end):
            _trouble(drawing, (begin, close), bottom - 0.06, move)
    _tell(drawing)
    names = [plain(lane.name, 30) for lane in lanes]
    days = "%d %b" if end - start > timedelta(days=2) else "%d %b %H:%M"
    drawn.axes(
        x={"range": [start, end], "tickformat": days, "nticks": 8},
        y={"tickvals": [-number for number in range(len(lanes))], "ticktext": names, "range": [-len(lanes) + 0.4, 0.6],
           "showgrid": False, "ticksuffix": "  ", "tickfont": {"size": 12, "color": palette.text}},
    )  # fmt: skip
    return drawn.figure(hovermode="closest")


def _tell(drawing: _Drawing) -> None:
    """One trace to point at, and one for each tone of trouble."""
    hover = {"hovertemplate": "%{text}<extra></extra>"}
    if drawing.points:
        x, y, text = zip(*drawing.points, strict=True)
        drawing.drawn.scatter(x=x, y=y, text=text, mode="markers", marker={"color": "rgba(0,0,0,0)", "size": 18}, **hover)
    for colour, points in drawing.troubles.items():
        x, y, text = zip(*points, strict=True)
        line, marker = {"color": colour, "width": 3}, {"size": 6, "symbol": "square", "color": colour}
        drawing.drawn.scatter(x=x, y=y, text=text, mode="lines+markers", line=line, marker=marker, connectgaps=False, **hover)


def _span(drawing: _Drawing, span: Span, at: tuple[datetime, datetime], bottom: float) -> None:
    parts, palette = [one for one in span.shares if one.buckets], drawing.palette
    challengers = sorted(one.arm for one in parts if one.arm != span.champion)
    wide = (at[1] - at[0]) / (drawing.end - drawing.start) >= _NARROW
    middle, floor = at[0] + (at[1] - at[0]) / 2, bottom
    for one in parts:
        champion, height = one.arm == span.champion, _HEIGHT * one.buckets / 10_000
        colour = palette.champion if champion else palette.arm("challenger", challengers.index(one.arm))
        drawing.drawn.shape(
            type="rect", x0=at[0], x1=at[1], y0=floor, y1=floor + height, layer="below", fillcolor=colour,
            line={"width": 1, "color": palette.surface}, opacity=0.4 if champion else 1.0,
        )  # fmt: skip
        if wide and height > _HEIGHT / 2:
            inside = palette.text if champion else palette.on_arm
            drawing.drawn.label(middle, floor + height / 2, f"v{one.version}", inside)
        floor += height
    shares = ", ".join(f"version {one.version} {one.buckets / 100:g} %" for one in parts) or "nothing shall run"
    says = f"generation {span.number} ({span.reason})<br>{shares}<br>since {span.start:%d %b %Y %H:%M} UTC"
    drawing.points.append((middle, bottom + _HEIGHT / 2, says))


def _troubles(moves: Sequence[Move], end: datetime) -> list[tuple[datetime, datetime, Move]]:
    """Each stretch in a state that needs somebody."""
    ends = [*(one.at for one in moves[1:]), end]
    return [(move.at, close, move) for move, close in zip(moves, ends, strict=False) if move.after in TROUBLED]


def _trouble(drawing: _Drawing, at: tuple[datetime, datetime], y: float, move: Move) -> None:
    shown = look("endpoint", move.after)
    says = f"{shown.word}: {plain(move.reason, 100)}<br>{at[0]:%d %b %H:%M} UTC, {times.span(at[1] - at[0])}"
    points = drawing.troubles.setdefault(drawing.palette.tone(shown.tone), [])
    points += [(at[0], y, says), (at[1], y, says), (None, None, "")]


def past_badge(moment: datetime) -> str:
    """What stands in the header while the page shows the past."""
    return f":orange-badge[:material/history: As of {escape(times.stamp(moment))}]"
