"""Verifying the ledger from a page: the walk, what it found, and how old that is; kept in the session, not in the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import streamlit as st

from app import identity, wiring
from app.kit import times
from app.kit.plain import escape
from app.kit.states import badge
from backend.audit.service import Verification

_FOUND = "chain.found"


@dataclass(frozen=True)
class Found:
    """What a verification found, and when it was finished."""

    verification: Verification
    at: datetime


def state_of_chain(now: datetime) -> str:
    """The badge: verified in this session, with its age, or not yet."""
    found: Found | None = st.session_state.get(_FOUND)
    if found is None:
        return badge("chain", "unverified")
    return badge("chain", "intact" if found.verification.intact else "broken", _label(found, now))


def _label(found: Found, now: datetime) -> str:
    word = "Intact" if found.verification.intact else "Not intact"
    return f"{word}, verified {times.age(found.at, now)}"


def verify_chain() -> None:
    """Walks every row and every signed head, keeps what it found, and draws the page anew. Refusal for whoever may not."""
    with wiring.reading() as look:
        identity.require(look, "audit.verify")
    with st.status(
        "Walking every row and comparing every signed head; the longer the ledger, the longer it takes.", expanded=True
    ):
        verification = wiring.backend().audit.verify()
    st.session_state[_FOUND] = Found(verification, wiring.backend().database.now())
    st.rerun()


def show_result() -> None:
    """What the latest verification of this session found, in absolute words; nothing before the first."""
    found: Found | None = st.session_state.get(_FOUND)
    if found is None:
        return
    draw, icon = (st.success, "verified") if found.verification.intact else (st.error, "gpp_bad")
    draw(f"{said(found.verification)}  \n:small[Verified {times.stamp(found.at)}]", icon=f":material/{icon}:")


def said(verification: Verification) -> str:
    """What a verification found, in absolute words."""
    rows, heads = f"{verification.rows:,} rows", f"**{verification.heads:,} signed heads** agree with them"
    if verification.heads == 0:
        heads = "no signed head has been exported yet that could show whether rows were cut off at the end"
    if verification.broken is None:
        last = escape(verification.last_hash, 80)
        return f"**{rows}** hold from the first to the last, and {heads}.  \nLast hash: {last}"
    reason = escape(verification.broken.reason, 500)
    return (
        f"**{reason}.** {rows} before it hold. Stop changing things, keep a copy of the database and of the signed heads, and "
        "compare both with your backups."
    )
