"""Whether the arms got the units that they were meant to get, and whether units stayed in one arm."""

from __future__ import annotations

import streamlit as st

from app.compared import course, words
from app.kit import components
from app.kit.palette import current
from app.kit.plain import escape, plural
from app.kit.states import tag
from backend.experiments.comparing.figures import Crossed, Mismatch
from backend.experiments.comparing.views import ComparisonView

MINUS = words.MINUS


def card(found: ComparisonView, *, key: str, border: bool = True) -> None:
    """Exposure by arm over time, then units by arm against the plan."""
    with components.card("Exposure by arm", "units first seen in an hour, UTC", border=border):
        course.exposure(found, key=key)
        if found.figures is None:
            return
        for one in found.figures.mismatches:
            _ratio(found, one)
        st.markdown(f":small[:gray[{crossed(found.figures.crossed)}]]")


def _ratio(found: ComparisonView, one: Mismatch) -> None:
    """Units by arm; of units without an outcome only what is wrong with them."""
    if one.of != "units" and not one.mismatch:
        return
    title = "Sample ratio" if one.of == "units" else f"Units without an outcome, {escape(one.of)}"
    said = "Not as planned" if one.mismatch else "As planned"
    p = f", p = {one.p:.2g}" if one.p is not None else ""
    state = tag(f"{said}{p}", "error" if one.mismatch else "check_circle", "red" if one.mismatch else "green")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{title}**", width="content")
        st.markdown(state)
    st.markdown(f":small[:gray[Units by arm against the plan; alarm at p of 0.001, at any time. {escape(one.words, 300)}]]")
    rows = [_units(found, one, arm) for arm in (found.control, *found.treatments) if arm in one.counts]
    components.table(rows, ("Arm", "Planned", "Assigned", "Difference"), alt=title, tight=(0,), right=(1, 2, 3))


def _units(found: ComparisonView, one: Mismatch, arm: str) -> tuple[str, str, str, str]:
    got, meant = one.counts[arm], one.expected.get(arm, 0.0)
    apart = round(got) - round(meant)
    said = f"{'+' if apart > 0 else MINUS if apart < 0 else ''}{abs(apart):,}"
    return words.named(found, current(), arm), f"{meant:,.0f}", f"{got:,.0f}", said


def crossed(one: Crossed) -> str:
    """How many units were seen in two arms."""
    if not one.units:
        return "No unit was seen yet."
    share = 100 * one.crossed / one.units
    return f"{plural(one.crossed, 'unit')} in two arms, {share:.2g} % (invalid above 1 %)."
