"""Who holds which role where until when, those that end soonest first; and who may read which data set row by row."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import streamlit as st

from app import ways, wiring
from app.access_pages import granting, second_person
from app.identity import Rights
from app.kit import components, listing, times
from app.kit.plain import plural
from app.kit.states import column, pill
from backend.access import rosters
from backend.access.names import beside
from backend.access.rosters import Ends, GrantLine
from backend.access.rules import ROLES

_ANY_ROLE, _ANYWHERE = "Any role", "Any scope"
_ENDS: dict[str, Ends] = {"In force": "in force", "Ending within 14 days": "soon", "Without an end": "open", "Over": "over"}
_SCOPES = {"Everywhere": "*", "Environments": "environment", "Models": "model", "Teams": "team"}


def part(mine: Rights) -> None:
    """What waits for a second person, then the grants."""
    with wiring.reading() as look:
        waiting = second_person.waiting(look, mine)
    if second_person.is_for(mine):
        second_person.card(waiting, mine)
    with listing.filters():
        text = st.text_input("Who", key="holder", bind="query-params", icon=":material/search:", placeholder="part of a name")
        role = st.selectbox("Role", [_ANY_ROLE, *map(str.capitalize, ROLES)], key="role", bind="query-params")
        where = st.selectbox("Where", [_ANYWHERE, *_SCOPES], key="where", bind="query-params")
        ends = st.selectbox("Which", list(_ENDS), key="ends", bind="query-params")
        if mine.may("role.grant") and st.button("Give a role", type="primary", icon=":material/person_add:"):
            granting.ask_give()
    place = listing.place("grants", text, role, where, ends)
    with wiring.reading() as look:
        found = rosters.grants(
            look.session,
            now=look.now,
            text=text or "",
            role=role.lower() if role != _ANY_ROLE else None,
            scope=_SCOPES.get(where),
            ends=_ENDS.get(ends, "in force"),
            after=place.key,
        )
        soon = rosters.ending_soon(look.session, now=look.now)
    if not found.rows:
        with st.container(border=True):
            components.empty(
                "No grant is like this",
                "Roles come from the groups of a provider, or an admin gives them. Change or clear a filter.",
                icon="key_off",
            )
        return
    count = f"{plural(found.total, 'grant')}, the next to end first · ending within 14 days: {soon:,}"
    listing.walk(place, count, found.after, words=("Previous", "Next"))
    records = [record(one, look.now) for one in found.rows]
    chosen = listing.rows(records, _columns(), key="grants.rows", alt="Grants with their scopes and ends")
    if chosen is not None:
        ways.open_detail("person", person=found.rows[chosen].name)


def _columns() -> dict[str, Any]:
    """Drawn in the colours of whoever looks."""
    return {
        "Who": st.column_config.TextColumn(width=178),
        "Role": st.column_config.TextColumn(width=86),
        "Where": st.column_config.TextColumn(width=140),
        "Ends": st.column_config.TextColumn("Ends (UTC)", width=172),
        "State": column("grant", "State", width=84),
        "By": st.column_config.TextColumn("Given by", width=146),
        "Given": st.column_config.TextColumn("Given", width=92),
    }


def record(one: GrantLine, now: datetime) -> dict[str, Any]:
    """One grant as a row."""
    return {
        "Who": beside(one.name, one.shown),
        "Role": one.role.capitalize(),
        "Where": one.where,
        "Ends": f"{times.short(one.until)}, {times.age(one.until, now)}" if one.until is not None else "no end",
        "State": pill("grant", state(one, now)),
        "By": one.by,
        "Given": times.age(one.granted_at, now),
    }


def state(one: GrantLine, now: datetime) -> str:
    """How a grant stands: in force, ending soon, over, or of somebody who does not count."""
    if not one.is_in_force:
        return "over"
    if not one.active:
        return "idle"
    return "soon" if one.until is not None and one.until <= now + rosters.SOON else "in_force"
