"""Small pictures for table cells and cards, as inline SVG in a Markdown image: nothing is fetched and no HTML is injected."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from app.kit.palette import FONT, Palette
from app.kit.plain import escape


def steps(palette: Palette, done: int, total: int, progress: float, *, width: int = 480) -> str:
    """One bar a step: full, part-filled (the running one, `progress` from 0 to 1) or empty."""
    gap, each = 4, (width - 4 * (total - 1)) / total
    parts = []
    for step in range(total):
        x = step * (each + gap)
        parts.append(_bar(x, each, palette.grid))
        filled = 1.0 if step < done else progress if step == done else 0.0
        if filled > 0:
            parts.append(_bar(x, max(each * min(filled, 1.0), 6), palette.accent))
    return _picture("".join(parts), width, 8, f"step {min(done + 1, total)} of {total}")


def share(parts: Sequence[tuple[str, float, str]], *, width: int = 250, height: int = 12) -> str:
    """A bar of (arm, share in percent, colour) from the left."""
    clip = f'<clipPath id="c"><rect width="{width}" height="{height}" rx="3"/></clipPath>'
    drawn, x = "", 0.0
    for _, percent, colour in parts:
        drawn += f'<rect x="{x:.1f}" width="{max(width * percent / 100 - 1.5, 0):.1f}" height="{height}" fill="{colour}"/>'
        x += width * percent / 100
    words = ", ".join(f"{name} {percent:g} percent" for name, percent, _ in parts)
    return _picture(f'{clip}<g clip-path="url(#c)">{drawn}</g>', width, height, words)


def interval(
    palette: Palette,
    low: float,
    middle: float,
    high: float,
    *,
    axis: tuple[float, float],
    colour: str,
    limit: float | None = None,
    width: int = 190,
) -> str:
    """An estimate with its interval on an axis shared by all rows; the solid line is no change, the dashed one decides."""
    pad, height, y = 8, 20, 10

    def x(value: float) -> float:
        inside = min(max(value, axis[0]), axis[1])
        return pad + (inside - axis[0]) / (axis[1] - axis[0]) * (width - 2 * pad)

    parts = [f'<line x1="{pad}" x2="{width - pad}" y1="{y}" y2="{y}" stroke="{palette.grid}"/>', _upright(x(0), palette.muted)]
    if limit is not None:
        parts.append(_upright(x(limit), palette.bad, dashed=True))
    parts.append(
        f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="5" stroke-opacity=".35" '
        f'stroke-linecap="round"/><circle cx="{x(middle):.1f}" cy="{y}" r="4" fill="{colour}"/>'
    )
    return _picture("".join(parts), width, height, f"{middle:g}, from {low:g} to {high:g}")


def arm(name: str, colour: str) -> str:
    """An arm's dot and its name, inseparable; `name` is somebody's text."""
    return f':color[●]{{foreground="{colour}"}}\u00a0**{escape(name)}**'


def _bar(x: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="1" width="{width:.1f}" height="6" rx="3" fill="{colour}"/>'


def _upright(x: float, colour: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="2.5 2.5"' if dashed else ' stroke-opacity=".7"'
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="1" y2="19" stroke="{colour}"{dash}/>'


def _picture(content: str, width: int, height: int, words: str) -> str:
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="{FONT.replace(chr(34), "")}">{content}</svg>'
    )
    return f"![{escape(words)}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
