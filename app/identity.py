"""Whom a person acts as. Until single sign-on stands, that is one of the built-in demo identities, on a loopback bind only.

The choice is kept in the session and, under the browser's cookie (app/edge.py), in this process, so that it outlives a reload.
Every run asks the backend again: an identity that was deactivated meanwhile is told so. What it may do is decided by the
services, whatever a page offers.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

import streamlit as st

from app import wiring
from app.edge import COOKIE
from app.kit import components
from app.kit.plain import escape
from backend.access import queries, rules
from backend.access.rules import Grant, Role
from backend.access.service import DEMO, require_to_read
from backend.core.context import Actor
from backend.core.errors import Refusal

_NAME, _ACTOR = "identity.name", "identity.actor"
_MOST_BROWSERS = 10_000

DOES: dict[Role, str] = {
    "viewer": "Looks at everything that is not the ledger.",
    "contributor": "Registers versions and proposes changes.",
    "reviewer": "Reads the evidence, approves and rejects.",
    "operator": "Owns servers, endpoints and rollouts; may freeze.",
    "auditor": "Reads, verifies and exports the ledger.",
    "admin": "Sets policies and roles, lifts freezes; neither votes nor starts.",
}
"""Role -> what somebody with it does here, in a sentence."""


class Browsers:
    """Which identity each browser chose; the oldest choice goes when there are too many. Kept in memory."""

    def __init__(self, most: int = _MOST_BROWSERS) -> None:
        self._most = most
        self._chosen: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, browser: str, name: str | None) -> None:
        """Keeps a browser's choice; None forgets it. Browsers without a number are strangers to each other."""
        if not browser:
            return
        with self._lock:
            self._chosen.pop(browser, None)
            if name is not None:
                self._chosen[browser] = name
            while len(self._chosen) > self._most:
                self._chosen.popitem(last=False)

    def recall(self, browser: str) -> str | None:
        """What this browser chose, if it is still known."""
        with self._lock:
            return self._chosen.get(browser)


_browsers = Browsers()


def current() -> Actor:
    """Who acts in this session. Refusal where nobody has been chosen, which only a stale live part can meet."""
    actor = st.session_state.get(_ACTOR)
    if not isinstance(actor, Actor):
        raise Refusal("Nobody is signed in here any more.", "Reload the page and choose whom to act as.", code="no-identity")
    return actor


def recall() -> Actor | None:
    """The session's actor, asked of the backend anew; None when nobody has been chosen yet."""
    name = st.session_state.get(_NAME) or _browsers.recall(_browser())
    if name is None:
        return None
    st.session_state[_NAME] = name
    st.session_state[_ACTOR] = wiring.backend().identities.act_as(name)
    return current()


def choose(name: str | None) -> None:
    """Acts as a demo identity from now on, in this browser; None signs out."""
    for key in (_NAME, _ACTOR):
        st.session_state.pop(key, None)
    if name is not None:
        st.session_state[_NAME] = name
    _browsers.remember(_browser(), name)


@dataclass(frozen=True)
class Rights:
    """What whoever looks may do at the moment of the look; asked of the database once a page."""

    grants: tuple[Grant, ...]
    now: datetime

    def may(self, action: str, environment: str | None = None) -> bool:
        """Whether a page should offer an action; the service decides all the same."""
        return rules.may(self.grants, action, now=self.now, environment=environment)


def rights(look: wiring.Reading) -> Rights:
    """The rights of whoever looks. `recall` has found the identity active in this run; a command asks again."""
    return Rights(queries.grants(look.session, current().id), look.now)


def require(look: wiring.Reading, action: str) -> None:
    """Refusal unless whoever looks may read this."""
    require_to_read(look.session, current(), action, now=look.now)


def picker() -> None:
    """The page before any other: choose one of the demo identities. The address stays, so that a deep link goes on."""
    st.header("Whom do you act as?", anchor=False)
    st.markdown(
        "This installation runs with built-in demo identities: separate people, each with one role, so that you can walk a "
        "change through every hand. It answers on this machine only. The choice belongs to the browser: to be two people "
        "side by side, open a private window for the second."
    )
    with st.grid(columns=3, min_column_width=240, gap="small", border=True) as grid:
        for name, shown, role in DEMO:
            with grid.cell(), st.container(gap="xsmall"):
                st.markdown(f"**{escape(shown)}**  \n:small[:gray[{DOES[role]}]]")
                st.button(f"Act as {name.capitalize()}", key=f"act-as-{name}", on_click=choose, args=(name,))


def nobody() -> None:
    """Why nobody can sign in."""
    st.header("Nobody can sign in here yet", anchor=False)
    components.empty(
        "There is no way in",
        "The demo identities are switched off, and single sign-on is not built yet. To look around on a machine of your own, "
        "set COUNTERSIGN_DEMO_IDENTITIES=true, run `countersign migrate`, and start again.",
        icon="key_off",
    )


def switcher(actor: Actor) -> None:
    """Who acts, at the foot of the sidebar, and the way to act as somebody else."""
    names = {name: shown for name, shown, _ in DEMO}
    choices = [*(name for name in names if names[name] != actor.name), ""]
    with st.sidebar, st.container(gap="xsmall"):
        st.markdown(f":small[**{escape(actor.name)}**  \n:gray[Demo identity]]")
        st.menu_button(
            "Act as",
            choices,
            key="switch-identity",
            icon=":material/switch_account:",
            format_func=lambda name: names.get(name, "Sign out"),
            on_click=_switch,
        )


def _switch() -> None:
    choose(st.session_state["switch-identity"] or None)


def _browser() -> str:
    return st.context.cookies.get(COOKIE, "")
