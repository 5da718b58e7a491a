"""The form of a design: what is expected, who gets what, what it is for, and what must not get worse."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from app import identity, ways, wiring
from app.experiment_pages import metric_fields, seen
from app.identity import Rights
from app.kit import components, feedback
from app.wiring import Reading
from backend.core.errors import Refusal
from backend.delivery import queries as delivery
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.experiments.designs import queries
from backend.experiments.designs.rules import EXPERIMENT, MAX_TITLE
from backend.registry import queries as registry

MOST_VERSIONS = 200
MOST_ROWS = 8
"""Arms, guardrails and segments that the form offers at most; files take more (docs/experiments.md)."""
ACTIONS = {"Roll back": "rollback", "Hold for a person": "hold", "Warn": "warn"}
_BETTER, _NOT_WORSE = "Get better", "Not get worse"
_FIRST: Mapping[str, Any] = {"metrics": [{"name": "errors", "kind": "errors"}], "primary": {"metric": "errors"}}


@dataclass(frozen=True)
class Start:
    """Where the form begins: empty, or from a draft that is edited."""

    endpoints: Sequence[tuple[str, str, str]]
    endpoint: str = ""
    slug: str = ""
    title: str = ""
    design: Mapping[str, Any] = field(default_factory=dict)
    revision: int | None = None

    @property
    def editing(self) -> bool:
        """Whether a draft is edited."""
        return self.revision is not None


@dataclass(frozen=True)
class Form:
    """What has been entered; `design` as it would be sent."""

    endpoint: str = ""
    slug: str = ""
    title: str = ""
    design: Mapping[str, Any] = field(default_factory=dict)
    mine: Rights | None = None
    missing: str = ""


def begin(look: Reading, query: Mapping[str, str]) -> Start:
    """From the address. NotFound, and a Refusal for what is no draft any more."""
    endpoints = delivery.managed(look.session)
    if not query.get("experiment"):
        return Start(endpoints, query.get("endpoint", ""))
    found = queries.view(look.session, query.get("endpoint", ""), query["experiment"], now=look.now)
    EXPERIMENT.next(found.line.state, "edit")
    line = found.line
    return Start(endpoints, line.endpoint, line.slug, line.title, found.design, line.revision)


def draw(start: Start) -> Form:
    """Every field; nothing is lost when something is refused."""
    with components.card("What is tried", "one endpoint, one unit"):
        place = _endpoint(start)
        if place is None:
            return Form(missing="Choose the endpoint.")
        name, _, model = place
        title = st.text_input("Title", value=start.title, max_chars=MAX_TITLE, key="design.title").strip()
        slug = start.slug if start.editing else _slug(title)
        hypothesis = st.text_area(
            "Hypothesis", value=str(start.design.get("hypothesis", "")), height=92, max_chars=2_000, key="design.hypothesis",
            placeholder="What do you expect, and why?",
        )  # fmt: skip
        header = st.text_input(
            "Request header with the unit", value=str(start.design.get("unit_header", "x-unit-id")), key="design.header",
            help="Requests without it go to the champion and are left out.",
        )  # fmt: skip
    with wiring.reading() as look:
        known = [one.number for one in registry.versions(look.session, model, limit=MOST_VERSIONS).items]
        mine = seen.rights(look, named(look.session, Endpoint, name))
    told = {**start.design, "hypothesis": hypothesis.strip(), "unit_header": header.strip(), "arms": _arms(start.design, known)}
    told |= _judged(start.design)
    told |= {"segments": _segments(start.design), **_course(start.design)}
    missing = "" if title else "Write a title."
    return Form(name, slug, title, told, mine, missing or ("" if hypothesis.strip() else "Write the hypothesis."))


def _endpoint(start: Start) -> tuple[str, str, str] | None:
    names = {one[0]: one for one in start.endpoints}
    if start.editing:
        return names.get(start.endpoint)
    place = list(names).index(start.endpoint) if start.endpoint in names else None
    chosen = st.selectbox("Endpoint", list(names), index=place, key="design.endpoint", placeholder="Choose the endpoint")
    return names.get(chosen or "")


def _slug(title: str) -> str:
    """The name in addresses and in the salt that assigns units, made of the title unless it is written."""
    made = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60].strip("-")
    told = "Seeds the assignment of units: it is never used twice on an endpoint."
    return st.text_input("Name in addresses", placeholder=made, key="design.slug", help=told).strip() or made


def _rows(label: str, key: str, before: Sequence[Any], fewest: int) -> int:
    """How many rows a list has; a button adds one, another takes the last off."""
    count = int(st.session_state.setdefault(f"{key}.count", max(len(before), fewest)))
    with st.container(horizontal=True, gap="small"):
        if st.button(f"Add {label}", key=f"{key}.add", icon=":material/add:", disabled=count >= MOST_ROWS):
            count += 1
        if st.button("Take the last off", key=f"{key}.less", icon=":material/remove:", disabled=count <= fewest):
            count -= 1
    st.session_state[f"{key}.count"] = count
    return count


def _at(before: Sequence[Mapping[str, Any]], number: int) -> Mapping[str, Any]:
    return before[number] if number < len(before) else {}


def _arms(design: Mapping[str, Any], known: Sequence[int]) -> list[dict[str, Any]]:
    before, made = design.get("arms", ()), []
    with components.card("Arms", "the champion keeps the rest"):
        for number in range(_rows("an arm", "design.arms", before, 1)):
            own = _at(before, number)
            left, right = st.columns(2)
            with left:
                offered = sorted({*known, *([own["version"]] if own else [])}, reverse=True)
                place = offered.index(own["version"]) if own else None
                version = st.selectbox(f"Version of arm {number + 1}", offered, index=place, key=f"design.arm.{number}.version")
            with right:
                share = st.number_input(
                    f"Share of arm {number + 1} (%)", 0.01, 99.99, value=own.get("share", 1_000) / 100, step=1.0,
                    key=f"design.arm.{number}.share",
                )  # fmt: skip
            if version is not None:
                made.append({"version": version, "share": round(share * 100)})
    return made


def _judged(design: Mapping[str, Any]) -> dict[str, Any]:
    """What it is for and what must not get worse, with the metrics of both; what a file added besides is kept."""
    begins = design or _FIRST
    by_name = {one["name"]: one for one in begins["metrics"]}
    metrics: list[dict[str, Any]] = []
    with components.card("What it is for", "one metric decides"):
        primary = _primary(begins["primary"], by_name, metrics)
    guarded = design.get("guardrails", ())
    with components.card("What must not get worse", "more harm than its margin stops it"):
        guardrails = [_guardrail(number, _at(guarded, number), by_name, metrics)
                      for number in range(_rows("a guardrail", "design.guardrails", guarded, 0))]  # fmt: skip
    used = {begins["primary"]["metric"], *(one["metric"] for one in guarded)}
    for name, one in by_name.items():
        if name not in used:
            metric_fields.apart(metrics, dict(one))
    return {"metrics": metrics, "primary": primary, "guardrails": guardrails}


def _primary(before: Mapping[str, Any], by_name: Mapping[str, Any], metrics: list[dict[str, Any]]) -> dict[str, Any]:
    metric = metric_fields.fields("design.primary", by_name.get(str(before.get("metric")), {}), "Metric")
    unit = metric_fields.unit(metric["kind"])
    goals = (_BETTER, _NOT_WORSE)
    goal = st.radio("It shall", goals, index=int(before.get("goal") == "not_worse"), key="design.goal", horizontal=True)
    smallest = _number(f"Smallest effect that matters ({unit.word})", before.get("smallest"), unit, "design.smallest")
    told = {"metric": metric_fields.apart(metrics, metric), "smallest": smallest}
    if goal == _NOT_WORSE:
        margin = _number(f"Tolerated ({unit.word})", before.get("margin") or None, unit, "design.margin")
        return {**told, "goal": "not_worse", "margin": margin}
    return {**told, "goal": "better"}


def _number(label: str, before: float | None, unit: metric_fields.Unit, key: str) -> float:
    shown = 0.01 if before is None else before
    value = st.number_input(label, 0.0, value=float(shown * unit.factor), key=key, format="%.6g")
    return float(f"{value / unit.factor:.10g}")


def _guardrail(
    number: int, own: Mapping[str, Any], by_name: Mapping[str, Any], metrics: list[dict[str, Any]]
) -> dict[str, Any]:
    key = f"design.guard.{number}"
    metric = metric_fields.fields(key, by_name.get(str(own.get("metric")), {}), f"Guardrail {number + 1}")
    relative = st.toggle("Margin as a share of the champion's figure", value=bool(own.get("relative")), key=f"{key}.relative")
    unit = metric_fields.Unit("%", 100.0) if relative else metric_fields.unit(metric["kind"])
    margin = _number(f"Tolerated harm ({unit.word})", own.get("margin"), unit, f"{key}.margin")
    words = {action: word for word, action in ACTIONS.items()}
    place = list(ACTIONS).index(words[own.get("on_fail", "rollback")])
    then = st.selectbox("Beyond it", list(ACTIONS), index=place, key=f"{key}.then") or "Roll back"
    name = metric_fields.apart(metrics, metric)
    return {"metric": name, "margin": margin, "relative": relative, "on_fail": ACTIONS[then]}


def _segments(design: Mapping[str, Any]) -> list[dict[str, Any]]:
    before = design.get("segments", ())
    with components.card("Segments", "exploratory, unless guardrails shall hold for them"):
        return [_segment(number, _at(before, number))
                for number in range(_rows("a segment", "design.segments", before, 0))]  # fmt: skip


def _segment(number: int, own: Mapping[str, Any]) -> dict[str, Any]:
    key = f"design.segment.{number}"
    name = st.text_input(f"Name of segment {number + 1}", value=str(own.get("name", "")), key=f"{key}.name")
    feature = st.text_input("Feature of the first request", value=str(own.get("feature", "")), key=f"{key}.feature")
    value = st.text_input("Value", value=str(own.get("value") or ""), key=f"{key}.value", placeholder="or numbers below")
    left, right = st.columns(2)
    with left:
        low = st.number_input("From", value=own.get("low"), key=f"{key}.low")
    with right:
        high = st.number_input("Below", value=own.get("high"), key=f"{key}.high")
    guarded = st.toggle("Guardrails hold for it too", value=bool(own.get("guarded")), key=f"{key}.guarded")
    told: dict[str, Any] = {"name": name.strip(), "feature": feature.strip(), "guarded": guarded}
    return told | ({"value": value} if value else {"low": low, "high": high})


def _course(design: Mapping[str, Any]) -> dict[str, Any]:
    with components.card("How long", "and who shall not meet whom"):
        days = st.number_input("Planned days", 1, 180, value=int(design.get("planned_days", 14)), key="design.days")
        hours = design.get("window_seconds", 0) / 3_600
        window = st.number_input("A unit's requests count for (hours; 0: the first)", 0.0, 2_160.0, value=float(hours),
                                 key="design.window")  # fmt: skip
        layer = st.text_input("Layer", value=str(design.get("layer") or ""), key="design.layer",
                              help="Experiments of one layer never run at once.")  # fmt: skip
    return {"planned_days": int(days), "window_seconds": round(window * 3_600), "layer": layer.strip() or None}


def lacks(form: Form) -> None:
    """What is still to be written before the draft can be saved."""
    if form.endpoint and form.missing:
        st.markdown(f":small[:gray[:material/info: {form.missing}]]")


def submit(start: Start, form: Form, missing: str) -> None:
    """The one button; while something is missing it is off, and the answer says what."""
    label = "Save the draft"
    if not st.button(label, type="primary", icon=":material/check:", disabled=bool(missing), key="design.submit"):
        return
    with feedback.shown() as came:
        _save(start, form)
    if came.ok:
        feedback.done("The draft is saved; nothing runs by it yet.")
        ways.go("experiment", endpoint=form.endpoint, experiment=form.slug)


def _save(start: Start, form: Form) -> None:
    service, actor = wiring.backend().experiments, identity.current()
    if start.editing:
        service.edit(actor, form.endpoint, form.slug, title=form.title, design=form.design, revision=start.revision)
    elif not form.slug:
        raise Refusal("It has no name.", "Write one with letters that an address may hold.", code="bad-name")
    else:
        service.create(actor, form.endpoint, form.slug, form.title, form.design)
