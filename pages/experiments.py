"""Experiments: what is tried, how far is it, and what does it say?"""

from __future__ import annotations

import streamlit as st

from app import identity, reach, ways, wiring
from app.experiment_pages import experiment_list
from app.kit import components, export, listing
from app.kit.plain import plural
from backend.experiments.comparing import showing

ways.returned("endpoint", "experiment")
with wiring.reading() as look:
    identity.require(look, "experiment.read")
    everything = experiment_list.lines(look)
    said = showing.decisions(look.session)
    mine = reach.anywhere(identity.rights(look))

with components.header("Experiments", *experiment_list.trouble(everything), meta=experiment_list.summary(everything)):
    tools = st.container(width="content")
    if mine.may("experiment.create") and st.button("New experiment", type="primary", icon=":material/add:"):
        ways.go("design")

with listing.filters(), wiring.reading() as look:
    endpoint, state = experiment_list.filters(look)
with tools:
    make = experiment_list.exporter(identity.current(), endpoint, state)
    export.download("Export CSV", "experiments.csv", make, key="export")

place = listing.place("after", endpoint, state)
with wiring.reading() as look:
    found = experiment_list.lines(look, endpoint, state)
shown, following = experiment_list.cut(found, place)
if not shown:
    experiment_list.nothing(filtered=bool(everything))
    st.stop()
listing.walk(place, f"{plural(len(found), 'experiment')}", following)
records = [experiment_list.record(one, said) for one in shown]
chosen = listing.rows(records, experiment_list.columns(), key=f"rows.{place.key}", alt="Experiments")
if chosen is not None:
    ways.open_detail("experiment", endpoint=shown[chosen].endpoint, experiment=shown[chosen].slug)
