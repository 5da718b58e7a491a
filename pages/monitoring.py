"""Monitoring: is what runs still right, and fast?"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import identity, ways, wiring
from app.kit import components, links, listing
from app.kit.live import live
from app.monitor_pages import drift_part, latency_part, monitor_filters, monitor_list, quality_part, report_part
from app.monitor_pages.monitor_filters import Place
from backend.monitoring import queries
from backend.monitoring.views import Where


def parts(where: Where, place: Place) -> dict[str, Callable[[], None]]:
    """What the page holds, each under its name."""
    return {
        "Drift": lambda: drift_part.part(where, place),
        "Predictions": lambda: quality_part.part(where),
        "Latency": lambda: latency_part.part(where, place),
        "Monitors": lambda: monitor_list.part(place),
        "Reports": lambda: report_part.part(where, place),
    }


ways.returned("finding")
with wiring.reading() as look:
    identity.require(look, "endpoint.read")
    lines = queries.monitors(look.session, now=look.now)
    names = monitor_filters.offered(look)

with components.header("Monitoring", *monitor_list.trouble(lines), meta=monitor_list.summary(lines)):
    beside = components.place()

with listing.filters():
    name = monitor_filters.endpoint(names)
    with wiring.reading() as look:
        place = monitor_filters.place(look, name) if name else None
    where = monitor_filters.narrow(place, look.now) if place is not None else None

if place is None or where is None:
    if name:
        monitor_filters.missing(name)
    else:
        monitor_list.everywhere(look, lines)
    st.stop()

with beside:
    links.to_endpoint(place.name, "Open the endpoint")
live(monitor_list.standing, every=30)(place.name)
components.parts(parts(where, place), key="part")
