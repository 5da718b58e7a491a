"""The form of a change: what is asked for, how it starts, and why; `proposed` says what that comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import streamlit as st

from app import identity, ways, wiring
from app.change_pages import guardrail_form, ramp_form
from app.change_pages.changes import START_MODES, reference
from app.kit import components, times
from app.kit.addresses import number_in
from backend.changes import course, view
from backend.changes.proposing import MAX_TEXT, MAX_TITLE
from backend.core.errors import NotFound, Refusal
from backend.delivery import queries as delivery
from backend.policy import ramps
from backend.policy import service as policy
from backend.policy.rules import Policy
from backend.registry import queries as registry
from backend.registry.queries import VersionLine

MOST_VERSIONS = 200
_BEGUN = "proposal.begun"
_HOUR = 3_600


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
    return Start(endpoints, query.get("endpoint", ""), number_in(query.get("version", "")))


def kept(start: Start) -> Start:
    """What the form began from, held while one types: an edit is judged against the plan that the person saw first.

    Only until the page is left: whoever comes to it anew begins with the change as it is then.
    """
    if start.editing is None:
        return start
    visit, begun = st.session_state.get(_BEGUN, (None, start))
    if visit == ways.visit() and begun.editing == start.editing:
        return cast(Start, begun)
    st.session_state[_BEGUN] = (ways.visit(), start)
    return start


def forget() -> None:
    """Ends what `kept` holds: it is saved."""
    st.session_state.pop(_BEGUN, None)


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
            named = ramps.lines(look.session)
            base = delivery.endpoint(look.session, name, now=look.now, interval=wiring.interval()).base or {}
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
        buckets = round(float(share or 0) * 100)
        rest = ramp_form.rest(buckets, _others(base, version), start.values.get("rest", ()))
        steps = ramp_form.ramp(start.values.get("ramp", ()), named, rules.ramp.named)
        same_age = ramp_form.same_age(steps, bool(start.values.get("same_age")))
    with components.card("Guardrails", "what must not get worse on the way"):
        guarded = guardrail_form.draw(start.values.get("guardrails", ()), rules.guardrails)
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
        "share": buckets,
        "rest": rest,
        "ramp": steps,
        "guardrails": guarded,
        "same_age": same_age,
        "bake_seconds": terms.pop("bake_seconds"),
    }
    return Form(name, version, (title or "").strip(), (reason or "").strip(), asked, terms, trouble)


def _others(base: Mapping[str, Any], version: int | None) -> dict[int, int]:
    """Version -> its buckets now, of what runs besides."""
    arms = [(int(one["version"]), int(one["buckets"])) for one in base.get("arms", ())]
    return {number: part for number, part in arms if part and number != version}


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
            help=f"Within {times.span(rules.start_within)} from now: so long is an approval good for.",
        )
        at, trouble = _time(typed or "")
    least = rules.min_bake_seconds / _HOUR
    kept = start.values.get("bake_seconds")
    bake = st.number_input(
        "What ran before stays loaded (hours)",
        least,
        720.0,
        value=max(least, (kept if kept is not None else rules.usual_bake_seconds) / _HOUR),
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
