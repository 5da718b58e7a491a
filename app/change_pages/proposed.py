"""What a form comes to: the plan against live, what it will take, the smallest thing still missing, and the one button."""

from __future__ import annotations

import time
from dataclasses import dataclass

import streamlit as st

from app import identity, ways, wiring
from app.change_pages import change_plan, proposal
from app.change_pages.change_plan import Live
from app.change_pages.changes import version_of, worded
from app.change_pages.proposal import Form, Start
from app.kit import charts, components, feedback
from app.kit.palette import current
from app.kit.plain import escape
from app.kit.states import badge, tag
from app.record_pages import policies
from backend.changes import course
from backend.changes.preview import Preview
from backend.core.errors import Refusal
from backend.delivery import queries as delivery
from backend.evidence.gates.names import GATES
from backend.policy.rules import is_protected

_MADE, _DOUBLE_CLICK_SECONDS = "proposal.made", 10.0


@dataclass(frozen=True)
class Outcome:
    """The plan that the form comes to, or why there is none."""

    preview: Preview | None
    missing: str


def of(start: Start, form: Form) -> Outcome:
    """Previews the plan, and names the smallest thing that is missing before it can be proposed; "" for nothing."""
    if not form.endpoint:
        return Outcome(None, "Choose the endpoint.")
    if form.version is None:
        return Outcome(None, "Choose a registered version.")
    if form.trouble:
        return Outcome(None, form.trouble)
    try:
        found = wiring.backend().changes.preview(
            identity.current(), endpoint=form.endpoint, editing=start.editing, **form.terms, **form.asked
        )
    except Refusal as refusal:
        return Outcome(None, str(refusal))
    lacking = "" if form.title else "Write a title."
    return Outcome(found, lacking or ("" if form.reason else "Write the reason."))


def draw(start: Start, form: Form, found: Outcome) -> None:
    """The answer first: what is missing, or that nothing is; then the plan against live, field by field, and what it asks."""
    _answer(start, found)
    if found.preview is None:
        with components.card("Plan against live"):
            components.empty(
                "There is no plan yet",
                f"{escape(found.missing, 400)} The plan stands here as soon as it can be drawn.",
                icon="rule",
            )
        return
    _plan(form, found.preview)
    _asks(found.preview)


def _answer(start: Start, found: Outcome) -> None:
    verb = "saved" if start.editing is not None else "proposed"
    if found.missing:
        components.answer(f"Still missing: {escape(found.missing, 300)}", tag("Not ready", "hourglass_empty", "orange"))
        return
    lacks = [worded(f"{one}.") for one in found.preview.lacks] if found.preview is not None else []
    after = f"Then it takes its checks, and {' '.join(lacks)}" if lacks else "Then it takes its checks, and nobody's approval."
    components.answer(f"Nothing is missing: it can be {verb}.", tag("Ready", "check_circle", "green"))
    st.markdown(f":small[:gray[{escape(after)}]]")


def _plan(form: Form, preview: Preview) -> None:
    with wiring.reading() as look:
        detail = delivery.endpoint(look.session, form.endpoint, now=look.now, interval=wiring.interval())
    live = Live(preview.base, detail.salt, detail.unit_header, detail.shadow)
    fields = change_plan.fields(preview.plan, live)
    kept = change_plan.unchanged(fields)
    generation = preview.base.get("generation")
    with components.card("Plan against live", f"live is generation {generation}" if generation else "where it leads") as head:
        with head:
            shown = st.toggle(f"{kept} unchanged fields", key="unchanged")
        components.table(change_plan.rows(fields, unchanged=shown), change_plan.HEAD, alt="Plan against live", tight=(1,))
        notes = [change_plan.moves_say(preview.changes), escape(preview.drawn_on)]
        if not preview.is_packaged:
            notes.append("Its package is built when it is proposed; the digests are known then.")
        for note in filter(None, notes):
            st.markdown(f":small[:gray[{note}]]")
    if preview.since_earlier is not None and preview.since_earlier.lines:
        with components.card("Since the plan before", "what this edit changes"):
            components.table(
                change_plan.since_rows(preview.since_earlier), ("Field", "Before", "Now"), alt="What this edit changes"
            )
    if preview.plan.ramp:
        with components.card("Ramp", f"traffic to version {form.version}, %, over hours"):
            steps = change_plan.chart_steps(preview.plan, version_of(preview.plan, form.version or 0))
            charts.show(
                charts.ramp(current(), steps), key="ramp", alt="Ramp: " + ", then ".join(f"{one.share:g} %" for one in steps)
            )


def _asks(preview: Preview) -> None:
    rules = preview.policy.policy
    with components.card("What it will take", f"policy {escape(preview.policy.id)}"):
        rows = [
            (
                escape(GATES[one.gate].title if one.gate in GATES else one.gate),
                badge("evidence", "missing"),
                _weight(one.weight),
            )
            for one in rules.gates
        ]
        rows.append(
            (
                "Approvals",
                badge("vote", "waiting") if is_protected(rules) else badge("vote", "approve", "None needed"),
                policies.approvals(rules),
            )
        )
        if preview.waits:
            rows.append(("Start", tag("Waits", "hourglass_empty", "orange"), escape(preview.waits)))
        components.table(rows, None, alt="Checks and approvals that the policy asks for", tight=(1,))


def _weight(weight: str) -> str:
    return {"must_pass": "must pass", "must_not_fail": "must not fail", "inform": "is shown"}[weight]


def submit(start: Start, form: Form, found: Outcome) -> None:
    """The one button; while something is missing it is off, and the answer says what."""
    label = "Save the edit" if start.editing is not None else "Propose it"
    if start.editing is not None:
        void = f"{start.votes} vote{'s' * (start.votes != 1)}"
        st.warning(
            f"Saving gives change {start.editing} a new plan digest: {void} and every check's result are void.",
            icon=":material/warning:",
        )
    if st.button(label, type="primary", icon=":material/check:", disabled=bool(found.missing), key="submit"):
        with st.spinner("Hashing the artifact and drawing the plan …"), feedback.shown() as came:
            number = _save(start, form)
        if came.ok:
            proposal.forget()
            feedback.done(f"Change {number} is {'saved' if start.editing else 'proposed'}; its checks run.")
            ways.go("change", change=number)


def _save(start: Start, form: Form) -> int:
    """The change's number. A double click proposes once: its second half finds what the first has just made."""
    changes, actor = wiring.backend().changes, identity.current()
    told = {"title": form.title, "reason": form.reason, **form.terms, **form.asked}
    if start.editing is None:
        made, at, number = st.session_state.get(_MADE, (None, 0.0, 0))
        if made != (form, actor) or time.monotonic() - at > _DOUBLE_CLICK_SECONDS:
            number = int(changes.propose(actor, endpoint=form.endpoint, **told).number)
            st.session_state[_MADE] = ((form, actor), time.monotonic(), number)
        return int(number)
    _refuse_other(start.editing, start.plan_digest)
    return int(changes.edit(actor, start.editing, **told).number)


def _refuse_other(number: int, plan_digest: str) -> None:
    """Nobody's edit is overwritten by somebody who began from the plan before."""
    with wiring.reading() as look:
        if course.find(look.session, number).plan_digest != plan_digest:
            raise Refusal(
                f"Change {number} was edited while you typed.", "Look at it as it is now, then edit that.", code="stale-write"
            )
