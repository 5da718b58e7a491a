"""Design: what do we expect, who gets what, and would we see it? Also where a draft is edited."""

from __future__ import annotations

import streamlit as st

from app import identity, reach, wiring
from app.experiment_pages import draft_form, draft_plan
from app.kit import components, times

with wiring.reading() as look:
    identity.require(look, "experiment.read")
    start = draft_form.begin(look, st.query_params.to_dict())
    mine = reach.anywhere(identity.rights(look))

title = "Edit the draft" if start.editing else "Design an experiment"
with components.header(
    title, meta=f"planned by the log of the last days · {times.stamp(look.now)}", back=("Experiments", "experiments")
):
    pass
if not mine.may("experiment.create"):
    st.info(
        "**You may look, and not design.** Contributors and operators design; ask one of them, or an admin for the role.",
        icon=":material/front_hand:",
    )
    st.stop()

left, right = components.side_and_main()
with left:
    form = draft_form.draw(start)
    found = draft_plan.of(form.endpoint, form.design) if form.endpoint else draft_plan.Outcome(None, None, form.missing)
    draft_form.submit(start, form, form.missing or ("" if found.design is not None else found.missing))
with right:
    draft_plan.draw(found)
    draft_form.lacks(form)
