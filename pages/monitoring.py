"""Monitoring: is what runs still right, and fast?"""

from __future__ import annotations

import streamlit as st

from app import identity, ways, wiring
from app.kit import components, listing
from app.kit.live import live
from app.monitor_pages import drift_part, monitor_filters, monitor_list
from backend.monitoring import queries

ways.returned("finding")
with wiring.reading() as look:
    identity.require(look, "endpoint.read")
    lines = queries.monitors(look.session, now=look.now)
    names = monitor_filters.offered(look)

with components.header("Monitoring", *monitor_list.trouble(lines), meta=monitor_list.summary(lines)):
    pass

with listing.filters():
    name = monitor_filters.endpoint(names)
    with wiring.reading() as look:
        place = monitor_filters.place(look, name) if name else None
    where = monitor_filters.narrow(place, look.now) if place is not None else None

if place is None or where is None:
    monitor_filters.missing(name) if name else monitor_list.everywhere(look, lines)
    st.stop()

live(monitor_list.standing, every=30)(place.name)
components.parts(
    {
        "Drift": lambda: drift_part.part(where, place),
    },
    key="part",
)
