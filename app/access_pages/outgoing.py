"""Where Countersign may call: the ranges that an administrator listed, and whether one address would be let through."""

from __future__ import annotations

import streamlit as st

from app import identity, wiring
from app.identity import Rights
from app.kit import components, feedback
from app.kit.plain import escape
from app.kit.states import badge


def card(mine: Rights) -> None:
    """The list as loaded; it is a setting of the process, which no page changes."""
    ranges = [str(one) for one in wiring.backend().guard.allowed]
    with components.card("Outgoing calls", "COUNTERSIGN_ALLOWED_NETWORKS, as loaded at the start"):
        st.markdown(
            f"Public addresses, and of private ones {', '.join(escape(one) for one in ranges)}."
            if ranges
            else "Public addresses only: no private range is allowed. A server in your own network needs its range here."
        )
        st.markdown(
            ":small[:gray[A name is resolved once, and exactly that address is called; redirects and proxies of the "
            "environment are not followed. Loopback, link-local and metadata addresses are private too.]]"
        )
        if not mine.may("server.test"):
            return
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            url = st.text_input(
                "Would this address be called?", key="outgoing.url", placeholder="https://triton.example.com:8000"
            )
            clicked = st.button("Look", key="outgoing.look", icon=":material/travel_explore:")
        if clicked and (url or "").strip():
            _judge((url or "").strip())


def _judge(url: str) -> None:
    with feedback.shown() as outcome:
        address = wiring.backend().servers.check_address(identity.current(), url)
    if outcome.ok:
        st.markdown(f"{badge('policy', 'sound', 'Allowed')} {escape(url, 200)} is at {escape(address)}; nothing was called.")
