"""Keys: which one secrets are sealed to, which one signs the ledger's heads, since when, and how another takes its place."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from app import wiring
from app.identity import Rights
from app.kit import components, times
from app.kit.plain import escape, plural
from app.kit.states import badge
from backend.audit.signing import InForce
from backend.core.keyfiles import is_due
from backend.delivery.resealing import KeyLine

_MOST_OVER = 3


def card(mine: Rights) -> None:
    """Both kinds of keys, for whoever may see them. Their private halves are shown to nobody."""
    if not mine.may("sealing_key.list"):
        return
    with wiring.reading() as look:
        found = wiring.backend().sealing_keys.status(look.session)
    signs = wiring.backend().audit.signing_key()
    with components.card("Keys", "only their names; no page shows what they open or sign with"):
        over = [one for one in found if one.state == "destroyed"]
        shown = [one for one in found if one.state != "destroyed"] + over[:_MOST_OVER]
        rows = [_sealing(one, look.now) for one in shown] + [_signing(signs, look.now)]
        components.table(rows, ("Key", "State", "Since (UTC)", "What depends on it"), alt="Keys, with what depends on each")
        if len(over) > _MOST_OVER:
            st.markdown(f":small[:gray[and {len(over) - _MOST_OVER} more that were destroyed]]")
        if any(not one.is_here and one.secrets for one in found):
            st.markdown(
                ":small[:gray[A private half that is not on this machine is as it should be where workers run elsewhere: only "
                "they open what is sealed.]]"
            )
        if mine.may("sealing_key.rotate"):
            st.markdown(
                ":small[:gray[Put others in their place once a year, and when somebody who could read a key has left. Run this "
                "where the worker's keys are; everything goes on meanwhile:]]"
            )
            st.code("countersign secrets rotate\ncountersign secrets rotate-ledger-key", language=None)


def _sealing(one: KeyLine, now: datetime) -> tuple[str, str, str, str]:
    state = "due" if one.state == "current" and is_due(one.made_at, now) else one.state
    where = "private half on this machine" if one.is_here else "private half not on this machine"
    needs = f"{plural(one.secrets, 'secret')} sealed to it" if one.secrets else "nothing is sealed to it"
    told = needs if one.state == "destroyed" else f"{needs}  \n:gray[{where}]"
    since = one.destroyed_at or one.replaced_at or one.made_at
    return f"Sealing  \n:small[:gray[{escape(one.id)}]]", badge("key", state), _since(since, now), f":small[{told}]"


def _signing(one: InForce, now: datetime) -> tuple[str, str, str, str]:
    state = "due" if is_due(one.since, now) else "current"
    rows = f"signs heads after row {one.after_row:,}" if one.after_row else "signs every head of the ledger so far"
    where = "private half on this machine" if one.is_here else "private half not on this machine"
    told = f":small[{rows}  \n:gray[{where}]]"
    return f"Ledger  \n:small[:gray[{escape(one.id)}]]", badge("key", state), _since(one.since, now), told


def _since(at: datetime | None, now: datetime) -> str:
    return f":small[{times.short(at)}  \n:gray[{times.age(at, now)}]]" if at is not None else ":small[:gray[the beginning]]"
