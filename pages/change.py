"""Change: what does it do, what does it wait for, and what may I do about it?"""

from __future__ import annotations

import streamlit as st

from app import identity, wiring
from app.change_pages import change_acts, change_cards, change_live, change_page, changes
from app.kit import components
from app.kit.plain import escape
from app.kit.states import badge

with wiring.reading() as look:
    identity.require(look, "change.read")
    seen = change_page.find(look, st.query_params.get("change", ""))
if seen is None:
    st.stop()

line = seen.view.line
with components.header(
    escape(line.title, 160),
    badge("change", line.state),
    meta=changes.facts(seen.view, seen.now),
    back=("Approvals", "approvals"),
):
    change_cards.open_endpoint(seen)
    acts = components.place()
if why := change_acts.why_not(seen):
    st.markdown(f":small[:gray[:material/info: {why}]]")

change_live.head(seen)

main, side = components.main_and_side()
with main:
    change_live.moved(seen)
    change_live.progress(seen)
    change_live.compared(seen)
    change_page.plan_card(seen)
    change_page.since_card(seen)
    change_cards.evidence_card(seen)
    change_page.course_and_impact(seen)
with side:
    change_cards.reason_card(seen)
    change_cards.votes_card(seen)
    change_live.discussion(seen)
    change_live.timeline(seen)

with acts:  # nobody decides on what is not drawn yet
    change_acts.draw(seen)
change_acts.opened(seen)
