"""The arms in a table: who got what, what each did, and how far that is from the control."""

from __future__ import annotations

from collections.abc import Sequence

from app.compared import words
from app.kit import components, pictures
from app.kit.palette import Palette, current
from app.kit.plain import escape
from backend.delivery.comparison import Metric
from backend.experiments.comparing.figures import ArmFigures, Effect
from backend.experiments.comparing.views import ComparisonView


def card(found: ComparisonView) -> None:
    """Shares planned, assigned and served, and the effect on what it is for."""
    if found.figures is None:
        return
    name = words.first_metric(found)
    metric, told = found.asked.metric(name), words.effects(found, name)
    axis = span([end for one in told for end in (one.low, one.difference, one.high)])
    effect = (f"Change ({words.sure(found)})", scale(metric, axis), escape(name))
    head = ("Arm", *effect, "Units", "Complete", "Planned", "Assigned", "Served")
    rows = [_row(found, one, metric, told, axis, current()) for one in found.figures.arms]
    better = f"{'lower' if metric.better == 'lower' else 'higher'} {escape(name)} is better"
    with components.card("Arms", f"share of units planned, of requests assigned and served; {better}"):
        components.table(rows, head, alt="Arms with their shares and effects", tight=(0, 1), right=(3, 4, 5, 6, 7, 8))


def _row(
    found: ComparisonView,
    arm: ArmFigures,
    metric: Metric,
    told: Sequence[Effect],
    axis: tuple[float, float],
    palette: Palette,
) -> tuple[str, ...]:
    own = next((one for one in told if one.treatment == arm.name), None)
    value = told[0].control_value if arm.control and told else own.treatment_value if own is not None else None
    said = "baseline" if arm.control else effect_words(metric, own)
    shares = (f"{100 * one:.3g} %" for one in (arm.planned, arm.assigned, arm.served))
    drawn = "" if own is None else picture(own, axis, words.colour(found, palette, arm.name), palette)
    figures = (words.amount(metric, value), f"{arm.units:,}", f"{arm.complete:,}", *shares)
    return (words.named(found, palette, arm.name), said, drawn, *figures)


def effect_words(metric: Metric, one: Effect | None) -> str:
    """`**−0.061** (−0.074 to −0.048)`."""
    if one is None or one.difference is None:
        return "no figure"
    told = "not settled yet" if one.unsettled else words.interval(metric, one.low, one.high)
    return f"**{words.change(metric, one.difference)}** ({told})"


def picture(one: Effect, axis: tuple[float, float], colour: str, palette: Palette, *, width: int = 140) -> str:
    """The effect with its interval on an axis that all rows share; "" where there is none."""
    if one.difference is None:
        return ""
    low = axis[0] if one.low is None else one.low
    high = axis[1] if one.high is None else one.high
    return pictures.interval(palette, low, one.difference, high, axis=axis, colour=colour, width=width)


def span(values: Sequence[float | None]) -> tuple[float, float]:
    """An axis that holds all of them and no change, with a little room."""
    known = [one for one in values if one is not None] + [0.0]
    room = (max(known) - min(known)) * 0.08 or 1.0
    return min(known) - room, max(known) + room


def scale(metric: Metric, axis: tuple[float, float]) -> str:
    """The ends of an axis as a column's head."""
    return f"{words.change(metric, axis[0])} … 0 … {words.change(metric, axis[1])}".replace(" ", components.NBSP)
