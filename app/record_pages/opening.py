"""A link from a message: opens its change once, and says so where it does not."""

from __future__ import annotations

import streamlit as st

from app import identity, ways, wiring
from app.kit import components, feedback, times


def follow(token: str) -> None:
    """Goes to the change, or says why not and offers the plain way.

    A run of this page is somebody's session, signed in: what fetches the address without one never comes here.
    """
    if not token:
        components.empty("No link was followed", "Links in messages about a change that waits lead here.", icon="link")
        _otherwise(None)
        return
    with feedback.shown() as outcome:
        opened = wiring.backend().links.open(identity.current(), token)
    if not outcome.ok:
        _otherwise(None)
        return
    if not opened.code and opened.number is not None:
        ways.go("change", change=opened.number)
    at = times.short(opened.used_at) if opened.used_at is not None else ""
    says = f"It was opened at {at} UTC already" if opened.code == "used" else f"It was good until {at} UTC"
    components.empty("This link does not open any more", f"{says}. Links in messages open once, within a day.", icon="link_off")
    _otherwise(opened.number)


def _otherwise(number: int | None) -> None:
    if number is not None and st.button("Open the change", type="primary", icon=":material/rule:", key="open.change"):
        ways.go("change", change=number)
    if st.button("What waits for me", icon=":material/checklist:", key="open.approvals"):
        ways.go("approvals")
