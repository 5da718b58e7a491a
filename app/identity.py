"""What stands before every page: signing in, being signed out, having no role; and who acts, at the foot of the sidebar.

Who acts is asked in `app/acting.py`. What somebody may do is decided by the services, whatever a page offers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import streamlit as st

from app import acting, wiring
from app.acting import choose, current, recall
from app.deep_links import TOLD
from app.kit import components, feedback
from app.kit.live import live
from app.kit.plain import escape
from backend.access import queries, rules
from backend.access.checks import require_to_read
from backend.access.claims import SignedOut
from backend.access.rules import Grant, Role
from backend.access.service import DEMO
from backend.access.sign_in_file import Provider
from backend.core.context import Actor
from backend.core.errors import ExternalFailure

__all__ = ["choose", "current", "recall"]

ACCOUNT = str(wiring.ROOT / "pages" / "account.py")
"""The page of whoever looks: roles, sessions and tokens of one's own."""

DOES: dict[Role, str] = {
    "viewer": "Looks at everything that is not the ledger.",
    "contributor": "Registers versions and proposes changes.",
    "reviewer": "Reads the evidence, approves and rejects.",
    "operator": "Owns servers, endpoints and rollouts; may freeze.",
    "auditor": "Reads, verifies and exports the ledger.",
    "admin": "Sets policies and roles, lifts freezes; neither votes nor starts.",
}
"""Role -> what somebody with it does here, in a sentence."""


@dataclass(frozen=True)
class Rights:
    """What whoever looks may do at the moment of the look; asked of the database once a page."""

    grants: tuple[Grant, ...]
    now: datetime

    def may(self, action: str, environment: str | None = None, *, team: str | None = None) -> bool:
        """Whether a page should offer an action; the service decides all the same. `team`: its id."""
        return rules.may(self.grants, action, now=self.now, environment=environment, team=team)


def rights(look: wiring.Reading) -> Rights:
    """The rights of whoever looks. `recall` has found the identity active in this run; a command asks again."""
    return Rights(queries.held(look.session, current()), look.now)


def require(look: wiring.Reading, action: str) -> None:
    """Refusal unless whoever looks may read this."""
    require_to_read(look.session, current(), action, now=look.now)


def way_in() -> None:
    """The page before any other. The address stays, so that a deep link goes on."""
    backend = wiring.backend()
    if backend.sign_in is not None:
        sign_in()
    if backend.settings.demo_identities:
        picker()
    elif backend.sign_in is None:
        nobody()


def sign_in(title: str = "Sign in", says: str = "", more: Callable[[], None] | None = None) -> None:
    """The providers, each a button, with what happened before; `more` draws what else can be done."""
    settings = wiring.backend().sign_in
    outcome = _OUTCOMES.get(st.context.cookies.get(TOLD, ""))
    with _door():
        st.header(title, anchor=False)
        if says:
            st.info(says, icon=":material/logout:")
        elif outcome:
            st.warning(outcome, icon=":material/front_hand:")
        else:
            st.markdown(":small[:gray[Releases of models: what runs is what was approved, and it can be proved.]]")
        for provider in settings.providers if settings is not None else ():
            label, key = f"Sign in with {escape(provider.title)}", f"sign-in-{provider.name}"
            if st.button(label, key=key, icon=":material/login:", width="stretch"):
                _leave_for(provider)
        if more is not None:
            more()


@contextmanager
def _door() -> Iterator[None]:
    """The one card in the middle that stands before every page, below the word mark."""
    with st.container(horizontal_alignment="center"):
        st.space("large")
        with st.container(border=True, width=440, gap="small"):
            yield


_OUTCOMES = {
    "away": "**The provider did not answer.** Nobody new gets in while it is away; sessions that run go on.",
    "denied": "**You did not sign in.** The provider was told not to let you in here.",
    "failed": "**Signing in did not work.** What came back from the provider was not good. Try again from here.",
}
"""How the last attempt ended (`deep_links.OUTCOMES`) -> what is said of it."""


