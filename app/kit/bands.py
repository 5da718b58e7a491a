"""A chart of estimates with their intervals over time, against the line that decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import plotly.graph_objects as go

from app.kit.charts import Sketch, limit, plain, sketch
from app.kit.palette import Palette, tint

_ROOM = 0.15
_FEWEST = timedelta(minutes=1)


@dataclass(frozen=True)
class Band:
    """One estimate at each look, with its interval; None where there is no figure, or no end."""

    name: str
    at: Sequence[datetime]
    values: Sequence[float | None]
    low: Sequence[float | None]
    high: Sequence[float | None]
    colour: str
    dash: str = "solid"


def bands(
    palette: Palette, series: Sequence[Band], *, line: tuple[float, str] | None, unit: str = "", height: int = 340
) -> go.Figure:
    """Estimates with their intervals; the solid line is no change, the dashed one decides (it may be the same).

    Args:
        line: where it decides, and what is written on it.
    """
    drawn = sketch(palette, height, right=72)
    for one in series:
        _draw(drawn, one, unit)
    if line is None or line[0]:  # the one would lie on the other
        drawn.shape(type="line", xref="paper", x0=0, x1=1, y0=0, y1=0, line={"color": palette.muted, "width": 1})
    if line is not None:
        limit(drawn, palette, line[0], line[1], "blue")
    times = [at for one in series for at in one.at]
    span = [min(times), max(max(times), min(times) + _FEWEST)] if times else []
    drawn.axes(x={"range": span, "nticks": 6} if span else {}, y={"range": _range(series, line), "ticksuffix": plain(unit)})
    return drawn.figure()


def _draw(drawn: Sketch, one: Band, unit: str) -> None:
    """The interval's ends as two lines without a colour, filled between; gaps stay gaps."""
    edge = {"width": 0, "color": one.colour}
    both = [low is not None and high is not None for low, high in zip(one.low, one.high, strict=True)]
    low = [value if known else None for value, known in zip(one.low, both, strict=True)]
    high = [value if known else None for value, known in zip(one.high, both, strict=True)]
    mode = "lines+markers" if len(one.at) == 1 else "lines"
    drawn.scatter(x=list(one.at), y=low, mode="lines", line=edge, hoverinfo="skip")
    fill = {"fill": "tonexty", "fillcolor": tint(one.colour, 0.16)}
    drawn.scatter(x=list(one.at), y=high, mode="lines", line=edge, hoverinfo="skip", **fill)
    said = [f"{_number(a)} to {_number(b)}{plain(unit)}" for a, b in zip(one.low, one.high, strict=True)]
    drawn.scatter(
        x=list(one.at), y=list(one.values), customdata=said, mode=mode,
        line={"color": one.colour, "width": 2, "dash": one.dash},
        hovertemplate=f"%{{y:.3~g}}{plain(unit)} (%{{customdata}})<extra>{plain(one.name)}</extra>",
    )  # fmt: skip
    known = [(at, value) for at, value in zip(one.at, one.values, strict=True) if value is not None]
    if known:
        at, value = known[-1]
        drawn.label(at, value, f"<b>{plain(one.name, 12)}</b>", one.colour, xanchor="left", xshift=6)


def _number(value: float | None) -> str:
    return "no end" if value is None else f"{value:.3g}"


def _range(series: Sequence[Band], line: tuple[float, str] | None) -> list[float]:
    """What was measured and what decides, with some room; early intervals that are as wide as a house are cut."""
    values = sorted(value for one in series for value in one.values if value is not None)
    last = [end for one in series for end in (*one.low[-1:], *one.high[-1:]) if end is not None]
    ends = sorted(end for one in series for end in (*one.low, *one.high) if end is not None)
    inner = ends[len(ends) // 10 : -(len(ends) // 10) or None] if len(ends) > 20 else ends
    shown = [*values, *last, *inner, 0.0, *([line[0]] if line is not None else [])]
    low, high = min(shown), max(shown)
    room = (high - low) * _ROOM or 1.0
    return [low - room, high + room]
