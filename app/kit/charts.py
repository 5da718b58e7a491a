"""Charts in the house style: pure functions from values and a palette to a figure, and `show`, which draws one.

No mode bar and no legend: lines are named at their ends, bars inside. Every chart stands in a card with a title and a unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from app.kit.palette import FONT, Palette, Tone, tint

SMALL = 11


def show(figure: go.Figure, *, key: str, alt: str) -> None:
    """Draws a figure; `alt` says in words what it shows."""
    st.plotly_chart(figure, theme=None, key=key, alt=alt, config={"displayModeBar": False})


@dataclass
class Sketch:
    """What a figure will be made of. Plotly checks all of it once, in `figure`: told bit by bit it checks everything again
    each time, which costs ten times as much for a small chart and a second for one of twenty lanes.
    """

    layout: dict[str, Any]
    traces: list[dict[str, Any]] = field(default_factory=list)
    shapes: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)

    def scatter(self, **trace: Any) -> None:
        """A trace of points or lines."""
        self.traces.append({"type": "scatter", **trace})

    def bar(self, **trace: Any) -> None:
        """A trace of bars."""
        self.traces.append({"type": "bar", **trace})

    def shape(self, **shape: Any) -> None:
        """A rectangle or a line."""
        self.shapes.append(shape)

    def label(self, x: Any, y: Any, text: str, colour: str, **more: Any) -> None:
        """A word, in place of a legend. `text` may hold plotly's own marks and is never somebody's."""
        note = {"x": x, "y": y, "text": text, "showarrow": False, "font": {"size": SMALL, "color": colour}}
        self.notes.append({**note, **more})

    def axes(self, *, x: Mapping[str, Any], y: Mapping[str, Any]) -> None:
        """What is different about the two axes."""
        self.layout["xaxis"] = {**self.layout["xaxis"], **x}
        self.layout["yaxis"] = {**self.layout["yaxis"], **y}

    def figure(self, **layout: Any) -> go.Figure:
        """The figure, with more of its layout."""
        return go.Figure(data=self.traces, layout={**self.layout, "shapes": self.shapes, "annotations": self.notes, **layout})


def sketch(palette: Palette, height: int, *, right: int = 12, left: int = 4) -> Sketch:
    """An empty figure to be: hairline grid, muted ticks, nothing to drag."""
    axis = {"showline": False, "zeroline": False, "ticks": "", "fixedrange": True, "automargin": True}
    axis["tickfont"] = {"size": SMALL, "color": palette.muted}
    words = {"family": FONT, "color": palette.text}
    return Sketch(
        {
            "height": height,
            "margin": {"l": left, "r": right, "t": 8, "b": 4},
            "showlegend": False,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "hovermode": "x unified",
            "font": {**words, "size": 12},
            "hoverlabel": {"bgcolor": palette.surface, "bordercolor": palette.grid, "font": words},
            "xaxis": {**axis, "showgrid": False, "ticklabelstandoff": 4},
            "yaxis": {**axis, "gridcolor": palette.grid},
        }
    )


def limit(drawn: Sketch, palette: Palette, value: float, text: str, tone: Tone = "red") -> None:
    """A horizontal line that decides (an SLO, a guardrail), with its name on it."""
    line = {"color": palette.tone(tone), "width": 1.2, "dash": "dash"}
    drawn.shape(type="line", xref="paper", x0=0, x1=1, y0=value, y1=value, line=line)
    place = {"xref": "paper", "xanchor": "right", "yanchor": "bottom"}
    drawn.label(0.995, value, plain(text), palette.tone(tone), **place)


@dataclass(frozen=True)
class Line:
    """One line of `lines`: times (aware) and values of equal length, None where nothing was measured."""

    name: str
    at: Sequence[datetime]
    values: Sequence[float | None]
    colour: str
    dash: str = "solid"


def lines(
    palette: Palette,
    series: Sequence[Line],
    *,
    height: int = 200,
    unit: str = "",
    limits: Sequence[tuple[float, str]] = (),
    marks: Sequence[tuple[datetime, str]] = (),
    span: tuple[datetime, datetime] | None = None,
) -> go.Figure:
    """Lines over time, each named at its end; names that would touch are moved apart.

    Args:
        limits: values that decide, with their names; they are always in the picture.
        marks: moments at which something happened, with words for whoever points at them.
        span: what the axis of time shows; by default as much as the lines do.
    """
    drawn = sketch(palette, height, right=_room(series))
    for line in series:
        style = {"color": line.colour, "width": 1.6, "dash": line.dash}
        hover = f"%{{y:.3~g}}{plain(unit)}<extra>{plain(line.name)}</extra>"
        mode = "lines+markers" if len(line.at) == 1 else "lines"
        drawn.scatter(x=list(line.at), y=list(line.values), mode=mode, line=style, hovertemplate=hover, cliponaxis=False)
    ends = [(line, _last(line)) for line in series]
    named = sorted(((line, end) for line, end in ends if end is not None), key=lambda one: one[1][1])
    known = [value for line in series for value in line.values if value is not None]
    top = max([*known, *(value for value, _ in limits)], default=0.0)
    shifts = _apart([end[1] for _, end in named], height, top if limits else top - min(known, default=0.0))
    for (line, end), shift in zip(named, shifts, strict=True):
        drawn.label(end[0], end[1], plain(line.name, _LONGEST_NAME), line.colour, xanchor="left", xshift=6, yshift=shift)
    for value, text in limits:
        limit(drawn, palette, value, text)
    times = [at for line in series for at in line.at]
    shown = span or ((min(times), max(times)) if times else None)
    _mark(drawn, palette, marks)
    drawn.axes(x={"range": list(shown)} if shown else {}, y={"range": [0, top * 1.08]} if limits and top > 0 else {})
    return drawn.figure()


def _mark(drawn: Sketch, palette: Palette, marks: Sequence[tuple[datetime, str]]) -> None:
    """Dotted lines through the picture, with a triangle each at its foot that says what it is."""
    for at, _ in marks:
        line = {"color": palette.muted, "width": 1, "dash": "dot"}
        drawn.shape(type="line", yref="paper", x0=at, x1=at, y0=0, y1=1, line=line)
    if marks:
        drawn.scatter(
            x=[at for at, _ in marks], y=[0] * len(marks), text=[plain(words, 160) for _, words in marks], mode="markers",
            marker={"symbol": "triangle-up", "size": 9, "color": palette.muted}, hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One row of `shares`: its name, (arm, share in percent, colour) from the left, and words where nothing can be drawn."""

    name: str
    parts: Sequence[tuple[str, float, str]]
    instead: str = ""


