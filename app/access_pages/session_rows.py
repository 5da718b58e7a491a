"""Sessions of one person: on which device, how old, how long nothing was done, and the way to end them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from app import acting, identity, wiring
from app.kit import components, dialogs, times
from app.kit.plain import escape
from app.kit.states import badge
from backend.access.sessions import SessionLine

_MOST_OVER = 5
_WHY = {
    "signed-out": "signed out", "everywhere": "signed out everywhere", "revoked": "ended by an administrator",
    "provider": "ended by the provider", "deactivated": "deactivated",
}  # fmt: skip


def lines(identity_id: str) -> Sequence[SessionLine]:
    """Sessions of somebody, for whoever may list them."""
    return wiring.backend().sessions.lines(identity.current(), of=identity_id)


def card(found: Sequence[SessionLine], now: datetime, *, whose: str, identity_id: str, own: bool, ends: bool) -> None:
    """Those that run, and the last few that are over."""
    running = [one for one in found if one.state == "active"]
    over = [one for one in found if one.state != "active"][:_MOST_OVER]
    here = acting.session() if own else None
    with components.card("Sessions", f"{len(running)} running") as head:
        if ends and running and head.button("Sign out everywhere", icon=":material/logout:", key="sessions.all"):
            _ask_all(whose, identity_id, own=own)
        for one in running:
            this = here is not None and one.id == here.session_id
            if _row(one, now, this=this, ends=ends and not this):
                _ask_one(one, whose, own=own)
        for one in over:
            _row(one, now, this=False, ends=False)
        if not found:
            signs_in = wiring.backend().sign_in is not None
            why = "Sessions stand here once somebody signs in." if signs_in else "Nobody signs in here: see docs/sign-in.md."
            components.empty("No session", why, icon="login")


def _row(one: SessionLine, now: datetime, *, this: bool, ends: bool) -> bool:
    """One session; whether its button was clicked."""
    title = escape(one.device or "A browser that does not say what it is", 80)
    mark = " :blue-badge[:material/my_location: This one]" if this else ""
    why = f" · {_WHY.get(one.ended_why, 'ended')}" if one.ended_why is not None else ""
    idle = f" · last click {times.age(one.used_at, now)}"
    about = f"{escape(provider_title(one.provider))} · signed in {times.both(one.opened_at, now)}{idle}{why}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.markdown(f"**{title}** {badge('session', one.state)}{mark}  \n:small[:gray[{about}]]", width="stretch")
        return ends and st.button("End", key=f"end.{one.id}")


def provider_title(name: str) -> str:
    """How the settings call a provider."""
    settings = wiring.backend().sign_in
    found = settings.provider(name) if settings is not None else None
    return found.title if found is not None else name


def _ask_one(one: SessionLine, whose: str, *, own: bool) -> None:
    device = escape(one.device or "that browser", 80)
    wanted = dialogs.Ask(
        says=(f"The session of **{escape(whose, 80)}** on {device} ends now, on open pages too. Others go on.",),
        confirm="End it",
        done="Ended.",
        hint="What happened?",
        icon="logout",
    )
    sessions = wiring.backend().sessions
    dialogs.ask(
        "End a session", lambda: wanted, lambda reason: sessions.revoke(identity.current(), one.id, "" if own else reason)
    )


def _ask_all(whose: str, identity_id: str, *, own: bool) -> None:
    if own:
        _ask_own()
        return
    wanted = dialogs.Ask(
        says=(
            f"Every session of **{escape(whose, 80)}** ends now, on open pages too. Tokens and roles stay as they are; to keep "
            "somebody out, deactivate the identity.",
        ),
        confirm="End the sessions",
        done="The sessions are ended.",
        hint="What happened?",
        icon="logout",
    )
    sessions = wiring.backend().sessions
    dialogs.ask("End sessions", lambda: wanted, lambda reason: sessions.end_of(identity.current(), identity_id, reason))


def _ask_own() -> None:
    @dialogs.framed("Sign out everywhere")
    def opened() -> None:
        st.markdown(
            "Every session of yours ends now, on open pages and on other devices too, **this one as well**. Your tokens stay: "
            "revoke those that you do not trust."
        )
        if dialogs.decide("Sign out everywhere", "everywhere.confirm", icon="logout"):
            acting.sign_out_everywhere()

    opened()
