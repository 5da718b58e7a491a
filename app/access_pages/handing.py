"""Handing a service to another owner: the dialog, and what it says first."""

from __future__ import annotations

import streamlit as st

from app import identity, wiring
from app.kit import dialogs, feedback
from app.kit.plain import escape
from backend.access import rosters
from backend.access.rosters import PersonLine
from backend.access.rows import Request


def ask(service: PersonLine) -> None:
    """The dialog that chooses the new owner."""
    with wiring.reading() as look:
        people = rosters.names(look.session, kind="person")
        me = rosters.person_by_id(look.session, identity.current().id, now=look.now)
    own = me.name if me is not None else ""
    choices = [name for name in people if name not in (own, service.owner)]

    @dialogs.framed("Hand over a service")
    def opened() -> None:
        st.markdown(
            f"Whoever owns **{escape(service.shown, 80)}** makes its tokens, acts by its roles, and is one person with it "
            "when votes are counted. The tokens that there are go on, and whoever made one counts with it until that ends; "
            "but those of a service without a role, and those that somebody made who is deactivated, end now.  \n"
            ":small[:gray[Where one of its roles reaches changes that need approvals, another admin "
            "confirms it. Nobody hands a service to himself.]]"
        )
        owner = st.selectbox(
            "New owner",
            choices,
            index=None,
            placeholder="Choose a person",
            key="hand.owner",
            format_func=lambda key: people.get(key, key),
        )
        if dialogs.decide("Hand it over", "hand.confirm", icon="swap_horiz", disabled=owner is None):
            _hand_over(service, str(owner), people.get(str(owner), str(owner)))

    opened()


def _hand_over(service: PersonLine, owner: str, shown: str) -> None:
    found: list[object] = []
    with feedback.shown() as outcome:
        found.append(wiring.backend().service_owners.hand_over(identity.current(), service.name, owner))
    if outcome.ok:
        waits = isinstance(found[0], Request)
        owns = f"{escape(shown, 80)} owns {escape(service.shown, 80)} now."
        feedback.done("Asked for: another admin confirms it under Grants." if waits else owns)
        st.rerun()
