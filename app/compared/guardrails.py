"""Guardrails with their verdicts, and segments, in tables."""

from __future__ import annotations

import streamlit as st

from app.compared import arms, words
from app.kit import components, pictures
from app.kit.palette import Palette, current
from app.kit.plain import escape, plural
from app.kit.states import badge, tag
from backend.experiments.comparing.figures import Effect, Guarded
from backend.experiments.comparing.views import ComparisonView

HEAD = ("Metric", "Verdict", "Harm", "Proved between", "better … none … limit", "Limit")
_AXIS = (-1.5, 1.5)
"""Of harm as a share of the limit: 0 is no change, 1 is the limit."""
_THEN = {"rollback": "then back", "hold": "then hold", "warn": "then warn"}


def card(found: ComparisonView) -> None:
    """Everyone's guardrails and those of guarded segments, what failed first."""
    told = words.guardrails(found) + [one for one in words.guardrails(found, segments=True) if one.stops]
    if not told:
        return
    order = ("fail", "missing", "stale", "inconclusive", "pass")
    told.sort(key=lambda one: order.index(one.verdict))
    many = len(found.treatments) > 1
    rows = [_row(found, one, current(), many=many) for one in told]
    with components.card("Guardrails", "harm with its always-valid bounds, drawn as a share of the limit that stops it"):
        components.table(rows, HEAD, alt="Guardrails with their verdicts", tight=(1, 2, 3, 4, 5), right=(2, 3))
        reasons = [one for one in told if one.verdict != "pass" and one.reason]
        if reasons:
            st.markdown("  \n".join(f":small[:gray[{escape(one.reason, 400)}]]" for one in reasons[:6]))


def _row(found: ComparisonView, one: Guarded, palette: Palette, *, many: bool) -> tuple[str, ...]:
    metric = found.asked.metric(one.metric)
    where = " ".join(
        part for part in (escape(one.treatment) if many else "", f"in {escape(one.segment)}" if one.segment else "") if part
    )
    name = f"**{escape(one.metric)}**{f'  {where}' if where else ''}"
    harm = words.change(metric, one.harm, relative=one.relative) if one.harm is not None else "no figure"
    between = words.interval(metric, one.fail_low, one.pass_high, relative=one.relative)
    limit = f"{words.change(metric, one.margin, relative=one.relative)}, {_THEN[one.on_fail]}"
    return name, badge("verdict", one.verdict), f"**{harm}**", between, _picture(found, one, palette), limit


def _picture(found: ComparisonView, one: Guarded, palette: Palette) -> str:
    if one.harm is None or not one.margin:
        return ""
    low = _AXIS[0] if one.fail_low is None else one.fail_low / one.margin
    high = _AXIS[1] if one.pass_high is None else one.pass_high / one.margin
    colour = words.colour(found, palette, one.treatment)
    return pictures.interval(palette, low, one.harm / one.margin, high, axis=_AXIS, colour=colour, limit=1.0, width=170)


def segments(found: ComparisonView, *, border: bool = True) -> None:
    """The effect on what it is for in each declared segment: ideas, no ground to decide."""
    if not found.asked.segments:
        return
    name = words.first_metric(found)
    metric = found.asked.metric(name)
    told = [one for each in found.asked.segments for one in words.effects(found, name, each.name)]
    guarded = {one.name for one in found.asked.segments if one.guarded}
    note = f"{plural(len(found.asked.segments), 'uncorrected look')}: ideas for the next test, no ground to decide"
    with components.card("Segments", note, border=border):
        components.table(
            _segment_rows(found, told, guarded, current()) or [("No unit yet", "", "", "")],
            ("Segment", "Units", f"Change in {escape(name)}", arms.scale(metric, _axis(told))),
            alt="Segments, exploratory",
            tight=(0, 2),
            right=(1,),
        )


def _axis(told: list[Effect]) -> tuple[float, float]:
    return arms.span([end for one in told for end in (one.low, one.difference, one.high)])


def _segment_rows(found: ComparisonView, told: list[Effect], guarded: set[str], palette: Palette) -> list[tuple[str, ...]]:
    axis, rows = _axis(told), list[tuple[str, ...]]()
    for one in told:
        metric = found.asked.metric(one.metric)
        state = tag("Guarded", "shield") if one.segment in guarded else tag("Exploratory", "explore")
        arm = f" {escape(one.treatment)}" if len(found.treatments) > 1 else ""
        drawn = arms.picture(one, axis, words.colour(found, palette, one.treatment), palette)
        units = f"{one.n_control + one.n_treatment:,}"
        rows.append((f"{escape(one.segment)}{arm} {state}", units, arms.effect_words(metric, one), drawn))
    return rows
