"""Where Countersign may call: the ranges and ports that an administrator listed, and whether one address would be called."""

from __future__ import annotations

import streamlit as st

from app import identity, wiring
from app.identity import Rights
from app.kit import components, feedback
from app.kit.plain import escape
from app.kit.states import badge
from backend.core.outbound import Guard

_PORTS = "COUNTERSIGN_ALLOWED_PORTS"


def card(mine: Rights) -> None:
    """The lists as loaded; they are settings of the process, which no page changes."""
    backend = wiring.backend()
    ports = backend.settings.allowed_ports
    with components.card("Outgoing calls", "settings, as loaded at the start"):
        components.facts(
            [
                ("To servers", _ranges(backend.guard, "A server in your own network needs its range here.")),
                ("Messages", _ranges(backend.message_guard, "A receiver in your own network needs its address here.")),
                ("Ports", _with_setting(escape(ports) if ports else "All but those of other protocols.", _PORTS)),
            ]
        )
        st.markdown(
            ":small[:gray[A name is resolved once, and exactly that address is called; redirects and proxies of the "
            "environment are not followed. Loopback, link-local and metadata addresses are private too. No message goes to "
            "where a server, a router or Countersign itself is.]]"
        )
        if not mine.may("server.test"):
            return
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            url = st.text_input(
                "Would this address of a server be called?",
                key="outgoing.url",
                placeholder="https://triton.example.com:8000",
            )
            clicked = st.button("Look", key="outgoing.look", icon=":material/travel_explore:")
        if clicked and (url or "").strip():
            _judge((url or "").strip())


def _ranges(guard: Guard, otherwise: str) -> str:
    """What a guard lets through; `otherwise`: who has to be listed where no private range is."""
    listed = ", ".join(escape(str(one)) for one in guard.allowed)
    none = f"Public addresses only: no private range is allowed. {otherwise}"
    return _with_setting(f"Public addresses, and of private ones {listed}." if listed else none, guard.setting)


def _with_setting(says: str, setting: str) -> str:
    return f"{says}  \n:gray[{escape(setting)}]"


def _judge(url: str) -> None:
    with feedback.shown() as outcome:
        address = wiring.backend().servers.check_address(identity.current(), url)
    if outcome.ok:
        st.markdown(f"{badge('policy', 'sound', 'Allowed')} {escape(url, 200)} is at {escape(address)}; nothing was called.")
