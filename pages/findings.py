"""Findings: what is wrong that somebody found, and who looks after it?"""

from __future__ import annotations

from app import identity, ways, wiring
from app.findings import finding_list
from app.kit import components, listing
from app.record_pages import alarm
from backend.findings import queries

ways.returned("finding")
with wiring.reading() as look:
    identity.require(look, "finding.read")
    counted = queries.counts(look.session)
    offered = finding_list.choices(look)
    tests = alarm.may_test(look)

meta = f"{finding_list.summary(counted)} · times in UTC"
with components.header("Findings", *finding_list.trouble(counted), meta=meta):
    if tests and alarm.test_button():
        alarm.ask_test()

with listing.filters():
    filters = finding_list.draw_filters(offered)
place = listing.place("after", filters)
with wiring.reading() as look:
    shown = queries.page(look.session, filters, after=place.key or None, limit=finding_list.PAGE)
if shown.items:
    listing.walk(place, finding_list.found(shown), shown.next, words=("Worse", "Milder"))
    records = [finding_list.record(one, look.now) for one in shown.items]
    chosen = listing.rows(records, finding_list.columns(), key="rows", alt="Findings, the worst first")
    if chosen is not None:
        ways.open_detail("finding", finding=shown.items[chosen].number)
else:
    finding_list.nothing(counted, filters)
