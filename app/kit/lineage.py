"""A lineage graph from left to right: run, commit, data set, version, package, endpoints. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from app.kit.charts import Sketch, plain, sketch
from app.kit.palette import Palette, Tone, tint

_WIDTH, _HEIGHT, _ACROSS, _DOWN = 0.78, 0.62, 1.0, 1.0


@dataclass(frozen=True)
class Node:
    """One thing: what it is called, what kind of thing it is, more when it is pointed at, and a tone if it has a state.

    `whole` is what names it exactly (a digest, a commit), to be copied.
    """

    id: str
    name: str
    kind: str
    more: str = ""
    tone: Tone = "gray"
    whole: str = ""


Edge = tuple[str, str]
"""(id of what came first, id of what was made of it)."""


def columns(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[str, int]:
    """Each node's column: the longest way to it from a beginning. ValueError for an edge to nowhere and for a circle."""
    into: dict[str, list[str]] = {one.id: [] for one in nodes}
    for source, target in edges:
        if source not in into or target not in into:
            raise ValueError(f"an edge from {source} to {target} leads nowhere")
        into[target].append(source)
    found: dict[str, int] = {}
    for _ in nodes:
        open_ones = [one for one in into if one not in found and all(each in found for each in into[one])]
        found |= {one: max((found[each] + 1 for each in into[one]), default=0) for one in open_ones}
    if len(found) < len(into):
        raise ValueError("the graph has a circle")
    return found


def places(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[str, tuple[float, float]]:
    """Each node's middle; columns are centred, nodes stand beside what they come from."""
    at = columns(nodes, edges)
    placed: dict[str, tuple[float, float]] = {}
    sources: Mapping[str, list[str]] = {one.id: [source for source, target in edges if target == one.id] for one in nodes}
    for column in range(max(at.values(), default=-1) + 1):
        here = [one.id for one in nodes if at[one.id] == column]
        ideal = {one: _mean([placed[each][1] for each in sources[one]]) for one in here}
        here.sort(key=lambda one: -ideal[one])
        top = (len(here) - 1) / 2 * _DOWN
        placed |= {one: (column * _ACROSS, top - row * _DOWN) for row, one in enumerate(here)}
    return placed


def graph(palette: Palette, nodes: Sequence[Node], edges: Sequence[Edge], *, row_height: int = 58) -> go.Figure:
    """The graph as a figure; what a node is stands above its name, its state's tone at its edge."""
    spots = places(nodes, edges)
    rows = max((sum(1 for spot in spots.values() if spot[0] == x) for x in {spot[0] for spot in spots.values()}), default=1)
    drawn = sketch(palette, row_height * rows + 16, left=0, right=0)
    for source, target in edges:
        (x0, y0), (x1, y1) = spots[source], spots[target]
        way = {
            "x": x1 - _WIDTH / 2,
            "y": y1,
            "ax": x0 + _WIDTH / 2,
            "ay": y0,
            "xref": "x",
            "yref": "y",
            "axref": "x",
            "ayref": "y",
        }
        arrow = {"showarrow": True, "arrowhead": 2, "arrowsize": 0.9, "arrowwidth": 1.2, "arrowcolor": palette.line}
        drawn.notes.append({**way, **arrow, "text": ""})
    for node in nodes:
        _node(drawn, palette, node, spots[node.id])
    across = max((x for x, _ in spots.values()), default=0) + 0.5
    edge = max((abs(y) for _, y in spots.values()), default=0) + 0.5
    drawn.axes(x={"visible": False, "range": [-0.5, across]}, y={"visible": False, "range": [-edge, edge]})
    return drawn.figure(hovermode="closest")


def _node(drawn: Sketch, palette: Palette, node: Node, spot: tuple[float, float]) -> None:
    x, y = spot
    colour = palette.tone(node.tone)
    drawn.shape(
        type="rect",
        x0=x - _WIDTH / 2, x1=x + _WIDTH / 2, y0=y - _HEIGHT / 2, y1=y + _HEIGHT / 2,
        line={"color": palette.line if node.tone == "gray" else colour, "width": 1},
        fillcolor=tint(colour, 0.06),
        layer="below",
    )  # fmt: skip
    drawn.label(
        x,
        y,
        f"<span style='color:{palette.muted}'>{plain(node.kind)}</span><br><b>{plain(node.name, 22)}</b>",
        palette.text,
    )
    hover = f"{plain(node.kind)} <b>{plain(node.name)}</b><br>{plain(node.more, 200)}<extra></extra>"
    drawn.scatter(x=[x], y=[y], mode="markers", marker={"color": "rgba(0,0,0,0)", "size": 30}, hovertemplate=hover)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
