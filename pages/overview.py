"""Overview: what is live, and what needs me?"""

from __future__ import annotations

import streamlit as st

from app import components, identity, ledger, needs, policies, times, ways, wiring
from app.live import live
from app.plain import escape
from app.states import badge
from backend.policy import queries

with wiring.reading() as look:
    environments = queries.environments(look.session, look.now)
    mine = identity.rights(look)

waiting = [
    *needs.of_policies(environments, sets=mine.may("policy.set")),
    *needs.of_freezes(environments, lifts=mine.may("freeze.lift")),
]
frozen = [badge("freeze", "in_force", f"{escape(one.name)} frozen") for one in environments if one.frozen]
with components.header("Overview", *frozen, meta=f"{len(environments)} environments · {times.stamp(look.now)}"):
    if mine.may("freeze.set") and st.button("Freeze starts", icon=":material/ac_unit:"):
        policies.ask_freeze([one.name for one in environments])


def ledger_feed() -> None:
    """The newest rows of the ledger."""
    with wiring.reading() as now:
        found = ledger.read(now.session, ledger.Wanted(), limit=9)
        names = ledger.names_of(now.session, found, now.now)
    components.feed(ledger.told(one, names) for one in found)


left, right = components.pair()
with left, components.card("Needs me", f"{len(waiting)}, most urgent first" if waiting else "", border=False):
    for one in waiting:
        components.line(one.title, one.note, one.badge, ways.path(one.page))
    if not waiting:
        components.empty(
            "Nothing waits for you", "Changes that ask for your vote or your decision will stand here.", icon="done_all"
        )
with right, components.card("Running rollouts", "step, and what it waits for", border=False):
    components.empty(
        "Rollouts are not drawn yet",
        "This build shows environments, freezes and the ledger. Rollouts join when their service does.",
        icon="trending_up",
    )

with components.card("Endpoints", "worst first"):
    components.empty(
        "Endpoints are not drawn yet",
        "What is live will stand here, with its state and the age of each proof, when delivery joins the pages.",
        icon="lan",
    )

left, right = components.pair()
with left, components.card("Environments", "in promotion order; what each asks for", border=False):
    components.table(
        [policies.short_row(one) for one in environments], policies.SHORT_HEAD, alt="Environments", tight=(1, 2, 3)
    )
with right, components.card("What changed lately", "ledger, UTC", border=False) as head:
    if mine.may("audit.read"):
        head.page_link(ways.path("audit"), label="Open the ledger", icon=":material/receipt_long:")
        live(ledger_feed)()
    else:
        components.empty(
            "The ledger is not yours to read", "Auditors and admins read it. Ask an admin for the role auditor.", icon="lock"
        )
