"""What came of an experiment so far, drawn anew by itself: the answer, arms, effect, exposure and guardrails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app.compared import arms, course, guardrails, panel, sound, words
from app.experiment_pages import seen as reading
from app.experiment_pages.seen import Seen
from app.kit import components
from app.kit.live import live, moved_on
from app.kit.plain import escape, plural
from app.kit.states import look
from backend.experiments.comparing.views import ComparisonView
from backend.experiments.designs.spec import Design

EVERY = 15.0
_NEARLY, _NOTHING = 0.999, 1e-6


def draw(seen: Seen) -> None:
    """Everything that moves while one looks; the first time from what the page has read."""
    st.session_state["experiment.first"] = seen
    line = seen.view.line
    if seen.state == "running":
        live(_draw, every=EVERY)(line.endpoint, line.slug, line.revision)
    else:
        _draw(line.endpoint, line.slug, line.revision)


def _draw(endpoint: str, slug: str, revision: int) -> None:
    seen = _again(endpoint, slug)
    if seen.view.line.revision != revision:
        moved_on(f"**It is now {look('experiment', seen.state).word.lower()}.**")
    if seen.view.line.outcome:
        _decided(seen)
    if seen.compared is None:
        _nothing(seen)
        return
    components.answer(words.headline(seen.compared), *words.badges(seen.compared))
    panel.reasons(seen.compared)
    if seen.compared.figures is None:
        with st.container(border=True):
            why = "The worker looks every few seconds; figures stand here as soon as requests with a unit are in the log."
            components.empty("No figures yet", why, icon="hourglass_empty")
        return
    arms.card(seen.compared)
    left, right = components.pair()
    with left:
        course.effect(seen.compared, seen.points, key="experiment.effect", border=False)
    with right:
        sound.card(seen.compared, key="experiment.exposure", border=False)
    guardrails.card(seen.compared)


def _again(endpoint: str, slug: str) -> Seen:
    first = st.session_state.pop("experiment.first", None)
    if isinstance(first, Seen) and (first.view.line.endpoint, first.view.line.slug) == (endpoint, slug):
        return first
    return reading.again(endpoint, slug)


def _decided(seen: Seen) -> None:
    said = look("outcome", seen.view.line.outcome).word
    who = f" by {escape(seen.view.decided_by)}" if seen.view.decided_by else ""
    st.info(f"**{said}{who}.** {escape(seen.view.reason, 1000)}", icon=":material/gavel:")


def _nothing(seen: Seen) -> None:
    if seen.state == "running":
        why = "It runs, and its comparison begins with the first step that is put in force."
        with st.container(border=True):
            components.empty("Nothing is compared yet", why, icon="hourglass_empty")


def reading_aid(found: ComparisonView) -> None:
    """The Bayesian reading of what it is for, which decides nothing."""
    name = words.first_metric(found)
    metric, told = found.asked.metric(name), words.effects(found, name)
    rows = [
        (escape(one.treatment), _chance(one.better_chance), words.amount(metric, _loss(one.loss_of_treatment)))
        for one in told
        if one.better_chance is not None
    ]
    note = "not corrected for looking: it decides nothing"
    with components.card("Bayesian reading", note, border=False):
        if not rows:
            components.empty("Nothing to read yet", "It stands here once the effect has settled.", icon="hourglass_empty")
            return
        head = ("Arm", "Chance to be better", "Expected loss if shipped")
        components.table(rows, head, alt="Bayesian reading", right=(1, 2))


def _chance(share: float) -> str:
    """Nothing is certain, whatever the digits say."""
    return "over 99.9 %" if share > _NEARLY else "below 0.1 %" if share < 1 - _NEARLY else f"{100 * share:.1f} %"


def _loss(value: float | None) -> float | None:
    return 0.0 if value is not None and value < _NOTHING else value


def planned(seen: Seen) -> None:
    """What the planner said when it started, against what came."""
    told, found = seen.view.planned, seen.compared
    with components.card("Planned and come", "as it was measured before the start", border=False):
        if told is None:
            components.empty("Nothing was measured before", "No log of the champion was there to plan with.", icon="help")
            return
        complete = sum(one.complete for one in found.figures.arms) if found is not None and found.figures is not None else 0
        line = seen.view.line
        rows = [
            ("Days", f"{line.planned_days:,}", f"{line.running_day:,}"),
            ("Units", _count(told.get("units_by_end")), f"{complete:,} complete"),
            *(_figure(one, found) for one in told.get("figures", ())),
        ]
        components.table(rows, ("What", "Planned", "Come"), alt="What was planned and what came", right=(1, 2))


def _count(value: Any) -> str:
    return f"about {value:,.0f}" if isinstance(value, int | float) else "not known"


def _figure(one: Mapping[str, Any], found: ComparisonView | None) -> tuple[str, str, str]:
    name, seen_by_end = str(one["metric"]), one.get("detectable")
    said = f"finds {seen_by_end:.3g}" if isinstance(seen_by_end, int | float) else "not known"
    told = words.effects(found, name) if found is not None else []
    widths = [(one.high - one.low) / 2 for one in told if one.low is not None and one.high is not None]
    come = f"within ±{widths[0]:.3g}" if widths else "–"
    return escape(name), said, come


def facts(seen: Seen) -> None:
    """The hypothesis and the design in words."""
    own, line = seen.design, seen.view.line
    tried = ", ".join(f"version {one.version} {one.share / 100:g} %" for one in own.arms)
    guarded = ", ".join(_guarded(own, one.metric, one.margin, relative=one.relative) for one in own.guardrails)
    rows = [
        ("Expected", escape(seen.view.hypothesis, 2000)),
        ("Who gets what", f"{escape(tried)}, the champion keeps {own.control_share / 100:g} %"),
        ("Looks for", escape(line.looks_for)),
        ("Must not get worse", escape(guarded) or "nothing is guarded"),
        ("Segments", escape(", ".join(one.name for one in own.segments)) or "none"),
        ("Outcomes", f"mature {_hours(max(one.horizon_seconds for one in own.metrics))} after a request"),
        ("Runs for", plural(own.planned_days, "day")),
        ("Layer", escape(own.layer or "none")),
    ]
    with components.card("Design", "fixed before the first exposure"):
        components.facts(rows)


def _guarded(own: Design, name: str, margin: float, *, relative: bool) -> str:
    """`errors by +2 pp`."""
    asked = next(one for one in own.metrics if one.name == name)
    metric = asked.metric(asked.cuts or (0.0,) if asked.kind == "predictions" else ())
    return f"{name} by {words.change(metric, margin, relative=relative).lstrip('+')}{' of the champion' if relative else ''}"


def _hours(seconds: int) -> str:
    return f"{seconds / 3_600:g} h" if seconds else "at once"
