"""Who acts in this run: somebody who signed in at a provider, or a demo identity on a machine of one's own.

The backend is asked anew on every run, in every live part and before every command, so that a session that was ended, or an
identity that was deactivated, does nothing more on pages that are still open. What somebody may do is decided by the services.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NoReturn, TypeVar

import streamlit as st

from app import wiring
from app.edge import COOKIE
from backend.access.devices import device
from backend.access.sessions import SignedIn
from backend.core.context import Actor
from backend.core.errors import Refusal

_NAME, _ACTOR = "identity.name", "identity.actor"
_ASKED, _BY_ITSELF = "identity.asked", "identity.by_itself"
T = TypeVar("T")
_MOST_BROWSERS = 10_000
ASKED_EVERY = 1.0
"""Seconds within which the parts of one run do not ask again about the session. Services ask about the identity each time."""


class Browsers:
    """Which demo identity each browser chose; the oldest choice goes when there are too many. Kept in memory."""

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


def recall() -> Actor | None:
    """The actor of this run, asked of the backend; None when nobody is there yet. SignedOut, Refusal, ExternalFailure."""
    by_click = not st.session_state.pop(_BY_ITSELF, False)
    st.session_state.pop(_ACTOR, None)  # whoever does not count any more acts no more
    actor = _recalled(by_click=by_click)
    if actor is None:
        return None
    st.session_state[_ACTOR], st.session_state[_ASKED] = actor, time.monotonic()
    return actor


def current() -> Actor:
    """Who acts in this session, now. Refusal where nobody is there, which only a stale live part can meet."""
    actor = st.session_state.get(_ACTOR)
    if not isinstance(actor, Actor):
        _nobody()
    if signed_in_by_provider() and time.monotonic() > st.session_state.get(_ASKED, 0.0) + ASKED_EVERY:
        _recalled(by_click=False)
        st.session_state[_ASKED] = time.monotonic()
    return actor


def ask_again() -> None:
    """For a part that refreshes itself: where whoever looks does not count any more, the page is drawn anew and says so."""
    if _ACTOR not in st.session_state:
        return  # the entry script found nobody, and drew no page of anybody
    try:
        gone = _recalled(by_click=False) is None
    except Refusal:
        gone = True
    if gone:
        st.rerun(scope="app")


def while_here(make: Callable[[], T]) -> Callable[[], T]:
    """The same, for what Streamlit calls after the run and away from it: it refuses where whoever looks now, in this run,
    does not count any more then. Streamlit calls it without a run, so that who looks has to be kept from here."""
    if signed_in_by_provider():
        told, resume = st.user.to_dict(), wiring.backend().sessions.resume
        return lambda: make() if resume(told, by_click=False) is not None else _nobody()
    name, act_as = st.session_state.get(_NAME), wiring.backend().identities.act_as
    return lambda: make() if name is not None and act_as(name) is not None else _nobody()


def _nobody() -> NoReturn:
    raise Refusal("Nobody is signed in here any more.", "Reload the page and sign in.", code="no-identity")


def redraw() -> None:
    """Draws the page anew without that anybody clicked: an open page must not keep a session from ending."""
    st.session_state[_BY_ITSELF] = True
    st.rerun(scope="app")


def choose(name: str | None) -> None:
    """Acts as a demo identity from now on, in this browser; None goes back to the choice."""
    for key in (_NAME, _ACTOR):
        st.session_state.pop(key, None)
    if name is not None:
        st.session_state[_NAME] = name
    _browsers.remember(_browser(), name)


def signed_in_by_provider() -> bool:
    """Whether this browser brought a provider's sign-in, good or not."""
    return wiring.backend().sign_in is not None and st.user.to_dict().get("is_logged_in") is True


def session() -> SignedIn | None:
    """The session at a provider, where there is one."""
    return wiring.backend().sessions.resume(st.user.to_dict(), by_click=False) if signed_in_by_provider() else None


def sign_out() -> None:
    """Ends the session, then lets the browser forget it and the provider end its own."""
    wiring.backend().sessions.end(st.user.to_dict())
    st.logout()


def sign_out_everywhere() -> None:
    """The same for every session of whoever acts."""
    wiring.backend().sessions.end_everywhere(current())
    st.logout()


def chosen(browser: str) -> Actor | None:
    """The demo identity that a browser of this number chose; for what is asked for by address, away from any run."""
    name = _browsers.recall(browser)
    if name is None or not wiring.backend().settings.demo_identities:
        return None
    return wiring.backend().identities.act_as(name)


def _recalled(*, by_click: bool) -> Actor | None:
    if signed_in_by_provider():
        return _signed_in(by_click=by_click).actor
    name = st.session_state.get(_NAME) or _browsers.recall(_browser())
    if name is None or not wiring.backend().settings.demo_identities:
        return None
    st.session_state[_NAME] = name
    return wiring.backend().identities.act_as(name)


def _signed_in(*, by_click: bool) -> SignedIn:
    sessions, told = wiring.backend().sessions, st.user.to_dict()
    found = sessions.resume(told, by_click=by_click)
    if found is not None:
        return found
    on = device(st.context.headers.get("User-Agent"))
    return sessions.open(told, str(st.user.tokens.get("id") or ""), device=on)


def _browser() -> str:
    return st.context.cookies.get(COOKIE, "")
