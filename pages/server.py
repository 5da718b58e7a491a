"""Server: what is it, what can it do, and what runs there?"""

from __future__ import annotations

import streamlit as st

from app import identity, ways, wiring
from app.endpoint_pages import adopt_form, moves, server_forms, server_view
from app.kit import components
from app.kit.plain import escape

name = st.query_params.get("server", "")
with wiring.reading() as look:
    identity.require(look, "endpoint.read")
    page = server_view.find(look, name)
    mine = identity.rights(look)

if page is None:
    server_view.missing(name)
    st.stop()

tags = server_view.tags(page, look.now)
with components.header(escape(name), *tags, meta=server_view.meta(page.line, look.now), back=("Admin", "admin")):
    if mine.may("server.edit") and st.button("Edit", icon=":material/edit:"):
        server_forms.ask_edit(page.line)
    if mine.may("server.remove") and st.button("Forget", icon=":material/delete:", disabled=page.line.endpoints > 0):
        server_forms.ask_remove(page.line)
    if mine.may("endpoint.create") and st.button("Adopt an endpoint", type="primary", icon=":material/add:"):
        adopt_form.ask(name)

moves.card(page.line, mine, look.now)
left, right = components.pair()
with left:
    server_view.test_card(page, mine, look.now)
with right:
    wanted = server_view.others_card(page, mine)
if wanted is not None:
    adopt_form.ask(name, wanted)
chosen = server_view.runs_card(page)
if chosen is not None:
    ways.go("endpoint", endpoint=page.endpoints[chosen].name)
