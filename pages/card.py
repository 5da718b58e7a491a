"""Model card: what a team says of its model, revision by revision; written here by whoever may."""

from __future__ import annotations

import streamlit as st

from app import identity, reach, ways, wiring
from app.kit import components
from app.kit.plain import escape
from app.model_pages import cards
from backend.registry import cards as stored

name = st.query_params.get("model", "")
with wiring.reading() as look:
    identity.require(look, "model.read")
    revision = cards.revision_in(st.query_params.get("revision", ""))
    newest = stored.card(look.session, name)
    old = stored.card(look.session, name, revision) if revision is not None else None
    past = stored.history(look.session, cards.existing(look, name))
    mine = reach.at(look, identity.rights(look), model=name)

if st.button(escape(name, 80), icon=":material/arrow_back:", type="tertiary", key="to-model"):
    ways.go("model", model=name)
with components.header(f"Card of {escape(name, 60)}", *cards.kept_badge(name), meta=cards.note(old or newest, look)):
    if old is not None and st.button("To the newest", icon=":material/arrow_forward:"):
        ways.go("card", model=name)
    if old is not None and mine.may("card.write") and st.button("Take this text over", icon=":material/undo:"):
        cards.take_over(name, old)

if old is None and mine.may("card.write"):
    cards.edit(name, newest)
else:
    with components.card("Text", f"revision {old.revision}" if old is not None else ""):
        cards.draw(old or newest)
with components.card("History", f"{len(past)} revisions, newest first; each has a row in the ledger"):
    shown = old or newest
    cards.history(name, past, shown.revision if shown is not None else None, look)
