"""Endpoint: what is desired of it, what was seen of it, what was proved, and what happened to it."""

from __future__ import annotations

import streamlit as st

from app import identity, wiring
from app.endpoint_pages import adopting, endpoint_actions, endpoint_history, endpoint_view
from app.kit import components, links
from app.kit.live import live
from app.kit.plain import escape

name = st.query_params.get("endpoint", "")
with wiring.reading() as look:
    identity.require(look, "endpoint.read")
    found = endpoint_view.find(look, name)
    mine = endpoint_view.rights(look, found)
    back = endpoint_actions.way_back(look, found) if found is not None else None

if found is None:
    endpoint_view.missing(name)
    st.stop()

offered = endpoint_actions.offers(found, mine, back)
badges = live(endpoint_view.badges)
with components.header(
    escape(name), meta=endpoint_view.meta(found), back=("Endpoints", "endpoints"), draw=lambda: badges(name)
):
    links.to_monitoring(name)
    endpoint_actions.menu(found, offered, back)
    endpoint_actions.roll_back_button(found, offered, back)

past = "at" in st.query_params
if past:
    with wiring.reading() as look:
        endpoint_history.time_travel(look, found)
live(endpoint_view.now)(name, endpoint_view.Print.of(found))
if found.line.mode == "observe":
    adopting.page(found, mine)
    st.stop()
with wiring.reading() as look:
    endpoint_history.deployments(look, found)
    endpoint_history.generations(look, name)
    left, right = components.main_and_side()
    with left:
        endpoint_history.pushes(look, name)
        if not past:
            endpoint_history.time_travel(look, found)
    with right:
        endpoint_history.transitions(look, name)
