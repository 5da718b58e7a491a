"""Everybody who is known here, found by name, role or state; a row opens one of them."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import identity, ways, wiring
from app.identity import Rights
from app.kit import components, dialogs, feedback, listing, times
from app.kit.plain import plural
from app.kit.states import column, pill
from backend.access import rosters
from backend.access.rosters import PersonLine
from backend.access.rules import ROLES

_ANY_STATE, _ANY_ROLE = "Active or not", "Any role"
_STATES: dict[str, bool | None] = {_ANY_STATE: None, "Active": True, "Deactivated": False}


def part(mine: Rights) -> None:
    """The filter row, how many there are, and a page of them."""
    with listing.filters():
        text = st.text_input("Name", key="who", bind="query-params", icon=":material/search:", placeholder="part of a name")
        role = st.selectbox("Holds the role", [_ANY_ROLE, *map(str.capitalize, ROLES)], key="holds", bind="query-params")
        state = st.selectbox("State", list(_STATES), key="standing", bind="query-params")
        if mine.may("identity.create") and st.button("Add a person", icon=":material/person_add:"):
            _ask_add()
    holds = role.lower() if role in map(str.capitalize, ROLES) else None
    place = listing.place("people", text, role, state)
    with wiring.reading() as look:
        found = rosters.people(
            look.session, now=look.now, text=text or "", kind="person", active=_STATES.get(state), role=holds, after=place.key
        )
    if not found.rows:
        with st.container(border=True):
            components.empty(
                "Nobody is found",
                "People appear here at their first sign-in, or by their directory (SCIM). Change or clear a filter.",
                icon="person_search",
            )
        return
    shown = (
        f"{plural(found.total, 'person') if found.total == 1 else f'{found.total:,} people'}, by short name; a row opens one"
    )
    listing.walk(place, shown, found.after, words=("Previous", "Next"))
    columns = _columns(signs_in=wiring.backend().sign_in is not None)
    chosen = listing.rows(
        [_record(one, look.now) for one in found.rows], columns, key="people.rows", alt="People with their roles and sign-ins"
    )
    if chosen is not None:
        ways.open_detail("person", person=found.rows[chosen].name)


def _columns(*, signs_in: bool) -> dict[str, Any]:
    last: dict[str, Any] = {
        "Last sign-in": st.column_config.TextColumn(width=112),
        "Sessions": st.column_config.NumberColumn("Open sessions", width=104),
    }
    return {
        "Name": st.column_config.TextColumn(width=150),
        "Short": st.column_config.TextColumn("Short name", width=112, help="One person's only; a name may be several's"),
        "State": column("identity", "State", width=100),
        "Roles": st.column_config.TextColumn("Roles now", width=232),
        **(last if signs_in else {}),
        "Tokens": st.column_config.NumberColumn("Good tokens", width=100),
    }


def _record(one: PersonLine, now: Any) -> dict[str, Any]:
    return {
        "Name": one.shown,
        "Short": one.name,
        "State": pill("identity", one.state),
        "Roles": ", ".join(one.roles) or "none",
        "Last sign-in": times.age(one.signed_in_at, now) if one.signed_in_at is not None else "never",
        "Sessions": one.sessions,
        "Tokens": one.tokens,
    }


def _ask_add() -> None:
    @dialogs.framed("Add a person")
    def opened() -> None:
        st.markdown(
            ":small[:gray[Where people sign in nobody has to be added: they appear at their first sign-in. A person who is "
            "added here acts by tokens and the command line, and is another one than whoever signs in by that name.]]"
        )
        name = st.text_input("Short name", key="add.name", required=True, max_chars=63, placeholder="rita")
        shown = st.text_input("Name", key="add.shown", max_chars=120, placeholder="Rita (reviewer)")
        if dialogs.decide("Add the person", "add.confirm", icon="person_add"):
            _add((name or "").strip(), (shown or "").strip())

    opened()


def _add(name: str, shown: str) -> None:
    with feedback.shown() as outcome:
        wiring.backend().identities.create(identity.current(), name, display_name=shown)
    if outcome.ok:
        feedback.done("Added, without any role yet.")
        ways.go("person", person=name)
