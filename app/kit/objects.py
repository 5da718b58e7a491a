"""Models, endpoints and environments to choose from in a dialog: nobody has to know by heart how one is spelt."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import wiring
from backend.delivery import fleet
from backend.policy import queries as policies
from backend.registry import queries as registry

MOST = 200
"""How many are offered, by name; others are typed."""


def choose(kind: str, key: str, *, label: str = "") -> str:
    """A model, endpoint or environment by its name; "" while none is chosen."""
    chosen = st.selectbox(
        label or kind.capitalize(),
        _offered(kind),
        index=None,
        key=key,
        placeholder="Choose or type a name",
        accept_new_options=True,
        required=True,
    )
    return (chosen or "").strip()


def _offered(kind: str) -> Sequence[str]:
    """Those that whoever looks sees."""
    with wiring.reading() as look:
        if kind == "model":
            return [one.name for one in registry.models(look.session, order="name", limit=MOST).items]
        if kind == "endpoint":
            return fleet.names(look.session, limit=MOST)
        return policies.names(look.session)
