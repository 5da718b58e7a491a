"""Approvals: what am I asked, and may I?"""

from __future__ import annotations

import streamlit as st

from app import identity, reach, ways, wiring
from app.change_pages import approvals
from app.kit import components, export, listing
from app.kit.plain import plural
from app.record_pages import people
from backend.changes import queries
from backend.changes.asked import asked_of
from backend.policy import queries as policy

ways.returned("change")
with wiring.reading() as look:
    identity.require(look, "change.read")
    environments = policy.names(look.session)
    waiting = approvals.by_urgency(asked_of(look.session, identity.current(), look.now), environments, look.now)
    counted = queries.counts(look.session)
    everybody = people.names(people.everybody(look))
    mine = reach.anywhere(identity.rights(look))

with components.header(
    "Approvals",
    meta=f"{approvals.waits(len(waiting))} · {plural(sum(counted.values()), 'change')} in all · times in UTC",
):
    asked = st.container(width="content")
    if st.button(
        "Propose a change",
        type="primary",
        icon=":material/add:",
        disabled=not mine.may("change.propose"),
        help=None if mine.may("change.propose") else "For contributors and operators.",
    ):
        ways.go("propose")

with components.card("Waits for me", f"{len(waiting)}, most urgent first" if waiting else ""):
    approvals.draw_queue(waiting, look.now)
    if not waiting:
        approvals.nothing_waits(mine.may("change.propose"))

with components.card("All changes", approvals.summary(counted) or "none yet"):
    with listing.filters():
        state = st.selectbox(
            "State",
            approvals.words(counted, st.query_params.get("state", "")),
            key="state",
            bind="query-params",
        )
        environment = st.selectbox(
            "Environment",
            ["", *environments],
            key="environment",
            bind="query-params",
            format_func=lambda name: name or "Any",
        )
        endpoint = st.text_input("Endpoint", key="endpoint", bind="query-params", placeholder="part of its name")
        model = st.text_input("Model", key="model", bind="query-params", placeholder="part of its name")
        requester = st.selectbox(
            "Asked by", ["", *everybody], key="by", bind="query-params", format_func=lambda one: everybody.get(one, "Anybody")
        )
        text = st.text_input("Text", key="text", bind="query-params", icon=":material/search:", placeholder="title or endpoint")
    wanted = approvals.filters(state or "", environment or "", endpoint or "", model or "", requester or "", text or "")
    place = listing.place("after", wanted)
    with wiring.reading() as look:
        shown = queries.page(look.session, wanted, after=place.key or None, limit=approvals.PAGE)
    with asked:
        export.download("Export CSV", "changes.csv", approvals.exporter(identity.current(), wanted), key="export")
    if shown.items:
        listing.walk(place, approvals.counted(shown), shown.next)
        records = [approvals.record(one, look.now) for one in shown.items]
        chosen = listing.rows(records, approvals.columns(), key="rows", alt="Changes, what needs somebody first")
        if chosen is not None:
            ways.open_detail("change", change=shown.items[chosen].number)
    else:
        none = approvals.nothing(counted)
        components.empty(none.title, none.why, icon="search_off")
