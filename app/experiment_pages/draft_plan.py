"""What a design comes to, beside the form and on a draft's page: who gets what in absolute terms, and what it will see."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app import identity, wiring
from app.compared import words
from app.kit import components
from app.kit.plain import escape
from app.kit.states import tag
from backend.core.canonical import canonical
from backend.core.errors import ExternalFailure, Refusal
from backend.delivery.comparison import Metric
from backend.delivery.plan import percent
from backend.experiments.designs.spec import Design, parse_design
from backend.experiments.designs.views import Figure, PlanView

KEPT_SECONDS = 60
HEAD = ("Metric", "For", "Matters", "Seen by the end", "Harm found", "Units needed", "Days needed")


@dataclass(frozen=True)
class Outcome:
    """The plan that a design comes to, or why there is none."""

    design: Design | None
    plan: PlanView | None
    missing: str = ""


def of(endpoint: str, told: Mapping[str, Any]) -> Outcome:
    """Plans a design by the endpoint's log; what keeps it from that is said, and nothing is stored."""
    try:
        design = parse_design(told)
    except Refusal as refusal:
        return Outcome(None, None, refusal.message)
    try:
        return Outcome(design, _planned(identity.current().id, endpoint, canonical(design.to_json()).decode()))
    except (Refusal, ExternalFailure) as problem:
        return Outcome(design, None, str(problem))


@st.cache_data(ttl=KEPT_SECONDS, max_entries=200, show_spinner="Reading the log of the last days …")
def _planned(_who: str, endpoint: str, design: str) -> PlanView:
    """Kept for a minute for each person: the log is not read at every stroke of a key."""
    return wiring.backend().experiments.plan(identity.current(), endpoint, json.loads(design))


def draw(found: Outcome) -> None:
    """The answer first, then who gets what, then what is seen of each metric."""
    answer(found)
    if found.design is not None:
        _shares(found.design, found.plan)
    if found.design is not None and found.plan is not None:
        _figures(found.design, found.plan)


def answer(found: Outcome) -> None:
    """Whether it sees what matters, or why not, with its figure."""
    if found.plan is None:
        components.answer(f"Still missing: {escape(found.missing, 400)}", tag("Not planned", "hourglass_empty", "orange"))
        return
    blind = [one for one in found.plan.figures if one.blind and one.binding]
    if not blind:
        days = f"{found.plan.days:,.0f} days" if found.plan.days else "its time"
        says = f"It sees what matters: in {days} about {found.plan.units_by_end:,.0f} units come."
        components.answer(says, tag("Can be started", "check_circle", "green"))
        return
    known, name = all(one.known for one in blind), escape(blind[0].metric)
    first = f"This is blind to {name}." if known else f"It is not known whether this sees {name}."
    state = tag("Would be refused", "visibility_off", "red") if known else tag("Not measured", "help", "orange")
    components.answer(f"{first} {escape(blind[0].blind, 400)}", state)
    for one in blind[1:]:
        st.markdown(f":small[:gray[{escape(one.metric)}: {escape(one.blind, 400)}]]")


def _shares(design: Design, plan: PlanView | None) -> None:
    units = int(plan.measured.get("units") or 0) if plan is not None else 0
    told = [("The champion", design.control_share), *((f"v{one.version}", one.share) for one in design.arms)]
    note = measured(plan)
    with components.card("Who gets what", note):
        for name, share in told:
            verb = "keeps" if name == "The champion" else "gets"
            said = f": about {units * share / 10_000:,.0f} of the {units:,} seen" if units else ""
            st.markdown(f"**{name} {verb} {percent(share)} of units**{said}")


def measured(plan: PlanView | None) -> str:
    """Of what the units were counted."""
    if plan is None or not plan.measured.get("start"):
        return "nothing was measured yet"
    start, end = str(plan.measured["start"])[:10], str(plan.measured["end"])[:10]
    lately = f"{plan.units_a_day:,.0f} new ones a day lately"
    return f"units of the log from {start} to {end} UTC, {lately}"


def _figures(design: Design, plan: PlanView) -> None:
    metrics = {one.name: one.metric(one.cuts or (0.0,) if one.kind == "predictions" else ()) for one in design.metrics}
    rows = [_row(metrics[one.metric], one) for one in plan.figures if one.metric in metrics]
    note = "the smallest effect, or margin, that is shown with 80 % by the planned end"
    with components.card("What it will see", note):
        components.table(rows, HEAD, alt="What it will see of each metric", right=(2, 3, 4, 5, 6))
        notes = [f"{escape(one.metric)}: {escape(one.note, 300)}." for one in plan.figures if one.note and one.known]
        for one in notes:
            st.markdown(f":small[:gray[{one}]]")


def _row(metric: Metric, one: Figure) -> tuple[str, ...]:
    def said(value: float | None) -> str:
        known = value is not None and value < float("inf")
        nothing = "nothing" if one.known else "–"
        return words.change(metric, value, relative=one.relative).lstrip("+") if known else nothing

    state = tag("Blind", "visibility_off", "red") if one.blind and one.known else ""
    harm = said(one.harm) if one.role == "guardrail" else "–"
    role = "what it is for" if one.role == "primary" else "guardrail"
    return (f"**{escape(one.metric)}** {state}", role, said(one.wanted), said(one.detectable), harm, _count(one, one.units),
            _count(one, one.days))  # fmt: skip


def _count(one: Figure, value: float) -> str:
    return f"{value:,.0f}" if value < float("inf") else "never" if one.known else "–"
