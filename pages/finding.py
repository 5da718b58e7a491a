"""Finding: what was seen, what waits for it, and what may I do about it?"""

from __future__ import annotations

import streamlit as st

from app import identity, wiring
from app.findings import finding_acts, finding_page
from app.kit import components

with wiring.reading() as look:
    identity.require(look, "finding.read")
    seen = finding_page.find(look, st.query_params.get("finding", ""))
if seen is None:
    st.stop()

with components.header(
    finding_page.title(seen),
    *finding_page.badges(seen),
    meta=finding_page.meta(seen),
    back=("Findings", "findings"),
):
    acts = components.place()

components.answer(finding_page.answer(seen))
main, side = components.main_and_side()
with main:
    finding_page.draw_evidence(seen)
    finding_page.draw_told(seen)
with side:
    finding_page.draw_beside(seen)
    finding_page.draw_history(seen)

with acts:  # nobody decides on what is not drawn yet
    finding_acts.draw(seen)
finding_acts.opened(seen)
