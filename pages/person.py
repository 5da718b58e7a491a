"""Person: who is this, what may they do until when, and by which sessions and tokens?"""

from __future__ import annotations

import streamlit as st

from app import identity, wiring
from app.access_pages import person
from app.kit import components
from app.kit.plain import escape

name = st.query_params.get("person", "")
with wiring.reading() as look:
    identity.require(look, "policy.read")
    page = person.find(look, identity.rights(look), name)

if page is None:
    person.missing(name)
    st.stop()

title = escape(page.line.shown, 80)
with components.header(title, *person.tags(page), meta=person.meta(page), back=("Admin", "admin")):
    person.acts(page)
person.draw(page)