def _leave_for(provider: Provider) -> None:
    """Goes to a provider, if it answers."""
    try:
        wiring.backend().providers.ask(provider)
    except ExternalFailure:
        st.error(
            f"**{escape(provider.title)} does not answer.** Nobody can sign in with it now; sessions that run go on until they "
            "end. Try again in a moment.",
            icon=":material/cloud_off:",
        )
        return
    st.login(provider.name)


def signed_out(why: SignedOut) -> None:
    """That the session does not count any more, why, and the way in again."""
    out = _out_of_the_provider if why.code == "deactivated" else None
    sign_in("You are signed out", f"**{escape(why.message)}** {escape(why.remedy)}", out)


def _out_of_the_provider() -> None:
    st.button("Sign out of the provider", icon=":material/logout:", on_click=_forget, width="stretch")


def no_role() -> None:
    """That somebody is known and may do nothing yet, and whom to ask."""
    found, actor = acting.session(), current()
    with _door():
        st.header("You have no role here yet", anchor=False)
        components.empty(
            f"{escape(actor.name)}, nothing is open to you",
            "You are signed in, but none of your groups gives a role here, and nobody has given you one. Ask an admin of "
            "Countersign for a role, then sign in again.",
            icon="person_off",
        )
        if found is not None and found.overflow:
            st.warning(
                f"**{escape(found.provider)} left out your groups**, because you are in too many. An admin can map app roles.",
                icon=":material/group_off:",
            )
        st.button("Sign out", key="sign-out", icon=":material/logout:", on_click=acting.sign_out, width="stretch")


def has_no_role() -> bool:
    """Whether somebody who signed in holds no role at all; a demo identity always holds one."""
    if not acting.signed_in_by_provider():
        return False
    with wiring.reading() as look:
        mine = rights(look)
    return not any(one.in_force(mine.now) for one in mine.grants)


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
        "No provider is set up to sign in at (COUNTERSIGN_SIGN_IN_FILE), and the demo identities are switched off. To look "
        "around on a machine of your own, set COUNTERSIGN_DEMO_IDENTITIES=true, run `countersign migrate`, and start again.",
        icon="key_off",
    )


def switcher(actor: Actor) -> None:
    """Who acts, at the foot of the sidebar, and the way out or to somebody else."""
    found = acting.session()
    with st.sidebar, st.container(gap="xsmall"):
        st.markdown(f":small[**{escape(actor.name)}**  \n:gray[{escape(found.provider) if found else 'Demo identity'}]]")
        st.page_link(ACCOUNT, label="My access", icon=":material/badge:")
        if found is None:
            _act_as(actor)
        else:
            live(_still_here, every=STILL_HERE_EVERY)()
            st.menu_button("Sign out", [_HERE, _EVERYWHERE], key="sign-out", icon=":material/logout:", on_click=_leave)


def _act_as(actor: Actor) -> None:
    names = {name: shown for name, shown, _ in DEMO}
    choices = [*(name for name in names if names[name] != actor.name), ""]
    st.menu_button(
        "Act as",
        choices,
        key="switch-identity",
        icon=":material/switch_account:",
        format_func=lambda name: names.get(name, "Sign out"),
        on_click=_switch,
    )


STILL_HERE_EVERY = 10.0
"""Seconds after which a page that is only looked at notices that whoever looks was signed out or deactivated."""


def _still_here() -> None:
    """Draws nothing: `live` asks before it draws. Pages that refresh themselves ask more often."""


_HERE, _EVERYWHERE = "Sign out here", "Sign out everywhere"


def _leave() -> None:
    with feedback.shown():
        acting.sign_out_everywhere() if st.session_state["sign-out"] == _EVERYWHERE else acting.sign_out()


def _forget() -> None:
    with feedback.shown():
        acting.sign_out()


def _switch() -> None:
    choose(st.session_state["switch-identity"] or None)