def shares(palette: Palette, bars: Sequence[Bar], *, row_height: int = 42) -> go.Figure:
    """Bars of shares that add up to 100 %, the first on top: desired, observed, served. Words stand inside where they fit."""
    drawn = sketch(palette, row_height * max(1, len(bars)), right=0)
    for bar in reversed(bars):
        if not bar.parts:
            drawn.bar(y=[plain(bar.name)], x=[0], orientation="h", hoverinfo="skip")
            drawn.label(0, plain(bar.name), plain(bar.instead), palette.muted, xanchor="left")
        for arm, share, colour in bar.parts:
            words = f" {plain(arm)} · {share:g} %"
            drawn.bar(
                y=[plain(bar.name)],
                x=[share],
                orientation="h",
                marker={"color": colour, "line": {"color": palette.surface, "width": 1}},
                text=[words if share >= 12 else ""],
                textposition="inside",
                insidetextanchor="start",
                textfont={"color": palette.on_arm, "size": 12},
                hovertemplate=f"{plain(bar.name)}:{words}<extra></extra>",
            )
    names = {"showgrid": False, "ticksuffix": "  ", "tickfont": {"size": 12, "color": palette.text}}
    drawn.axes(x={"range": [0, 100], "visible": False}, y=names)
    return drawn.figure(barmode="stack", bargap=0.26, hovermode="closest")


@dataclass(frozen=True)
class Step:
    """One step of a ramp: share in percent, and how long it is held, in hours."""

    share: float
    hours: float


def ramp(palette: Palette, steps: Sequence[Step], *, height: int = 178, now: float | None = None) -> go.Figure:
    """The planned share over hours since the start; `now` marks how far it has come."""
    drawn, hour = sketch(palette, height, right=16), 0.0
    xs: list[float] = []
    ys: list[float] = []
    for step in steps:
        drawn.label(hour, step.share, f"<b>{step.share:g} %</b>", palette.text, xanchor="left", yanchor="bottom", xshift=4)
        xs, ys = [*xs, hour, hour + step.hours], [*ys, step.share, step.share]
        hour += step.hours
    colour = palette.arm("challenger")
    hover = "hour %{x:.3~g}: %{y:.3~g} %<extra></extra>"
    area = {"fill": "tozeroy", "fillcolor": tint(colour, 0.16), "line": {"color": colour, "width": 2}}
    drawn.scatter(x=xs, y=ys, mode="lines", hovertemplate=hover, **area)
    if now is not None:
        line = {"color": palette.muted, "width": 1, "dash": "dot"}
        drawn.shape(type="line", yref="paper", x0=now, x1=now, y0=0, y1=1, line=line)
    drawn.axes(
        x={"range": [0, max(hour, 1)], "ticksuffix": " h", "nticks": 6},
        y={"range": [0, 122], "tickvals": [0, 50, 100], "ticksuffix": " "},
    )
    return drawn.figure()


def plain(text: str, limit: int = 60) -> str:
    """Somebody's text for plotly, which reads a little HTML: marks are shown as what they are, long text is cut."""
    shown = "".join(one if one.isprintable() else "?" for one in text)
    shown = shown if len(shown) <= limit else f"{shown[: limit - 1]}…"
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {").replace("$", "＄")


def _last(line: Line) -> tuple[datetime, float] | None:
    pairs = zip(line.at, line.values, strict=True)
    known = [(at, value) for at, value in pairs if value is not None]
    return known[-1] if known else None


_LONGEST_NAME = 24


def _room(series: Sequence[Line]) -> int:
    """Pixels beside the picture that hold the longest name at a line's end."""
    longest = max((len(line.name) for line in series), default=0)
    return 20 + 6 * min(max(longest, 11), _LONGEST_NAME)


def _apart(values: Sequence[float], height: int, span: float, gap: int = 13) -> list[int]:
    """Pixels by which ascending labels are moved up so that no two are nearer than `gap`, where the axis spans so much."""
    if not values:
        return []
    per_unit = (height - 50) / span if span > 0 else 0.0
    shifts, floor = [], float("-inf")
    for value in values:
        at = (value - values[0]) * per_unit
        placed = max(at, floor + gap)
        shifts.append(round(placed - at))
        floor = placed
    return shifts
