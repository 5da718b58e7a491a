"""Open: where does this link from a message lead?"""

from __future__ import annotations

import streamlit as st

from app import identity, wiring
from app.kit import components
from app.record_pages import opening

with wiring.reading() as look:
    identity.require(look, "change.read")
with components.header("Link from a message"):
    pass
opening.follow(st.query_params.get("link", ""))
