"""Charts of distributions and of many things over days: a heat map, two distributions side by side, a curve with intervals.

As in `charts`: pure functions from values and a palette to a figure, names in the picture instead of a legend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from app.kit.charts import SMALL, plain, sketch
from app.kit.palette import Palette, tint

_ROW, _FEWEST_ROWS = 20, 3
_SHORT_NAME, _MANY_NAMED, _FEW_NAMED = 5, 8, 4
"""So many pieces of a distribution are named under it where names are short, and where they are not."""
_NAMED_DAYS = 10
"""As many days as can be named under a heat map."""


@dataclass(frozen=True)
class Cell:
    """One field of a heat map: `value` colours it, `mark` stands in it, `words` are shown to whoever points at it."""

    value: float | None
    mark: str
    words: str


def heat(
    palette: Palette, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Cell]]], *, most: float, unit: str
) -> go.Figure:
    """Rows from the top in the order given; what has no value is left open, and says by pointing at it why.

    Args:
        most: the value that has the fullest colour; larger ones have it too.
    """
    drawn = sketch(palette, _ROW * max(_FEWEST_ROWS, len(rows)) + 44, right=4)
    places = list(range(len(columns)))
    heights = [-number for number in range(len(rows))]
    drawn.traces.append(
        {
            "type": "heatmap",
            "x": places,
            "y": heights,
            "z": [[cell.value for cell in cells] for _, cells in rows],
            "zmin": 0,
            "zmax": most,
            "colorscale": [[0, tint(palette.accent, 0.06)], [0.5, tint(palette.accent, 0.55)], [1, palette.accent]],
            "xgap": 1.5,
            "ygap": 1.5,
            "hoverinfo": "skip",
            "colorbar": {
                "len": 1.0,
                "title": {"text": plain(unit), "font": {"size": SMALL, "color": palette.muted}},
                "thickness": 10,
                "outlinewidth": 0,
                "tickfont": {"size": SMALL, "color": palette.muted},
            },
        }
    )
    told = [(x, y, cell) for y, (_, cells) in zip(heights, rows, strict=True) for x, cell in zip(places, cells, strict=True)]
    if told:
        # One trace to point at: a heat map says nothing of fields without a value.
        drawn.scatter(
            x=[x for x, _, _ in told],
            y=[y for _, y, _ in told],
            text=[cell.mark for _, _, cell in told],
            customdata=["<br>".join(plain(one, 200) for one in cell.words.split("\n")) for _, _, cell in told],
            mode="markers+text",
            marker={"color": "rgba(0,0,0,0)", "size": 14, "symbol": "square"},
            textfont={"size": SMALL, "color": [_ink(palette, cell, most) for _, _, cell in told]},
            hovertemplate="%{customdata}<extra></extra>",
        )
    every = max(1, -(-len(columns) // _NAMED_DAYS))
    drawn.axes(
        x={"tickvals": places[::every], "ticktext": [plain(one) for one in columns[::every]],
           "range": [-0.5, len(columns) - 0.5]},
        y={"tickvals": heights, "ticktext": [plain(name, 26) for name, _ in rows], "range": [-len(rows) + 0.5, 0.5],
           "showgrid": False, "ticksuffix": "  "},
    )  # fmt: skip
    return drawn.figure(hovermode="closest")


def _ink(palette: Palette, cell: Cell, most: float) -> str:
    if cell.value is None:
        return palette.muted
    return palette.on_arm if cell.value > most * 0.6 else palette.text


@dataclass(frozen=True)
class Pair:
    """One piece of the values, with the shares of both sides, 0 to 1; `tick` is what stands below it instead of its name."""

    label: str
    before: float
    now: float
    tick: str = ""


def sides(palette: Palette, pairs: Sequence[Pair], *, names: tuple[str, str], height: int = 220) -> go.Figure:
    """Two distributions side by side, in percent; the names of both stand above in their colours."""
    drawn = sketch(palette, height)
    places = list(range(len(pairs)))
    for name, colour, shares in (
        (names[0], palette.champion, [one.before for one in pairs]),
        (names[1], palette.accent, [one.now for one in pairs]),
    ):
        labels = [plain(one.label) for one in pairs]
        hover = f"%{{customdata}}: %{{y:.3~g}} %<extra>{plain(name)}</extra>"
        drawn.bar(x=places, y=[100 * one for one in shares], customdata=labels, marker={"color": colour}, hovertemplate=hover)
    said = f"<span style='color:{palette.champion}'>■ {plain(names[0])}</span>   "
    said += f"<span style='color:{palette.accent}'>■ {plain(names[1])}</span>"
    drawn.label(1, 1.1, said, palette.text, xref="paper", yref="paper", xanchor="right", yanchor="top")
    words = [plain(one.tick or one.label, 16) for one in pairs]
    longest = max(map(len, words), default=0)
    every = max(1, -(-len(pairs) // (_FEW_NAMED if longest > _SHORT_NAME else _MANY_NAMED)))
    named = {"tickvals": places[::every], "ticktext": words[::every], "tickangle": 0}
    drawn.axes(x=named, y={"ticksuffix": " %"})
    return drawn.figure(barmode="group", bargap=0.2, margin={"l": 4, "r": 12, "t": 26, "b": 4})


@dataclass(frozen=True)
class Dot:
    """One point of `curve`: where it lies, and between which values it may truly lie."""

    x: float
    y: float
    low: float
    high: float
    words: str


def curve(palette: Palette, dots: Sequence[Dot], *, x: str, y: str, ideal: str, height: int = 260) -> go.Figure:
    """Points from 0 to 1 on both axes with their intervals, against the line on which both are equal."""
    drawn = sketch(palette, height)
    line = {"color": palette.line, "width": 1.2, "dash": "dash"}
    drawn.shape(type="line", x0=0, x1=1, y0=0, y1=1, line=line)
    drawn.label(0.99, 0.99, plain(ideal), palette.muted, xanchor="right", yanchor="bottom")
    if dots:
        above, below = [max(0.0, one.high - one.y) for one in dots], [max(0.0, one.y - one.low) for one in dots]
        drawn.scatter(
            x=[one.x for one in dots],
            y=[one.y for one in dots],
            error_y={"type": "data", "array": above, "arrayminus": below, "color": tint(palette.accent, 0.5), "width": 3},
            customdata=[plain(one.words, 160) for one in dots],
            mode="lines+markers",
            line={"color": palette.accent, "width": 1.6},
            marker={"size": 7, "color": palette.accent},
            hovertemplate="%{customdata}<extra></extra>",
        )
    titles = {"font": {"size": SMALL, "color": palette.muted}}
    drawn.axes(
        x={"range": [-0.02, 1.02], "title": {"text": plain(x), **titles}},
        y={"range": [-0.02, 1.05], "title": {"text": plain(y), **titles}},
    )
    return drawn.figure(hovermode="closest")
