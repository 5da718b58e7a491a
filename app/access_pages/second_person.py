"""What waits for a second person: each request in a sentence, and the two ways to settle it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from app import identity, wiring
from app.access_pages import groups
from app.kit import components, dialogs, times
from app.kit.plain import escape
from app.wiring import Reading
from backend.access import requests, touched
from backend.access.requests import RequestLine

MOST_SAID = 2_000
"""How much of a request is shown: what is confirmed is what was read."""


def waiting(look: Reading, mine: identity.Rights) -> Sequence[RequestLine]:
    """What waits, as far as whoever looks may see it."""
    return requests.lines(look.session, now=look.now, environments=requests.shown_to(mine.grants, now=mine.now))


def for_me(look: Reading, mine: identity.Rights) -> Sequence[RequestLine]:
    """Of that, what whoever looks may confirm: somebody else asked for it."""
    if not is_for(mine):
        return ()
    me = identity.current().interests
    rows = [one for one in waiting(look, mine) if one.asked_by not in me]
    return [one for one in rows if mine.may(one.kind, one.what.get("environment"))]


def is_for(mine: identity.Rights) -> bool:
    """Whether whoever looks may see any: admins, auditors, and admins of an environment."""
    return requests.shown_to(mine.grants, now=mine.now) != frozenset()


def card(lines: Sequence[RequestLine], mine: identity.Rights) -> None:
    """What waits, the oldest first."""
    me = identity.current().interests
    with components.card("For a second person", f"{len(lines)} waiting"):
        for one in lines:
            _draw(one, own=one.asked_by in me, settles=mine.may(one.kind, one.what.get("environment")), now=mine.now)
        if not lines:
            components.empty(
                "Nothing waits",
                "A role or a binding that reaches where changes need approvals, a group that gives a role, a policy that asks "
                "for less, another owner: one admin asks, another confirms within seven days.",
                icon="how_to_reg",
            )


def _draw(one: RequestLine, *, own: bool, settles: bool, now: datetime) -> None:
    asked = f"{escape(one.asked_by_name)}, {times.both(one.asked_at, now)} · until {times.short(one.expires_at)} UTC"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.markdown(f":small[{escape(one.says, MOST_SAID)}]  \n:small[:gray[{asked}]]", width="stretch")
        help_ = "You asked for this; another admin confirms it." if own else None if settles else "For admins."
        if st.button("Confirm", key=f"confirm.{one.id}", disabled=own or not settles, help=help_):
            _ask_confirm(one)
        if st.button("Take back" if own else "Refuse", key=f"refuse.{one.id}", disabled=not settles):
            _ask_refuse(one, own=own)


def _ask_confirm(one: RequestLine) -> None:
    wanted = dialogs.Ask(
        says=(
            f"{escape(one.says, MOST_SAID)} This is done at once.",
            f"{escape(one.asked_by_name)} asked for it.",
            *_touches(one),
        ),
        confirm="Confirm",
        done="Confirmed, and done.",
        hint="Why is this right?",
        icon="how_to_reg",
    )
    dialogs.ask(
        "Confirm a request", lambda: wanted, lambda reason: wiring.backend().confirm_request(identity.current(), one.id, reason)
    )


def _touches(one: RequestLine) -> tuple[str, ...]:
    """Whom a mapping would give its role to, as far as that is known before it counts."""
    if one.kind != "group_mapping.make":
        return ()
    what = one.what
    with wiring.reading() as look:
        found = touched.by_place(look.session, what["provider"], what["value"], what["role"], what["scope"])
    return (*groups.touches(found), ":small[:gray[It gives nothing to you, nor to whoever asked for it.]]")


def _ask_refuse(one: RequestLine, *, own: bool) -> None:
    wanted = dialogs.Ask(
        says=(f"{escape(one.says, MOST_SAID)} This will not be done.",),
        confirm="Take it back" if own else "Refuse it",
        done="Taken back." if own else "Refused.",
        hint="Why not?",
        icon="block",
    )
    dialogs.ask(
        "Refuse a request", lambda: wanted, lambda reason: wiring.backend().refuse_request(identity.current(), one.id, reason)
    )
