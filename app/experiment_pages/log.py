"""The decision log: what people did with an experiment and what its looks decided, from the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from app.experiment_pages.seen import Seen
from app.kit import components, times
from app.kit.components import Told
from app.kit.plain import escape
from app.kit.states import look as drawn
from app.record_pages import people
from app.wiring import Reading
from backend.audit import queries as audit
from backend.audit.queries import Event

MOST = 40
_SAYS = {
    "experiment.create": "Designed it.",
    "experiment.edit": "Edited the draft.",
    "experiment.start": "Started. Hypothesis, primary metric, margins and planned days are fixed before the first exposure.",
    "experiment.split": "Moved its split.",
    "experiment.withdraw": "Withdrew it",
    "experiment.decide": "Decided it",
    "comparison.begin": "Began to compare its arms.",
    "comparison.join": "Goes on comparing under another split.",
    "comparison.end": "Ended the comparison",
    "comparison.decide": "Found",
}


def card(look: Reading, seen: Seen) -> None:
    """Newest first."""
    told = events(look, seen)
    names = people.names(people.everybody(look))
    with components.card("Decision log", "newest first, UTC; every row is in the ledger"):
        if not told:
            st.markdown(":small[:gray[Nothing happened yet.]]")
            return
        components.feed(line(one, names) for one in told)


def events(look: Reading, seen: Seen) -> Sequence[Event]:
    """Rows of the ledger about the experiment and about what its arms were compared by."""
    subjects = [("experiment", seen.id)]
    if seen.compared is not None:
        subjects.append(("comparison", seen.compared.id))
    found = [one for each in subjects for one in audit.events(look.session, subject=each, limit=MOST)]
    return sorted(found, key=lambda one: one.seq, reverse=True)[:MOST]


def line(one: Event, names: Mapping[str, str]) -> Told:
    """One row in words."""
    who = "Analysis" if one.action.startswith("comparison.") else names.get(one.actor_id, one.actor_id)
    return Told(times.short(one.at), _says(one), escape(who))


def _says(one: Event) -> str:
    said, after = _SAYS.get(one.action, escape(one.action)), one.after or {}
    if one.action == "comparison.decide":
        word = drawn("comparison", str(after.get("decision") or "keep_running")).word.lower()
        reasons = after.get("reasons") or [""]
        return f"{said}: {word}. {escape(reasons[0], 300)}"
    if one.action == "experiment.decide" and after.get("outcome"):
        said = f"{said}: {drawn('outcome', str(after['outcome'])).word.lower()}"
    why = "" if one.action == "experiment.create" else str(after.get("reason") or after.get("why") or "")
    said = said.removesuffix(".")
    return f"{said}. {escape(why, 300)}" if why else f"{said}."
