"""Audit: who did what when, and is the record of it whole?"""

from __future__ import annotations

import streamlit as st

from app import identity, ways, wiring
from app.kit import components, export, listing, times
from app.record_pages import ledger, people
from app.record_pages.chain import show_result, state_of_chain, verify_chain

COLUMNS = {
    "Row": st.column_config.NumberColumn(format="localized", width=52),
    "Time (UTC)": st.column_config.DatetimeColumn(format="D MMM YYYY HH:mm:ss", timezone="UTC", width=142),
    "Age": st.column_config.TextColumn(width=98),
    "Who": st.column_config.TextColumn(width=146),
    "Action": st.column_config.TextColumn(width=134),
    "What": st.column_config.TextColumn("What changed", width=300),
    "Subject": st.column_config.TextColumn(width=180),
}

with wiring.reading() as look:
    identity.require(look, "audit.read")
    newest = ledger.read(look.session, ledger.Wanted(), limit=1)
    everybody = people.names(people.everybody(look))
    mine = identity.rights(look)

meta = f"{newest[0].seq:,} rows · newest {times.both(newest[0].at, look.now)}" if newest else "No rows yet"
with components.header("Audit", state_of_chain(look.now), meta=f"{meta} · one hash chain, its head signed and kept elsewhere"):
    asked = st.container(width="content")
    clicked = st.button("Verify the chain", type="primary", icon=":material/verified:", disabled=not mine.may("audit.verify"))
if clicked:
    verify_chain()
show_result()

ways.returned("row")
with listing.filters():
    who = st.selectbox(
        "Who", ["", *everybody], key="who", bind="query-params", format_func=lambda key: everybody.get(key, "Anybody")
    )
    action = st.text_input("Action", key="action", bind="query-params", placeholder="freeze.set", icon=":material/bolt:")
    subject = st.text_input(
        "Subject",
        key="subject",
        bind="query-params",
        placeholder="environment/production",
        validate=(ledger.SUBJECT, "Write a kind and an id, like environment/production"),
    )
    until = st.text_input(
        "As of (UTC)",
        key="until",
        bind="query-params",
        placeholder="2026-11-25 19:14",
        icon=":material/history:",
        validate=(times.WRITTEN, "Write a time like 2026-11-25 19:14"),
    )

wanted = ledger.Wanted(who or "", action or "", subject or "", times.moment(until or ""))
place = listing.place("before", wanted)
with wiring.reading() as look:
    shown = ledger.page(look.session, wanted, place.key)
    names = ledger.names_of(look.session, shown.rows, look.now)

if mine.may("audit.export"):
    with asked:
        export.download("Export CSV", "ledger.csv", ledger.exporter(identity.current(), wanted), key="export")

if shown.rows:
    listing.walk(place, ledger.counted(shown), shown.following)
    records = [ledger.record(one, names, look.now) for one in shown.rows]
    chosen = listing.rows(records, COLUMNS, key="rows", alt="Ledger rows, newest first")
    if chosen is not None:
        ways.open_detail("ledger_row", row=shown.rows[chosen].seq)
else:
    why = "Nobody did this, or not before the moment that you ask for. Change or clear a filter."
    with st.container(border=True):
        components.empty("No row matches", why, icon="search_off")
