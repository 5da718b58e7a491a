"""Admin: who may do what?"""

from __future__ import annotations

import streamlit as st

from app import components, identity, people, policies, wiring
from app.plain import escape
from app.states import badge
from backend.policy import queries

with wiring.reading() as look:
    identity.require(look, "policy.read")
    environments = queries.environments(look.session, look.now)
    everybody = people.everybody(look)
    freezes = policies.frozen(queries.freezes(look.session, limit=20), people.names(everybody), look.now)
    mine = identity.rights(look)
    names = [one.name for one in environments]
    chosen = st.query_params.get("environment", names[-1])
    versions = queries.versions(look.session, chosen if chosen in names else names[-1])

in_force = [one for one in freezes if one.in_force]
troubled = [one for one in environments if one.problems]
badges = [badge("freeze", "in_force", f"Frozen {escape(one.where)}") for one in in_force]
with components.header(
    "Admin",
    *badges,
    meta=f"{len(names)} environments · {len(everybody)} identities · policies are versions, checked when saved",
):
    if st.button(
        "Freeze starts",
        type="primary",
        icon=":material/ac_unit:",
        disabled=not mine.may("freeze.set"),
        help=None if mine.may("freeze.set") else "For operators and admins.",
    ):
        policies.ask_freeze(names)

main, side = components.main_and_side()
with main:
    with components.card("Environments", "in promotion order"):
        components.table(
            [policies.row(one) for one in environments],
            policies.HEAD,
            alt="Environments with their policies",
            tight=(0, 1, 2, 4),
        )
        for one in troubled:
            policies.problems(one)
    with components.card("Policy") as head:
        with head:
            st.selectbox(
                "Environment",
                names[::-1],
                key="environment",
                bind="query-params",
                label_visibility="collapsed",
                width=180,
            )
        policies.detail(versions, people.names(everybody), look.now)
with side:
    with components.card("Freezes", f"{len(in_force)} in force"):
        for freeze in freezes:
            if policies.draw_freeze(freeze, lifts=mine.may("freeze.lift")):
                policies.ask_lift(freeze)
        if not freezes:
            components.empty(
                "Nothing is frozen",
                "A freeze stops every start in an environment, or everywhere. Going back stays possible.",
                icon="ac_unit",
            )
    with components.card("Identities", f"{len(everybody)}, by name"):
        components.table(people.rows(everybody), None, alt="Identities with their roles")
        st.markdown(":small[:gray[Built-in demo identities: one role each, on this machine only.]]")
