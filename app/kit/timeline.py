"""The deployment timeline of one endpoint: which version had which share when, and what happened to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import plotly.graph_objects as go

from app.kit.charts import Sketch, plain, sketch
from app.kit.palette import Palette, Tone

Symbol = Literal["triangle-up", "triangle-left", "x", "circle", "diamond"]
_LANES = {"approvals": -18, "events": -40}
_NARROW = 0.06
"""A span that takes less than this part of the width is named by its number alone."""


@dataclass(frozen=True)
class Span:
    """One generation: from when, its number, and each arm's share in percent, from the bottom up."""

    start: datetime
    number: int
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Mark:
    """Something that happened: short words beside the mark, the rest when it is pointed at."""

    at: datetime
    lane: Literal["approvals", "events"]
    words: str
    more: str
    tone: Tone = "gray"
    symbol: Symbol = "triangle-up"


def timeline(
    palette: Palette,
    spans: Sequence[Span],
    marks: Sequence[Mark],
    colours: Mapping[str, str],
    *,
    now: datetime,
    height: int = 228,
) -> go.Figure:
    """Shares as stacked areas from generation to generation until now, with lanes of approvals and events below.

    Args:
        spans: in the order of their numbers; each lasts until the next begins.
        colours: arm -> colour; an arm without one is a defect (KeyError).
    """
    drawn = sketch(palette, height, left=72, right=4)
    begin = spans[0].start if spans else now - timedelta(days=1)
    whole = max(now - begin, timedelta(seconds=1))
    ends = [*(one.start for one in spans[1:]), now]
    for span, end in zip(spans, ends, strict=False):
        _span(drawn, palette, span, end, colours)
        wide = (end - span.start) / whole >= _NARROW
        place = span.start + (end - span.start) / 2
        drawn.label(place, 109, f"gen {span.number}" if wide else f"{span.number}", palette.muted)
    if spans:
        _names(drawn, palette, spans[-1], now, colours)
    for mark in marks:
        _mark(drawn, palette, mark, right=(mark.at - begin) / whole > 0.85)
    lanes = {"tickvals": [-40, -18, 0, 50, 100], "ticktext": ["Events", "Approvals", "0", "50", "100 %"]}
    days = "%d %b" if whole > timedelta(days=2) else "%d %b %H:%M"
    drawn.axes(
        x={"range": [begin, now], "tickformat": days, "nticks": 8},
        y={**lanes, "range": [-52, 118], "showgrid": False, "ticksuffix": " "},
    )
    return drawn.figure(hovermode="closest")


def _span(drawn: Sketch, palette: Palette, span: Span, end: datetime, colours: Mapping[str, str]) -> None:
    bottom = 0.0
    for arm, share in span.shares.items():
        edge = {"width": 1, "color": palette.surface}
        box = {"type": "rect", "x0": span.start, "x1": end, "y0": bottom, "y1": bottom + share, "layer": "below"}
        drawn.shape(**box, fillcolor=colours[arm], opacity=_opacity(palette, colours[arm]), line=edge)
        middle = span.start + (end - span.start) / 2
        hover = f"generation {span.number}<br>{plain(arm)}: {share:g} %<extra></extra>"
        point = {"color": "rgba(0,0,0,0)", "size": 14}
        drawn.scatter(x=[middle], y=[bottom + share / 2], mode="markers", marker=point, hovertemplate=hover)
        bottom += share


def _names(drawn: Sketch, palette: Palette, newest: Span, now: datetime, colours: Mapping[str, str]) -> None:
    """Each arm's name inside its newest share, where it fits."""
    bottom = 0.0
    for arm, share in newest.shares.items():
        if share >= 15:
            inside = palette.text if _opacity(palette, colours[arm]) < 1 else palette.on_arm
            drawn.label(now, bottom + share / 2, f"{plain(arm)} ", inside, xanchor="right")
        bottom += share


def _opacity(palette: Palette, colour: str) -> float:
    """The champion stands back, so that what challenges it is seen."""
    return 0.4 if colour == palette.champion else 1.0


def _mark(drawn: Sketch, palette: Palette, mark: Mark, *, right: bool) -> None:
    colour, lane = palette.tone(mark.tone), _LANES[mark.lane]
    hover = f"{mark.at:%d %b %Y %H:%M} UTC<br>{plain(mark.words)}: {plain(mark.more, 120)}<extra></extra>"
    point = {"symbol": mark.symbol, "size": 9, "color": colour}
    drawn.scatter(x=[mark.at], y=[lane], mode="markers", marker=point, hovertemplate=hover)
    side = {"xanchor": "right", "xshift": -9} if right else {"xanchor": "left", "xshift": 9}
    drawn.label(mark.at, lane, plain(mark.words, 28), colour, **side)
