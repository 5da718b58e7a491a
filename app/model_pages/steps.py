"""What may be done with a model's version, and what is said where it may not: propose, register, look again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import streamlit as st

from app import identity, ways
from app.kit import components
from app.kit.plain import escape
from app.kit.states import badge
from app.model_pages import mirror, version_facts, versions
from app.model_pages.versions import Whole

_PROPOSE = ":material/rocket_launch:"


def propose(found: Whole, mine: identity.Rights) -> None:
    """The page's primary action: a change that puts the chosen version somewhere."""
    why = _why_not(found, mine)
    endpoints = [one.endpoint.name for one in found.placements]
    number = found.chosen.told.number if found.chosen is not None else 0
    label = f"Propose v{number}" if number else "Propose"
    if why is not None or len(endpoints) < 2:
        if st.button(label, type="primary", icon=_PROPOSE, disabled=why is not None, help=why):
            ways.go("propose", endpoint=endpoints[0], version=number)
        return
    endpoint = st.menu_button(label, endpoints, type="primary", icon=_PROPOSE, key="propose")
    if endpoint is not None:
        ways.go("propose", endpoint=endpoint, version=number)


def register(found: Whole, mine: identity.Rights) -> None:
    """The way to register a version that MLflow has and we have not."""
    chosen = found.chosen
    if chosen is None or chosen.registered is not None or chosen.told.removed_at is not None:
        return
    st.markdown("Its files have not been read: register it before anybody can propose it.")
    why = None if mine.may("version.register") else "For contributors and operators."
    if st.button("Register it", type="primary", icon=":material/add:", key="register-it", disabled=why is not None, help=why):
        ways.go("register", model=found.line.name, number=chosen.told.number)


def more(found: Whole, mine: identity.Rights) -> None:
    """Everything else, in a menu."""
    does = {"read": "Read it from MLflow now"} if mirror.may_ask(mine) else {}
    if mine.may("version.register"):
        does |= {"register": f"Register a version ({len(found.unregistered)} open)", "upload": "Upload a version"}
    if mine.may("audit.read"):
        does["audit"] = "Its card in the ledger"
    if does:
        shown = st.menu_button("More", list(does.values()), key="more", icon=":material/more_horiz:")
        _do(next((one for one, label in does.items() if label == shown), None), found)


def counted(found: Whole) -> str:
    """How many endpoints there are, in words."""
    return f"{len(found.placements)} endpoint{'' if len(found.placements) == 1 else 's'}"


def placements(found: Whole) -> None:
    """Every endpoint of the model, each to be opened."""
    if not found.placements:
        components.empty(
            "No endpoint serves it",
            "A platform engineer creates endpoints; then a version can be proposed for them.",
            icon="lan",
        )
        return
    for one in found.placements:
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
            name = escape(one.endpoint.name)
            st.markdown(f":small[**{name}**  \n:gray[{versions.runs(one)}]]", width="stretch")
            st.markdown(badge("endpoint", one.endpoint.state), width="content")
            arrow = ":material/chevron_right:"
            if st.button("Open", key=f"place.{one.endpoint.id}", type="tertiary", icon=arrow, icon_position="right"):
                ways.go("endpoint", endpoint=one.endpoint.name)


def aliases(found: Whole, now: datetime) -> None:
    """Every alias, and whether somebody moved one of ours by hand."""
    if found.aliases:
        components.table(
            versions.alias_rows(found.aliases, now), ("Alias", f"Points{components.NBSP}to", "State"), alt="Aliases", tight=(1,)
        )
    else:
        st.markdown(":small[:gray[None. A proved promotion sets the alias of its environment.]]")


def open_mlflow(found: Whole, head: Any) -> None:
    """The way to MLflow's own page, in a tab of its own; left out where a browser could not open it."""
    number = found.chosen.told.number if found.chosen is not None else None
    url = version_facts.in_mlflow(found.line.name, number)
    if url is not None:
        head.link_button("Open there", url, icon=":material/open_in_new:", type="tertiary")


def _why_not(found: Whole, mine: identity.Rights) -> str | None:
    """Why the chosen version cannot be proposed by whoever looks; None where it can."""
    if not mine.may("change.propose"):
        return "For contributors and operators."
    if found.chosen is None:
        return "There is no version yet."
    if found.chosen.registered is None:
        return f"Version {found.chosen.told.number} is not registered: its bytes are not known yet."
    if not found.placements:
        return f"No endpoint serves {escape(found.line.name, 60)} yet; a platform engineer creates one."
    return None


def _do(wanted: str | None, found: Whole) -> None:
    if wanted == "read":
        mirror.ask(found.line.name)
    if wanted in ("register", "upload"):
        number = {"number": found.unregistered[0]} if wanted == "register" and found.unregistered else {}
        ways.go("register", model=found.line.name, how=wanted, **number)
    if wanted == "audit":
        ways.go("audit", subject=f"model_card/{found.line.id}")
