"""Experiment: which arm wins, may we stop, and who gets what?"""

from __future__ import annotations

import streamlit as st

from app import identity, wiring
from app.compared import guardrails
from app.experiment_pages import acts, draft_view, log, results, seen, split
from app.kit import components
from app.kit.plain import escape

endpoint, slug = st.query_params.get("endpoint", ""), st.query_params.get("experiment", "")
with wiring.reading() as look:
    identity.require(look, "experiment.read")
    found = seen.find(look, endpoint, slug)
if found is None:
    st.stop()

title = escape(found.view.line.title, 160)
with components.header(title, seen.state_badge(found), meta=seen.meta(found), back=("Experiments", "experiments")):
    tools = components.place()
if why := acts.why_not(found):
    st.markdown(f":small[:gray[:material/info: {why}]]")

results.draw(found)
if found.state == "draft":
    draft_view.draw(found)
if found.compared is not None and found.compared.figures is not None:
    left, right = components.pair()
    with left:
        guardrails.segments(found.compared, border=False)
        results.reading_aid(found.compared)
    with right:
        split.card(found)
        results.planned(found)
results.facts(found)
with wiring.reading() as look:
    log.card(look, found)

with tools:  # nobody decides on what is not drawn yet
    acts.draw(found)
