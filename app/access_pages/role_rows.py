"""The roles of one person, each with its end, where it comes from, and what can be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from app.access_pages import granting
from app.access_pages.grants_list import state
from app.identity import DOES, Rights
from app.kit import components, times
from app.kit.plain import escape
from app.kit.states import badge
from backend.access.rosters import GrantLine
from backend.access.rules import ROLES

_NONE_OWN = "Nothing is open to whoever has none. Ask an admin for one."
_NONE_OWNED = "You own this service, so another admin gives it one: nobody gives a role to himself."


def card(lines: Sequence[GrantLine], mine: Rights, now: datetime, *, own: bool, owned: bool, of: str) -> None:
    """Every grant, those in force first; to be changed by whoever may and does not look at his own.

    Args:
        own, owned: whether they are of whoever looks, or of a service that he owns.
    """
    gives, takes = mine.may("role.grant") and not (own or owned), mine.may("role.take_back")
    in_force = sum(one.is_in_force for one in lines)
    with components.card("Roles", f"{in_force} in force") as head:
        if gives and head.button("Give a role", icon=":material/add:", key="role.give"):
            granting.ask_give(of)
        if not lines:
            components.empty(
                "No role",
                _NONE_OWN if own else _NONE_OWNED if owned else "Give one, or map a group to one.",
                icon="key_off",
            )
        for one in sorted(lines, key=lambda line: not line.is_in_force):
            _row(one, now, gives=gives, takes=takes)


def _row(one: GrantLine, now: datetime, *, gives: bool, takes: bool) -> None:
    end = f"until {times.both(one.until, now)}" if one.until is not None else "no end"
    where = "everywhere" if one.scope == "*" else f"in {escape(one.scope, 80)}"
    does = DOES[one.role] if one.role in ROLES else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.markdown(
            f"**{one.role.capitalize()}** {where} {badge('grant', state(one, now))}  \n"
            f":small[{escape(does)}]  \n"
            f":small[:gray[{end} · given by {escape(one.by, 80)}, {times.age(one.granted_at, now)}]]",
            width="stretch",
        )
        if gives and one.by_hand and st.button("Move the end", key=f"renew.{one.id}"):
            granting.ask_renew(one)
        if takes and one.is_in_force and st.button("Take back", key=f"take.{one.id}"):
            granting.ask_take_back(one)
