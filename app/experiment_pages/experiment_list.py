"""The list of experiments: what is tried where, how far it is, and what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from app import wiring
from app.kit import components, export, states, times
from app.kit.addresses import number_in
from app.kit.listing import Place
from app.kit.plain import escape, plural
from app.kit.states import badge, look, pill
from app.wiring import Reading
from backend.access.checks import require_to_read
from backend.core.context import Actor
from backend.delivery import fleet
from backend.experiments.comparing import showing
from backend.experiments.designs import queries
from backend.experiments.designs.queries import ExperimentLine
from backend.experiments.designs.rules import EXPERIMENT

PAGE = 50
ANY = "Any"
STATES = {ANY: ""} | {look("experiment", state).word: state for state in EXPERIMENT.states}
_EXPORTED = ("endpoint", "experiment", "title", "state", "decision", "day", "planned_days", "looks_for", "owner", "started_at",
             "ended_at")  # fmt: skip


def lines(look_: Reading, endpoint: str = "", state: str = "") -> tuple[ExperimentLine, ...]:
    """Experiments that whoever looks sees, those that run first. An endpoint that is not there has none."""
    found = queries.lines(look_.session, state=state, now=look_.now)
    order = ("running", "draft", "decided", "withdrawn")
    kept = [one for one in found if endpoint in ("", one.endpoint)]
    return tuple(sorted(kept, key=lambda one: order.index(one.state)))


def summary(found: Sequence[ExperimentLine]) -> str:
    """How many there are."""
    return f"{plural(len(found), 'experiment')} on {plural(len({one.endpoint for one in found}), 'endpoint')}"


def trouble(found: Sequence[ExperimentLine]) -> list[str]:
    """Badges of what runs and what waits to be started."""
    counted = Counter(one.state for one in found)
    shown = ("running", "draft")
    return [badge("experiment", one, f"{counted[one]} {look('experiment', one).word.lower()}") for one in shown if counted[one]]


def filters(look_: Reading) -> tuple[str, str]:
    """The filter row: endpoint and state."""
    names = fleet.names(look_.session, limit=200)
    endpoint = st.selectbox("Endpoint", [ANY, *names], key="place", bind="query-params", accept_new_options=True) or ANY
    state = st.selectbox("State", list(STATES), key="state", bind="query-params") or ANY
    return "" if endpoint == ANY else endpoint, STATES.get(state, "")


def columns() -> dict[str, Any]:
    """The columns of the list."""
    text = st.column_config.TextColumn
    return {
        "Experiment": text(width=232),
        "State": states.column("experiment", "State", 96),
        "Decision": text(width=116),
        "Day": text(width=84),
        "Endpoint": text(width=150),
        "Owner": text(width=110),
        "Looks for": text(width=300),
        "Started": text("Started (UTC)", width=104),
        "Name": text(width=140),
    }


def record(line: ExperimentLine, said: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """One experiment as a row of the list: plain text."""
    return {
        "Experiment": line.title,
        "State": pill("experiment", line.state),
        "Decision": decision(line, said),
        "Day": f"{line.running_day} of {line.planned_days}" if line.running_day else f"– of {line.planned_days}",
        "Endpoint": line.endpoint,
        "Owner": line.owner,
        "Looks for": line.looks_for,
        "Started": times.short(line.started_at) if line.started_at is not None else "–",
        "Name": line.slug,
    }


def decision(line: ExperimentLine, said: Mapping[tuple[str, str], str]) -> str:
    """What a person made of it; of what runs, what its figures say."""
    if line.outcome:
        return look("outcome", line.outcome).word
    if line.state != "running":
        return "–"
    found = said.get((line.endpoint, line.slug), "")
    return look("comparison", found).word if found else "No look yet"


def cut(found: Sequence[ExperimentLine], place: Place) -> tuple[Sequence[ExperimentLine], str | None]:
    """Fifty of them from a place on, and the key of what follows."""
    start = number_in(place.key) or 0
    end = start + PAGE
    return found[start:end], str(end) if end < len(found) else None


def nothing(*, filtered: bool) -> None:
    """Why the list is empty."""
    if filtered:
        components.empty("No experiment is like that", "Take a filter off to see others.", icon="filter_alt_off")
        return
    why = (
        "An experiment gives versions a share of an endpoint's units, and says with always-valid intervals which one does "
        "better. Design one; nothing starts by it."
    )
    components.empty("Nothing was tried yet", why, icon="experiment")


def exporter(actor: Actor, endpoint: str, state: str) -> Callable[[], bytes]:
    """What makes the file when the button is clicked: everything that the filters let through and this actor may see."""

    def make() -> bytes:
        with wiring.reading(actor) as look_:
            require_to_read(look_.session, actor, "experiment.read", now=look_.now)
            said = showing.decisions(look_.session)
            return export.to_csv(_EXPORTED, (_exported(one, said) for one in lines(look_, endpoint, state)))

    return make


def _exported(one: ExperimentLine, said: Mapping[tuple[str, str], str]) -> list[Any]:
    told = one.outcome or said.get((one.endpoint, one.slug), "")
    return [one.endpoint, one.slug, one.title, one.state, told, one.running_day, one.planned_days, one.looks_for, one.owner,
            one.started_at, one.ended_at]  # fmt: skip


def missing(message: str, remedy: str) -> None:
    """The page of an experiment that is not there."""
    with components.header("Experiment", back=("Experiments", "experiments")):
        pass
    with st.container(border=True):
        components.empty(escape(message), escape(remedy), icon="search_off")
