"""The filters above the list of endpoints, each bound to the address."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from app.endpoint_pages import fleet
from app.kit import times
from app.wiring import Reading
from backend.delivery import fleet as queries
from backend.delivery.fleet import Filters
from backend.delivery.queries import servers
from backend.policy.queries import names as environments

ANY = {"environment": "Any environment", "server": "Any server", "model": "Any model"}


@dataclass(frozen=True)
class Choices:
    """What can be chosen."""

    environments: tuple[str, ...]
    servers: tuple[str, ...]
    models: tuple[str, ...]


def choices(look: Reading) -> Choices:
    """Environments in promotion order, servers and models by name (the first two hundred; others can be typed)."""
    return Choices(environments(look.session), tuple(one.name for one in servers(look.session)), queries.models(look.session))


def draw(offered: Choices) -> tuple[Filters, str]:
    """(the filters, the moment that somebody typed)."""
    text = st.text_input("Search", key="text", bind="query-params", placeholder="Endpoint or model", icon=":material/search:")
    state = st.selectbox(
        "State", list(fleet.STATES), key="state", bind="query-params"
    )  # fmt: skip
    environment = _choice("environment", "Environment", offered.environments)
    server = _choice("server", "Server", offered.servers)
    model = _choice("model", "Model", offered.models)
    typed = st.text_input(
        "As of (UTC)", key="asof", bind="query-params", placeholder="2026-11-25 19:14", icon=":material/history:",
        validate=(times.WRITTEN, "Write a time like 2026-11-25 19:14"),
    )  # fmt: skip
    filters = Filters(
        environment=environment, model=model, server=server, state=fleet.STATES[state or fleet.ANY], text=(text or "").strip()
    )
    return filters, typed or ""


def _choice(key: str, label: str, options: tuple[str, ...]) -> str:
    """One of the names, or one that somebody types: an address may name what the first ones do not hold."""
    chosen = st.selectbox(
        label, ("", *options), key=key, bind="query-params", accept_new_options=True,
        format_func=lambda one: one or ANY[key],
    )  # fmt: skip
    return (chosen or "").strip()
