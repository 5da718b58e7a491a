"""Servers and routers as Admin lists them, and who may do what as a matrix of roles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from app import ways
from app.endpoint_pages import moves, server_forms, server_view
from app.identity import DOES, Rights
from app.kit import components, listing, times
from app.kit.plain import escape
from backend.access.rules import MATRIX, ROLES, SCOPES
from backend.delivery.queries import RouterLine, ServerLine

_SERVERS: dict[str, Any] = {
    "Server": st.column_config.TextColumn(width=150),
    "Answered": st.column_config.TextColumn("Last answered", width=108),
    "Managed": st.column_config.NumberColumn(width=78),
    "Observed": st.column_config.NumberColumn(width=80),
    "Error": st.column_config.TextColumn("What to know", width=222),
    "Kind": st.column_config.TextColumn(width=156),
    "Inference": st.column_config.TextColumn("Inference address", width=172),
    "Credential": st.column_config.TextColumn(width=88),
}
"""The first five are what a window of 1,024 pixels holds (638 of them)."""
KINDS = {
    "model": "Models", "version": "Versions", "change": "Changes", "rollout": "Rollouts", "endpoint": "Endpoints",
    "server": "Servers and routers", "ramp": "Named ramps", "alias": "Champion aliases", "card": "Model cards",
    "registry": "Registry", "recorded": "Recorded requests", "inference_log": "Inference logs",
    "experiment": "Experiments",
    "monitor": "Monitors", "profile": "Reference profiles", "slo": "Objectives", "metric_source": "Sources of metrics",
    "metric_retention": "Kept metrics", "finding": "Findings",
    "freeze": "Freezes", "policy": "Policies",
    "identity": "Identities", "role": "Roles", "session": "Others' sessions", "request": "Second person",
    "data_set": "Data sets", "team": "Teams", "owner": "Owners", "token": "Others' tokens",
    "binding": "Builds and clients", "route": "Routes for messages", "sealing_key": "Sealing keys",
    "group_mapping": "Groups to roles", "ledger_key": "Ledger key", "audit": "Ledger",
}  # fmt: skip
"""What the actions are about, in the order of the Roles part."""


def servers(rows: Sequence[ServerLine], mine: Rights, now: datetime) -> None:
    """Every server; a row opens it."""
    registers = mine.may("server.register")
    with components.card("Servers", f"{len(rows)}, by name; a row opens it") as head:
        if registers and head.button("Register a server", type="primary", icon=":material/add:"):
            server_forms.ask_register("server")
        if not rows:
            components.empty(
                "No server is registered yet",
                "A server is a running model runtime with its management address. Register one, test the connection, and adopt "
                "what runs there." if registers else "Operators and admins register servers.",
                icon="dns",
            )  # fmt: skip
            return
        records = [_server(one, now) for one in rows]
        chosen = listing.rows(records, _SERVERS, key="servers", alt="Servers by name")
    if chosen is not None:
        ways.open_detail("server", server=rows[chosen].name)


def routers(rows: Sequence[RouterLine], mine: Rights, now: datetime) -> None:
    """Every router, with what can be done about it."""
    with components.card("Routers", f"{len(rows)}, by name; they split the traffic of endpoints") as head:
        if mine.may("server.register") and head.button("Register a router", icon=":material/add:"):
            server_forms.ask_register("router")
        for one in rows:
            _router(one, mine)
            moves.card(one, mine, now)
        if not rows:
            components.empty(
                "No router is registered yet",
                "Without one an endpoint serves a single version: shares, shadows and sticky units need a router.",
                icon="alt_route",
            )


def _server(one: ServerLine, now: datetime) -> dict[str, Any]:
    return {
        "Server": one.name,
        "Kind": server_forms.product(one.kind),
        "Inference": one.upstream,
        "Managed": one.managed,
        "Observed": one.endpoints - one.managed,
        "Answered": times.age(one.seen_at, now) if one.seen_at else "not yet",
        "Credential": "sealed" if one.has_credential else "none",
        "Error": "A move waits for a second person" if one.move is not None else one.last_error or "",
    }


def _router(one: RouterLine, mine: Rights) -> None:
    count = f"{one.endpoints} endpoint{'' if one.endpoints == 1 else 's'} behind it"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        what = f"{escape(server_forms.product(one.kind))} · {escape(one.public_url, 120)} · {count}"
        st.markdown(f"**{escape(one.name)}**  \n:small[:gray[{what}]]", width="stretch")
        if mine.may("server.test") and st.button("Test", key=f"test.{one.id}", icon=":material/network_check:"):
            server_view.test_router(one)
        if mine.may("server.edit") and st.button("Edit", key=f"edit.{one.id}", icon=":material/edit:"):
            server_forms.ask_edit(one)
        if mine.may("server.remove") and st.button(
            "Forget", key=f"forget.{one.id}", icon=":material/delete:", disabled=one.endpoints > 0
        ):
            server_forms.ask_remove(one)


def roles() -> None:
    """Each role in a sentence, and what each may do, thing by thing: the table of actions that the services decide by."""
    with components.card("Roles", "one sentence each"):
        components.table([(f"**{role.capitalize()}**", escape(DOES[role])) for role in ROLES], None, alt="Roles", tight=(0,))
    with components.card("What each role may do", "as the services decide; nothing here is only a menu's doing"):
        rows = [(_thing(noun), *(_cell(noun, role) for role in ROLES)) for noun in KINDS]
        head = ("Thing, and where a role counts", *(role.capitalize() for role in ROLES))
        components.table(rows, head, alt="Roles and what they may do, and in which scopes they count")


def _cell(noun: str, role: str) -> str:
    mine = [line.action for line in MATRIX if line.action.startswith(f"{noun}.") and role in line.roles]
    told = [action.partition(".")[2].replace("_", " ") for action in mine]
    return f":small[{', '.join(told)}]" if told else ":small[:gray[–]]"


def _thing(noun: str) -> str:
    return f"**{KINDS[noun].replace(' ', components.NBSP)}**  \n{_scopes(noun)}"


def _scopes(noun: str) -> str:
    """Kinds of scope, besides everywhere, in which a role counts for something there."""
    found = {kind for line in MATRIX if line.action.startswith(f"{noun}.") for kind in SCOPES[line.place]}
    return f":small[:gray[{', '.join(sorted(found)) or 'everywhere only'}]]"
