"""Service accounts: which programs act here, who answers for each, by which builds and tokens, and whether they are used."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from app import identity, ways, wiring
from app.access_pages import bindings, scopes, second_person
from app.identity import Rights
from app.kit import components, dialogs, feedback, listing, times
from app.kit.plain import escape, plural
from app.kit.states import column, pill
from backend.access import rosters
from backend.access.bindings import BindingLine
from backend.access.rosters import PersonLine

_SHOWN = 200
_STATES = {"Good": "active", "Maker deactivated": "off", "Expired": "expired", "Revoked": "revoked"}


def part(mine: Rights) -> None:
    """Services, then every token for whoever may list them."""
    with listing.filters():
        text = st.text_input("Name", key="service", bind="query-params", icon=":material/search:", placeholder="part of a name")
        if mine.may("identity.create") and st.button("Add a service", type="primary", icon=":material/smart_toy:"):
            _ask_add()
    place = listing.place("services", text)
    with wiring.reading() as look:
        found = rosters.people(look.session, now=look.now, text=text or "", kind="service", after=place.key)
        waiting = sum(one.kind == "binding.make" for one in second_person.waiting(look, mine))
    bound = bindings.lines(mine)
    if found.rows:
        listing.walk(
            place, f"{plural(found.total, 'service')}, by name; a row opens one", found.after, words=("Previous", "Next")
        )
        records = [_record(one, [line for line in bound if line.identity == one.name], look.now) for one in found.rows]
        columns = _columns(bound=mine.may("binding.list"))
        chosen = listing.rows(records, columns, key="services.rows", alt="Services with owners, tokens and roles")
        if chosen is not None:
            ways.open_detail("person", person=found.rows[chosen].name)
    else:
        with st.container(border=True):
            components.empty(
                "No service is like this" if text else "There is no service yet",
                "A build server or a pipeline acts as a service, which a person owns and answers for. Add one, give it a role, "
                "and its owner makes it a token.",
                icon="smart_toy",
            )
    bindings.part(bound, mine, look.now, waiting=waiting)
    if mine.may("token.list"):
        _tokens(mine, look.now)


def _columns(*, bound: bool) -> dict[str, Any]:
    """Drawn in the colours of whoever looks; `bound`: whether they may see what is bound. All but roles fit a narrow page."""
    bindings_column = {"Bindings": st.column_config.NumberColumn("Builds and clients", width=120)} if bound else {}
    return {
        "Name": st.column_config.TextColumn("Service", width=156),
        "Owner": st.column_config.TextColumn(width=86),
        "State": column("identity", "State", width=98),
        "Used": st.column_config.TextColumn("Last used" if bound else "Token used", width=88),
        "Tokens": st.column_config.NumberColumn("Good tokens", width=90),
        **bindings_column,
        "Roles": st.column_config.TextColumn("Roles now", width=320),
    }


def _record(one: PersonLine, bound: Sequence[BindingLine], now: datetime) -> dict[str, Any]:
    uses = [at for at in (one.token_used_at, *(line.last_used_at for line in bound)) if at is not None]
    return {
        "Name": one.shown,
        "Owner": one.owner or "nobody",
        "State": pill("identity", one.state),
        "Tokens": one.tokens,
        "Bindings": sum(line.state == "active" for line in bound),
        "Used": times.age(max(uses), now) if uses else "never",
        "Roles": ", ".join(one.roles) or "none",
    }


def _tokens(mine: Rights, now: datetime) -> None:
    """Everybody's, as a table; a row opens whose it is, where it is revoked."""
    lines = wiring.backend().tokens.list(identity.current(), everybody=True)
    count = f"{sum(one.state == 'active' for one in lines):,} good of {len(lines):,}" if lines else ""
    with components.card("Tokens of everybody", count) as head:
        with head:
            state = st.selectbox(
                "Which tokens", list(_STATES), key="tokens", bind="query-params", label_visibility="collapsed", width=160
            )
        shown = [one for one in lines if one.state == _STATES.get(state, "active")]
        if not shown:
            components.empty(
                "No token is like this" if lines else "Nobody has a token yet",
                "Whoever needs one makes it under My access.",
                icon="key_off",
            )
            return
        if len(shown) > _SHOWN:
            st.markdown(f":small[:gray[The newest {_SHOWN} of {len(shown):,}.]]")
        records = [
            {
                "Token": one.name,
                "Acts as": one.identity,
                "At most": scopes.at_most(one.role, one.scope),
                "Ends": f"{times.short(one.expires_at)}, {times.age(one.expires_at, now)}",
                "Used": times.age(one.last_used_at, now) if one.last_used_at is not None else "never",
                "Made": times.age(one.created_at, now),
            }
            for one in shown[:_SHOWN]
        ]
        columns: dict[str, Any] = {
            "Token": st.column_config.TextColumn(width=124),
            "Acts as": st.column_config.TextColumn(width=84),
            "At most": st.column_config.TextColumn(width=152),
            "Ends": st.column_config.TextColumn("Ends (UTC)", width=172),
            "Used": st.column_config.TextColumn("Last used", width=94),
            "Made": st.column_config.TextColumn(width=110),
        }
        height = listing.HEAD_HEIGHT + listing.ROW_HEIGHT * min(12, len(records))
        chosen = listing.rows(records, columns, key="tokens.rows", alt="Tokens of everybody", height=height)
    if chosen is not None:
        ways.open_detail("person", person=shown[chosen].identity)


def _ask_add() -> None:
    with wiring.reading() as look:
        people = rosters.names(look.session, kind="person")
        me = rosters.person_by_id(look.session, identity.current().id, now=look.now)

    @dialogs.framed("Add a service")
    def opened() -> None:
        st.markdown(
            ":small[:gray[A service and its owner count as one person when votes are counted. Only the owner makes it tokens; "
            "roles are given afterwards, by an admin who does not own it.]]"
        )
        name = st.text_input("Short name", key="service.name", required=True, max_chars=63, placeholder="builds")
        shown = st.text_input("Name", key="service.shown", max_chars=120, placeholder="Build server")
        choices = list(people)
        begin = choices.index(me.name) if me is not None and me.name in people else 0
        owner = st.selectbox("Owner", choices, index=begin, key="service.owner", format_func=lambda key: people.get(key, key))
        if dialogs.decide("Add the service", "service.confirm", icon="smart_toy"):
            _add((name or "").strip(), (shown or "").strip(), str(owner))

    opened()


def _add(name: str, shown: str, owner: str) -> None:
    with feedback.shown() as outcome:
        wiring.backend().identities.create(identity.current(), name, kind="service", display_name=shown, owner=owner)
    if outcome.ok:
        feedback.done(f"{escape(name, 63)} is added, without any role yet.")
        ways.go("person", person=name)
