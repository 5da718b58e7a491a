"""What was seen over time: the effect with its interval against the line that decides, and who was exposed."""

from __future__ import annotations

from collections.abc import Sequence

from app.compared import words
from app.kit import charts, components
from app.kit.bands import Band, bands
from app.kit.palette import Palette, current
from app.kit.plain import escape
from backend.delivery.comparison import Metric
from backend.experiments.comparing.views import ComparisonView, Point

_DASHES = ("solid", "dash", "dot", "dashdot")
"""Treatments differ in more than their colour."""


def effect(found: ComparisonView, points: Sequence[Point], *, key: str, border: bool = True) -> None:
    """The card of the effect; of a rollout of the first guardrail's harm."""
    name = words.first_metric(found)
    metric, of = found.asked.metric(name), "primary" if found.asked.primary is not None else "guardrail"
    mine = [one for one in points if one.of == of and one.metric == name]
    relative = of == "guardrail" and next((one.relative for one in found.asked.guardrails if one.metric == name), False)
    factor, unit = _unit(metric, relative=relative)
    what = "Change in" if of == "primary" else "Harm to"
    note = f"{what} {escape(name)} beside {escape(found.control)}, with its always-valid interval"
    title = "Effect over time" if of == "primary" else "Harm over time"
    with components.card(title, f"{note}{', ' + unit.strip() if unit else ''}", border=border):
        if not mine:
            components.empty("No look has come yet", "The effect stands here from the first look on.", icon="show_chart")
            return
        line = _line(metric, mine, factor, unit)
        series = [_band(found, arm, mine, metric, factor, current()) for arm in found.treatments]
        figure = bands(current(), [one for one in series if one.at], line=line, unit=unit)
        charts.show(figure, key=key, alt=_words(found, mine, metric))


def _band(found: ComparisonView, arm: str, points: Sequence[Point], metric: Metric, factor: float, palette: Palette) -> Band:
    mine = [one for one in points if one.treatment == arm]
    told = [turned(metric, one) for one in mine]
    return Band(
        name=arm,
        at=[one.at for one in mine],
        values=[_times(one[0], factor) for one in told],
        low=[_times(one[1], factor) for one in told],
        high=[_times(one[2], factor) for one in told],
        colour=words.colour(found, palette, arm),
        dash=_DASHES[words.place(found, arm) % len(_DASHES)],
    )


def turned(metric: Metric, point: Point) -> tuple[float | None, float | None, float | None]:
    """A point's figures as they are drawn: gains in the metric's own direction, harm as it is."""
    if point.of == "primary":
        return words.difference(metric, point.value, point.low, point.high)
    return point.value, point.low, point.high


def _line(metric: Metric, points: Sequence[Point], factor: float, unit: str) -> tuple[float, str] | None:
    newest = points[-1]
    if newest.line is None:
        return None
    if newest.of == "guardrail":
        return newest.line * factor, f"Limit: {newest.line * factor:.3g}{unit}"
    at = newest.line * (-1 if metric.better == "lower" else 1) * factor
    return at or 0.0, f"Decision line: ship {'below' if metric.better == 'lower' else 'above'} {at or 0:.3g}{unit}"


def _unit(metric: Metric, *, relative: bool) -> tuple[float, str]:
    if relative:
        return 100.0, " %"
    if metric.kind in ("errors", "slow", "predictions"):
        return 100.0, " pp"
    return (1000.0, " ms") if metric.kind == "latency" else (1.0, "")


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _words(found: ComparisonView, points: Sequence[Point], metric: Metric) -> str:
    """What the chart shows, for whoever does not see it."""
    told = []
    for arm in found.treatments:
        newest = next((one for one in reversed(points) if one.treatment == arm), None)
        if newest is not None:
            value, low, high = turned(metric, newest)
            told.append(f"{arm}: {words.change(metric, value)}, from {words.interval(metric, low, high)}")
    return f"Effect over {len({one.at for one in points}):,} looks. At the newest one, {'; '.join(told)}."


def exposure(found: ComparisonView, *, key: str) -> None:
    """Units first seen in each hour, by arm."""
    told = found.figures.exposure if found.figures is not None else ()
    if not told:
        components.empty("Nobody was exposed yet", "Units stand here by the hour in which they were first seen.", icon="groups")
        return
    palette = current()
    lines = []
    for number, arm in enumerate((found.control, *found.treatments)):
        mine = [one for one in told if one.arm == arm]
        dash, colour = _DASHES[number % len(_DASHES)], words.colour(found, palette, arm)
        lines.append(charts.Line(arm, [one.hour for one in mine], [float(one.units) for one in mine], colour, dash))
    sums = ", ".join(f"{one.name} {sum(value or 0 for value in one.values):,.0f}" for one in lines)
    drawn = [one for one in lines if one.at]
    charts.show(charts.lines(palette, drawn, height=180), key=key, alt=f"Units first seen by hour and arm: {sums}.")
