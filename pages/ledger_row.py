"""One row of the ledger: what it says, field by field, what else was done to the same thing, and how it is chained."""

from __future__ import annotations

import streamlit as st

from app import identity, ways, wiring
from app.kit import components, times
from app.kit.plain import escape
from app.record_pages import ledger

with wiring.reading() as look:
    identity.require(look, "audit.read")
    event = ledger.one_row(look.session, st.query_params.get("row", ""))
    subject = f"{event.subject_kind}/{event.subject_id}"
    about = ledger.read(look.session, ledger.Wanted(subject=subject), limit=12)
    names = ledger.names_of(look.session, [event, *about], look.now)

who = escape(names.get(event.actor_id, event.actor_id))
meta = f"{who} · {times.both(event.at, look.now)} · about {escape(subject)}"
with components.header(f"Row {event.seq:,}: {escape(event.action)}", meta=meta, back=("Audit", "audit")):
    components.digests(ledger.whole(event), "Whole values")
    if st.button("The ledger at this moment", icon=":material/history:"):
        ways.go("audit", until=times.written(event.at))

main, side = components.main_and_side()
with main, components.card("What it says", f"{escape(event.action)}, field by field"):
    rows, header = ledger.facts(event)
    if rows:
        components.table(rows, header, alt="Facts of this row")
    else:
        components.empty("No facts beside the action", "The action and its subject say everything.", icon="notes")
with side, components.card("About the same", "newest first, UTC") as head:
    with head:
        st.page_link(ways.path("audit"), label="All", query_params={"subject": subject})
    components.feed((ledger.told(one, names) for one in about), narrow=True)
