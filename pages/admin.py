"""Admin: who may do what, under which policies, and on which servers?"""

from __future__ import annotations

import streamlit as st

from app import identity, ways, wiring
from app.endpoint_pages import admin_cards
from app.kit import components
from app.record_pages import grants, notifications, people, policies, second_person, sign_ins
from backend.delivery.queries import routers, servers
from backend.policy import queries

ways.returned("server")
with wiring.reading() as look:
    identity.require(look, "policy.read")
    environments = queries.environments(look.session, look.now)
    everybody = people.everybody(look)
    freezes = policies.frozen(queries.freezes(look.session), people.names(everybody), look.now)
    mine = identity.rights(look)
    waiting, held = second_person.waiting(look, mine), grants.held(look, mine)
    names = [one.name for one in environments]
    chosen = st.query_params.get("environment", names[-1])
    versions = queries.versions(look.session, chosen if chosen in names else names[-1])
    runtimes, edges = servers(look.session), routers(look.session)

in_force = [one for one in freezes if one.in_force]
badges = [policies.frozen_badge(one.where) for one in in_force]
counts = f"{len(names)} environments · {len(runtimes)} servers · {len(edges)} routers · {len(everybody)} identities"
with components.header("Admin", *badges, meta=counts):
    if st.button(
        "Freeze starts",
        icon=":material/ac_unit:",
        disabled=not mine.may("freeze.set"),
        help=None if mine.may("freeze.set") else "For operators and admins.",
    ):
        policies.ask_freeze(names)

rules, hosts, who = st.tabs(["Policies", "Servers", "People"], key="section", bind="query-params")
with rules:
    main, side = components.main_and_side()
    with main:
        policies.environments_card(environments)
        policies.policy_card(names, versions, people.names(everybody), look.now)
    with side:
        policies.freezes_card(freezes, in_force, lifts=mine.may("freeze.lift"))
with hosts:
    admin_cards.servers(runtimes, mine, look.now)
    admin_cards.routers(edges, mine, look.now)
with who:
    main, side = components.main_and_side()
    with main:
        with wiring.reading() as look:
            sign_ins.section(look, everybody, mine)
            notifications.everybodys_card(look, mine)
        admin_cards.roles_matrix()
        second_person.card(waiting, mine)
        grants.cards(held)
    with side:
        people.card(everybody)
        admin_cards.roles_words()
