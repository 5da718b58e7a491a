"""Register: take a version on from MLflow, or upload one. It goes on when the page is left."""

from __future__ import annotations

import streamlit as st

from app import identity, wiring
from app.kit import components
from app.model_pages import intakes, mirror

name = st.query_params.get("model", "")
with wiring.reading() as look:
    identity.require(look, "version.register")
    models = intakes.offered(look, name)

with components.header("Register a version", meta="what is registered here can be proposed", back=("Models", "models")):
    pass
mirror.line()
if not mirror.connected():
    intakes.without_registry()

left, right = components.pair()
with left:
    known, new = st.tabs(["From MLflow", "Upload"], default="Upload" if st.query_params.get("how") == "upload" else None)
    with known:
        intakes.from_registry(models, name, st.query_params.get("number", ""))
    with new:
        intakes.from_file(models, name)
with right, components.card("Taken in lately", "last seven days, newest first", border=False):
    intakes.latest()
