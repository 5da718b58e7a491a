"""Tokens: what a program acts with. Made by whose it is, shown once, with its end and its last use, and revoked by a click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import streamlit as st

from app import identity, wiring
from app.access_pages import scopes
from app.kit import components, dialogs, feedback, times
from app.kit.plain import escape
from app.kit.states import badge
from backend.access.tokens import MAX_NAME, NewToken, TokenLine

_LASTS = {
    "7 days": timedelta(days=7),
    "30 days": timedelta(days=30),
    "90 days": timedelta(days=90),
    "366 days": timedelta(days=366),
}
_OFF = "off"
_REVOCABLE = ("active", _OFF)
_MOST_OVER = 5
_MADE = "tokens.made"


def card(
    found: Sequence[TokenLine], now: datetime, *, makes_for: Mapping[str, str], revokes: bool, shows_whose: bool = False
) -> None:
    """Good ones first, then those that may come to be good again, and the last few that are over.

    Args:
        makes_for: short name -> shown name of whom whoever looks may make a token for: himself and his services.
        shows_whose: whether tokens of several identities stand in the list.
    """
    st.session_state.pop(_MADE, None)  # a dialog that was only dismissed: its token is not kept any longer
    good = [one for one in found if one.state == "active"]
    off = [one for one in found if one.state == _OFF]
    over = [one for one in found if one.state not in _REVOCABLE][:_MOST_OVER]
    with components.card("Tokens", f"{len(good)} good; programs act with them through the API and the command line") as head:
        if makes_for and head.button("Make a token", icon=":material/key:", key="token.make"):
            _ask_make(makes_for)
        for one in (*good, *off, *over):
            if _row(one, now, revokes=revokes, shows_whose=shows_whose):
                _ask_revoke(one)
        if not found:
            components.empty(
                "No token",
                "With one a program acts as whose it is. Make one, and keep it where the program finds it."
                if makes_for
                else "Only whose it is makes a token: a person, or the owner of a service.",
                icon="key_off",
            )


def _row(one: TokenLine, now: datetime, *, revokes: bool, shows_whose: bool) -> bool:
    whose = f"acts as {escape(one.identity, 80)} · " if shows_whose else ""
    most = f"{limited} · " if (limited := scopes.narrowed(one.role, one.scope)) else ""
    used = f"last used {times.age(one.last_used_at, now)}" if one.last_used_at is not None else "never used"
    end = f"good until {times.both(one.expires_at, now)}" if one.state == "active" else _over(one, now)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.markdown(
            f"**{escape(one.name, MAX_NAME)}** {badge('token', one.state)}  \n"
            f":small[:gray[{whose}{most}{used} · {end} · made {times.age(one.created_at, now)}]]",
            width="stretch",
        )
        return revokes and one.state in _REVOCABLE and st.button("Revoke", key=f"revoke.{one.id}")


def _over(one: TokenLine, now: datetime) -> str:
    if one.revoked_at is not None:
        return f"revoked {times.age(one.revoked_at, now)}"
    if one.state == _OFF:
        return "not good while whoever made it is deactivated"
    return f"ran out {times.age(one.expires_at, now)}"


def _ask_make(makes_for: Mapping[str, str]) -> None:
    @dialogs.framed("Make a token", width="large")
    def opened() -> None:
        place = st.empty()
        if _MADE not in st.session_state:
            with place.container(), feedback.shown():
                _make(makes_for)
        if _MADE in st.session_state:
            place.empty()
            _shown_once(st.session_state[_MADE])

    opened()


def _make(makes_for: Mapping[str, str]) -> None:
    """The form. What was made is kept for as long as its dialog is open."""
    name = st.text_input(
        "Where is it used?", key="token.name", max_chars=MAX_NAME, placeholder="nightly training, laptop", required=True
    )
    with st.container(horizontal=True, gap="small"):
        whose = st.selectbox("It acts as", list(makes_for), key="token.whose", format_func=lambda key: makes_for.get(key, key))
        lasts = st.selectbox("Good for", list(_LASTS), index=2, key="token.lasts")
    with wiring.reading() as look:
        places = scopes.places(look)
    with st.container(horizontal=True, gap="small"):
        role, scope = scopes.limits(places, "token")
    st.markdown(
        ":small[:gray[It may do what its identity may do at that moment, within these limits, and nothing once the identity is "
        "deactivated. It is shown once, and kept here only as a digest.]]"
    )
    if dialogs.decide("Make the token", "token.confirm", icon="key", disabled=not scope):
        lifetime = _LASTS.get(str(lasts), timedelta(days=90))
        st.session_state[_MADE] = wiring.backend().tokens.create(
            identity.current(), name or "", identity=str(whose), lifetime=lifetime, role=role, scope=scope
        )


def _shown_once(made: NewToken) -> None:
    most = f", {limited}," if (limited := scopes.narrowed(made.role, made.scope)) else ""
    st.markdown(
        f"**{escape(made.name, MAX_NAME)}** acts as {escape(made.identity, 80)}{most} until {times.stamp(made.expires_at)}.  \n"
        "Copy it now: **it is not shown again**, to anybody."
    )
    st.code(made.text, language=None, wrap_lines=True)
    how = "A program sends it as Authorization: Bearer TOKEN; the command line takes it from COUNTERSIGN_TOKEN."
    st.markdown(f":small[:gray[{how}]]")
    if st.button("I have copied it", type="primary", key="token.done"):
        st.rerun()


def _ask_revoke(one: TokenLine) -> None:
    used = "It was never used." if one.last_used_at is None else f"It was last used on {times.stamp(one.last_used_at)}."
    wanted = (
        f"**{escape(one.name, MAX_NAME)}** of {escape(one.identity, 80)} is refused from the next request on, and cannot be "
        f"brought back. {used}"
    )

    @dialogs.framed("Revoke a token")
    def opened() -> None:
        st.markdown(wanted)
        if dialogs.decide("Revoke it", "token.revoke", icon="block"):
            feedback.act(lambda: wiring.backend().tokens.revoke(identity.current(), one.id), "Revoked.")

    opened()
