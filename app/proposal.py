"""The form of a change: what is asked for, the plan that it comes to, and the smallest thing that is still missing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import streamlit as st

from app import change_plan, charts, components, feedback, identity, policies, times, ways, wiring
from app.change_plan import Live
from app.changes import START_MODES, reference, version_of, worded
from app.palette import current
from app.plain import escape
from app.states import badge, tag
from backend.changes import course, view
from backend.changes.preview import Preview
from backend.changes.proposing import MAX_TEXT, MAX_TITLE
from backend.core.errors import NotFound, Refusal
from backend.delivery import queries as delivery
from backend.evidence.gates.names import GATES
from backend.policy import service as policy
from backend.policy.rules import Policy
from backend.registry import queries as registry
from backend.registry.queries import VersionLine

MOST_STEPS, MOST_VERSIONS = 8, 200
_HOUR = 3_600
_MADE, _DOUBLE_CLICK_SECONDS = "proposal.made", 10.0


@dataclass(frozen=True)
class Start:
    """Where the form begins: empty, with an endpoint and a version from an address, or a change that is edited.

    Args:
        editing: number of the edited change; None for a new one.
        plan_digest: what the edited change comes to now; saving is refused when it is another by then.
        votes: how many votes an edit voids.
    """

    endpoints: Sequence[tuple[str, str, str]]
    endpoint: str = ""
    version: int | None = None
    editing: int | None = None
    plan_digest: str = ""
    votes: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)


def begin(look: wiring.Reading, query: Mapping[str, str]) -> Start:
    """From the address: `change`, or `endpoint` and `version`. NotFound, and a Refusal for a change that cannot be edited."""
    endpoints = delivery.managed(look.session)
    if query.get("change"):
        return _editing(look, endpoints, reference(query["change"]))
    version = query.get("version", "")
    return Start(endpoints, query.get("endpoint", ""), int(version) if version.isascii() and version.isdigit() else None)


def kept(start: Start) -> Start:
    """What the form began from, held while one types: an edit is judged against the plan that the person saw first."""
    key = f"proposal.begun.{start.editing}"
    if start.editing is None:
        return start
    begun: Start = st.session_state.setdefault(key, start)
    return begun


def _editing(look: wiring.Reading, endpoints: Sequence[tuple[str, str, str]], number: int) -> Start:
    seen = view.view(look.session, identity.current(), number, look.now)
    if seen.may["edit"]:
        raise Refusal(f"Change {number} cannot be edited by you now.", seen.may["edit"], code="not-editable")
    wanted = course.find(look.session, number).wanted
    values = {
        **wanted,
        "title": seen.line.title,
        "reason": seen.reason,
        "start_mode": seen.start_mode,
        "start_at": seen.start_at,
        "supersede": seen.supersede,
    }
    counted = sum(1 for one in seen.votes if one.counts)
    return Start(endpoints, seen.line.endpoint, int(wanted["version"]), number, seen.plan_digest, counted, values)


@dataclass(frozen=True)
class Form:
    """What has been typed. `trouble` is the first thing that keeps it from being read at all, as a sentence."""

    endpoint: str = ""
    version: int | None = None
    title: str = ""
    reason: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""


def draw_form(start: Start) -> Form:
    """Every field; nothing is lost when something is refused."""
    with components.card("What is wanted", "one version on one endpoint"):
        endpoint = _endpoint(start)
        if endpoint is None:
            return Form(trouble="Choose the endpoint.")
        name, environment, model = endpoint
        with wiring.reading() as look:
            known = registry.versions(look.session, model, limit=MOST_VERSIONS).items
            rules = policy.in_force(look.session, environment).policy
        version = _version(start, known)
        share = st.number_input(
            "Share of traffic at the end (%)",
            0.0,
            100.0,
            value=start.values.get("share", 10_000) / 100,
            step=5.0,
            key="share",
            help="Whatever runs besides keeps its proportions. 0 takes the version off.",
        )
        steps = _steps(start)
    with components.card("How it starts", "and why"):
        terms, trouble = _terms(start, rules)
        title = st.text_input(
            "Title", start.values.get("title", ""), key="title", max_chars=MAX_TITLE, placeholder="What is it for?"
        )
        reason = st.text_area(
            "Reason",
            start.values.get("reason", ""),
            key="reason",
            max_chars=MAX_TEXT,
            height=96,
            placeholder="Why is it right, and what speaks for it?",
        )
    asked = {
        "version": version,
        "share": round(float(share or 0) * 100),
        "ramp": steps,
        "bake_seconds": terms.pop("bake_seconds"),
    }
    return Form(name, version, (title or "").strip(), (reason or "").strip(), asked, terms, trouble)


def _endpoint(start: Start) -> tuple[str, str, str] | None:
    names = [one[0] for one in start.endpoints]
    place = {one[0]: one for one in start.endpoints}
    if start.endpoint and start.endpoint not in place:
        raise NotFound(
            "managed endpoint", start.endpoint[:80], "Choose it from the endpoints; one that is only observed takes no change."
        )
    chosen = st.selectbox(
        "Endpoint",
        names,
        index=names.index(start.endpoint) if start.endpoint else None,
        key="endpoint",
        disabled=start.editing is not None,
        placeholder="Choose where it shall run",
        format_func=lambda name: f"{name} · {place[name][1]} · {place[name][2]}",
    )
    return place[chosen] if chosen else None


def _version(start: Start, known: Sequence[VersionLine]) -> int | None:
    """Only registered versions can be chosen; of the others it says why not."""
    able = [one for one in known if one.artifact_digest and one.removed_at is None]
    numbers = [one.number for one in able]
    lines = {one.number: one for one in able}
    chosen = st.selectbox(
        "Version",
        numbers,
        index=numbers.index(start.version) if start.version in numbers else None,
        key="version",
        placeholder="Choose a registered version" if numbers else "No version is registered",
        format_func=lambda number: _version_label(lines[number]),
    )
    if start.version is not None and start.version not in numbers:
        st.markdown(
            f":small[:orange[:material/warning: Version {start.version} cannot be chosen: {_lacking(known, start.version)}]]"
        )
    absent = [one.number for one in known if one not in able][:6]
    if absent:
        told = "; ".join(f"version {number}: {_lacking(known, number)}" for number in absent)
        st.markdown(f":small[:gray[Not offered: {told}]]")
    return int(chosen) if chosen is not None else None


def _version_label(line: VersionLine) -> str:
    """Plain text, as a select box shows it."""
    digest = (line.artifact_digest or "").removeprefix("sha256:")
    return f"Version {line.number} · {line.author or 'author unknown'} · {digest[:6]}…{digest[-4:]}"


def _lacking(known: Sequence[VersionLine], number: int) -> str:
    found = next((one for one in known if one.number == number), None)
    if found is None:
        return "the registry has no such version."
    if found.removed_at is not None:
        return "it was removed from the registry."
    return "it is not registered here yet; register it on its model's page first."


def _steps(start: Start) -> list[dict[str, Any]]:
    """The ramp: so many steps, each with a share, a time and whether a person has to look."""
    begun = start.values.get("ramp", ())
    count = st.number_input(
        "Steps on the way",
        0,
        MOST_STEPS,
        value=len(begun),
        key="steps",
        help="Each is held before the next one; 0 goes there in one step.",
    )
    found = []
    for number in range(int(count or 0)):
        was = begun[number] if number < len(begun) else {}
        share, hours, person = st.columns([2, 2, 3], vertical_alignment="bottom")
        found.append(
            {
                "share": round(
                    float(
                        share.number_input(
                            f"Step {number + 1}: share (%)",
                            0.01,
                            99.99,
                            value=was.get("share", 1_000 * (number + 1)) / 100,
                            key=f"step.{number}.share",
                        )
                        or 0
                    )
                    * 100
                ),
                "hold_seconds": round(
                    float(
                        hours.number_input(
                            f"Step {number + 1}: hold (hours)",
                            0.0,
                            720.0,
                            value=was.get("hold_seconds", _HOUR) / _HOUR,
                            step=1.0,
                            key=f"step.{number}.hours",
                        )
                        or 0
                    )
                    * _HOUR
                ),
                "person": person.toggle(
                    f"Step {number + 1}: somebody lets it go on",
                    value=bool(was.get("person", False)),
                    key=f"step.{number}.person",
                ),
            }
        )
    return found


def _terms(start: Start, rules: Policy) -> tuple[dict[str, Any], str]:
    """How it starts, for how long what ran before stays loaded, and whether it may take over."""
    modes = [mode for mode in START_MODES if mode in rules.start_modes]
    begun = start.values.get("start_mode", modes[0])
    mode = st.selectbox(
        "It starts",
        modes,
        index=modes.index(begun) if begun in modes else 0,
        key="mode",
        format_func=lambda one: START_MODES[one],
    )
    at, trouble = None, ""
    if mode == "at_time":
        was = start.values.get("start_at")
        typed = st.text_input(
            "Start (UTC)",
            times.written(was) if was else "",
            key="at",
            placeholder="2026-11-25 19:14",
            validate=(times.WRITTEN, "Write a time like 2026-11-25 19:14"),
        )
        at, trouble = _time(typed or "")
    least = rules.min_bake_seconds / _HOUR
    kept = start.values.get("bake_seconds")
    bake = st.number_input(
        "What ran before stays loaded (hours)",
        least,
        720.0,
        value=max(least, (kept if kept is not None else rules.min_bake_seconds) / _HOUR),
        step=1.0,
        key="bake",
    )
    supersede = rules.may_supersede and st.toggle(
        "May take over a rollout under way, by its way back", value=bool(start.values.get("supersede", False)), key="supersede"
    )
    return {
        "start_mode": mode,
        "start_at": at,
        "supersede": bool(supersede),
        "bake_seconds": round(float(bake or 0) * _HOUR),
    }, trouble


def _time(text: str) -> tuple[datetime | None, str]:
    try:
        at = times.entered(text)
    except Refusal as refusal:
        return None, str(refusal)
    return at, "" if at is not None else "Write the time at which it shall start."


@dataclass(frozen=True)
class Outcome:
    """The plan that the form comes to, or why there is none."""

    preview: Preview | None
    missing: str


def outcome(start: Start, form: Form) -> Outcome:
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


def draw_outcome(start: Start, form: Form, found: Outcome) -> None:
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
                badge("vote", "waiting") if rules.approvals_needed else badge("vote", "approve", "None needed"),
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
