"""Propose: what shall answer, what does that come to, and what is still missing? Also where a change is edited."""

from __future__ import annotations

import streamlit as st

from app import identity, wiring
from app.change_pages import proposal, proposed
from app.kit import components, times

with wiring.reading() as look:
    identity.require(look, "change.read")
    start = proposal.begin(look, st.query_params.to_dict())
    mine = identity.rights(look)

title = "Propose a change" if start.editing is None else f"Edit change {start.editing}"
with components.header(title, meta=f"drawn on what is live · {times.stamp(look.now)}", back=("Approvals", "approvals")):
    pass
if not mine.may("change.propose"):
    st.info(
        "**You may look, and not propose.** Contributors and operators propose; ask one of them, or an admin for the role.",
        icon=":material/front_hand:",
    )

left, right = components.side_and_main()
with left:
    form = proposal.draw_form(proposal.kept(start))
    found = proposed.of(start, form)
    proposed.submit(proposal.kept(start), form, found)
with right:
    proposed.draw(start, form, found)
