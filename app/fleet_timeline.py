"""The deployment timeline of several endpoints: one lane each, who had which share when, and what went wrong. Pure but for
`read`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from app import charts, components, times
from app.charts import base, label, plain
from app.palette import Palette, Tone, current
from app.plain import escape
from app.states import look
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


def lane_figure(palette: Palette, lanes: Sequence[Lane], start: datetime, end: datetime) -> go.Figure:
    """Lanes from the top in the order given; shares stacked inside a lane, the champion below; trouble as a line under it."""
    figure = base(palette, _LANE * max(1, len(lanes)) + 34, left=4, right=4)
    for number, lane in enumerate(lanes):
        bottom = -number - _HEIGHT / 2
        edges = [*(max(one.start, start) for one in lane.spans), end]
        for span, begin, close in zip(lane.spans, edges, edges[1:], strict=False):
            _span(figure, palette, span, (begin, close), bottom, wide=(close - begin) / (end - start) >= _NARROW)
        for begin, close, move in _troubles(lane.moves, end):
            _trouble(figure, palette, (begin, close), bottom, move)
    names = [plain(lane.name, 30) for lane in lanes]
    figure.update_yaxes(
        tickvals=[-number for number in range(len(lanes))], ticktext=names, range=[-len(lanes) + 0.4, 0.6], showgrid=False,
        ticksuffix="  ", tickfont={"size": 12, "color": palette.text},
    )  # fmt: skip
    figure.update_xaxes(range=[start, end], tickformat="%d %b" if end - start > timedelta(days=2) else "%d %b %H:%M", nticks=8)
    figure.update_layout(hovermode="closest")
    return figure


def _span(figure: go.Figure, palette: Palette, span: Span, at: tuple[datetime, datetime], bottom: float, *, wide: bool) -> None:
    parts = [one for one in span.shares if one.buckets]
    challengers = sorted(one.arm for one in parts if one.arm != span.champion)
    middle = at[0] + (at[1] - at[0]) / 2
    for one in parts:
        champion = one.arm == span.champion
        colour = palette.champion if champion else palette.arm("challenger", challengers.index(one.arm))
        height = _HEIGHT * one.buckets / 10_000
        edge = {"width": 1, "color": palette.surface}
        figure.add_shape(
            type="rect", x0=at[0], x1=at[1], y0=bottom, y1=bottom + height, layer="below", fillcolor=colour, line=edge,
            opacity=0.4 if champion else 1.0,
        )  # fmt: skip
        if wide and height > _HEIGHT / 2:
            inside = palette.text if champion else palette.on_arm
            label(figure, middle, bottom + height / 2, f"v{one.version}", inside)
        bottom += height
    shares = ", ".join(f"version {one.version} {one.buckets / 100:g} %" for one in parts) or "nothing shall run"
    hover = f"generation {span.number} ({span.reason})<br>{shares}<br>since {span.start:%d %b %Y %H:%M} UTC<extra></extra>"
    point = {"color": "rgba(0,0,0,0)", "size": 18}
    figure.add_scatter(x=[middle], y=[bottom - _HEIGHT / 2], mode="markers", marker=point, hovertemplate=hover)


def _troubles(moves: Sequence[Move], end: datetime) -> list[tuple[datetime, datetime, Move]]:
    """Each stretch in a state that needs somebody."""
    ends = [*(one.at for one in moves[1:]), end]
    return [(move.at, close, move) for move, close in zip(moves, ends, strict=False) if move.after in TROUBLED]


def _trouble(figure: go.Figure, palette: Palette, at: tuple[datetime, datetime], bottom: float, move: Move) -> None:
    shown = look("endpoint", move.after)
    tone: Tone = shown.tone
    line: dict[str, Any] = {"color": palette.tone(tone), "width": 3}
    hover = f"{shown.word}: {plain(move.reason, 100)}<br>{at[0]:%d %b %H:%M} UTC, {times.span(at[1] - at[0])}<extra></extra>"
    marker = {"size": 6, "symbol": "square", "color": palette.tone(tone)}
    y = bottom - 0.06
    figure.add_scatter(x=list(at), y=[y, y], mode="lines+markers", line=line, marker=marker, hovertemplate=hover)


def past_badge(moment: datetime) -> str:
    """What stands in the header while the page shows the past."""
    return f":orange-badge[:material/history: As of {escape(times.stamp(moment))}]"
