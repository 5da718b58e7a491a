"""Admin: who may do what, under which policies, on which servers, with which keys, and where messages go?"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import identity, ways, wiring
from app.access_pages import (
    admins_left,
    data_set_list,
    grants_list,
    keys,
    outgoing,
    people_list,
    services_list,
    sign_in_part,
    team_list,
)
from app.endpoint_pages import admin_cards
from app.kit import components
from app.kit.plain import plural
from app.record_pages import notifications, policies
from backend.access import rosters
from backend.delivery.queries import routers, servers
from backend.policy import queries

ways.returned("server", "person")
with wiring.reading() as look:
    identity.require(look, "policy.read")
    mine = identity.rights(look)
    environments = queries.environments(look.session, look.now)
    freezes = policies.frozen(queries.freezes(look.session), {}, look.now)
    known = rosters.people(look.session, now=look.now, limit=1).total
    runtimes, edges = servers(look.session), routers(look.session)
    admins = admins_left.outlook(look)

names = [one.name for one in environments]
in_force = [one for one in freezes if one.in_force]
badges = [policies.frozen_badge(one.where) for one in in_force]
identities = "1 identity" if known == 1 else f"{known:,} identities"
held = (plural(len(names), "environment"), plural(len(runtimes), "server"), plural(len(edges), "router"), identities)
with components.header("Admin", *badges, meta=" · ".join(held)):
    if st.button(
        "Freeze starts",
        icon=":material/ac_unit:",
        disabled=not mine.may("freeze.set"),
        help=None if mine.may("freeze.set") else "For operators and admins.",
    ):
        policies.ask_freeze(names)
admins_left.warn(admins)


def hosts() -> None:
    """Servers, routers, where calls may go, and the keys that their credentials are sealed to."""
    admin_cards.servers(runtimes, mine, look.now)
    admin_cards.routers(edges, mine, look.now)
    outgoing.card(mine)
    keys.card(mine)


PARTS: dict[str, Callable[[], None]] = {
    "People": lambda: people_list.part(mine),
    "Services": lambda: services_list.part(mine),
    "Grants": lambda: grants_list.part(mine),
    "Teams": lambda: team_list.part(mine),
    "Data sets": lambda: data_set_list.part(mine),
    "Roles": admin_cards.roles,
    "Policies": lambda: policies.part(environments, in_force, mine),
    "Servers": hosts,
    "Sign-in": lambda: sign_in_part.part(mine),
    "Messages": lambda: notifications.part(mine),
}
components.parts(PARTS, key="part")
