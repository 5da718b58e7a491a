"""Endpoints: does what runs equal what was approved?"""

from __future__ import annotations

import streamlit as st

from app import identity, reach, ways, wiring
from app.endpoint_pages import fleet, fleet_filters, fleet_timeline
from app.kit import components, export, listing, times
from app.kit.plain import plural

ways.returned("endpoint", "at")
with wiring.reading() as look:
    identity.require(look, "endpoint.read")
    whole = fleet.standing(look)
    choices = fleet_filters.choices(look)
    mine = reach.anywhere(identity.rights(look))

meta = f"{plural(whole.total, 'endpoint')}, {whole.managed:,} managed · {fleet.as_approved(whole)} what was approved, proved"
with components.header("Endpoints", *fleet.trouble(whole.counts), meta=meta):
    tools = st.container(width="content")
    if mine.may("endpoint.create") and st.button("Adopt an endpoint", type="primary", icon=":material/add:"):
        ways.go("admin", part="Servers")

with listing.filters():
    filters, typed = fleet_filters.draw(choices)
moment = times.moment(typed)
with tools:
    make = fleet.exporter(identity.current(), filters, moment)
    export.download("Export CSV", fleet.exported_name(moment), make, key="export")

place = listing.place("after", filters, typed)
with wiring.reading() as look:
    if moment is None:
        drawn = fleet.counts(look, filters)
        shown = fleet.page(look, filters, place.key)
        columns, records = fleet.columns(), [fleet.record(one) for one in shown.rows]
        names = {one.id: one.name for one in shown.rows}
    else:
        past = fleet.past_page(look, moment, filters, place.key)
        columns, records = fleet.past_columns(), fleet.past_records(look, past.rows)
        names = {one.id: one.name for one in past.rows}

if moment is None:
    fleet.watch(filters, drawn)
else:
    st.markdown(f"{fleet_timeline.past_badge(moment)} :small[:gray[What was desired, approved and seen then; by name.]]")
if names:
    following = shown.after if moment is None else past.after
    listing.walk(place, fleet.counted(len(names), following is not None), following)
    chosen = listing.rows(records, columns, key=f"rows.{place.key}.{typed}", alt="Endpoints")
    if chosen is not None:
        ways.open_detail("endpoint", **fleet.opened(records[chosen]["Endpoint"], moment))
    with wiring.reading() as look:
        fleet_timeline.draw(look, names, moment)
else:
    fleet.nothing(filters, moment, adopts=mine.may("endpoint.create"))
