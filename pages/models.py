"""Models: what versions exist, and which is where?"""

from __future__ import annotations

import streamlit as st

from app import identity, reach, ways, wiring
from app.kit import components, export, listing
from app.model_pages import catalog, mirror
from backend.registry.catalog import Wanted, count

with wiring.reading() as look:
    identity.require(look, "model.read")
    everything = count(look.session, Wanted())
    offered = catalog.choices(look)
    mine = reach.anywhere(identity.rights(look))

ways.returned("model", "version")
with components.header("Models", meta=f"{everything:,} in MLflow · what is registered here can be proposed"):
    asked_for_file = st.container(width="content")
    if st.button("Read the registry now", icon=":material/sync:", disabled=not mirror.may_ask(mine), help=mirror.why_not(mine)):
        mirror.ask()
    if mine.may("version.register") and st.button("Register", type="primary", icon=":material/add:"):
        ways.go("register")
mirror.line()

asked = catalog.ask(offered) if everything or st.query_params else catalog.Asked()
place = listing.place("after", asked)
with wiring.reading() as look:
    shown = catalog.page(look, asked, place.key)

if shown.lines:
    with asked_for_file:
        export.download("Export CSV", "models.csv", catalog.exporter(identity.current(), asked), key="export")
    listing.walk(place, catalog.counted(shown, asked), shown.following, words=catalog.ways_on(asked))
    chosen = listing.rows(
        catalog.records(shown, look.now), catalog.columns(shown), key="rows", alt="Models with where each is live"
    )
    if chosen is not None:
        ways.open_detail("model", model=shown.lines[chosen].name)
else:
    with st.container(border=True):
        if catalog.empty(asked, may_register=mine.may("version.register")):
            ways.go("register")
