"""Overview: what is live, and what needs me?"""

from __future__ import annotations

import streamlit as st

from app import identity, reach, ways, wiring
from app.endpoint_pages import fleet
from app.home import dashboard
from app.kit import components
from app.kit.live import live
from app.record_pages import policies
from backend.policy import queries

ways.returned("endpoint")
with wiring.reading() as look:
    environments = queries.environments(look.session, look.now)
    standing = fleet.standing(look)
    mine = reach.anywhere(identity.rights(look))

badges = dashboard.badges(standing, environments)
with components.header("Overview", *badges, meta=dashboard.meta(standing, environments, look.now)):
    if mine.may("freeze.set") and st.button("Freeze starts", icon=":material/ac_unit:"):
        policies.ask_freeze([one.name for one in environments])
    if mine.may("change.propose") and st.button("Propose a change", type="primary", icon=":material/add:"):
        ways.go("propose")

live(dashboard.now)(environments)
