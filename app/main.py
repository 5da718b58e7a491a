"""The entry script: runs anew for every interaction, decides who looks, and draws the page that the address names."""

from __future__ import annotations

from functools import partial

import streamlit as st

from app import acting, identity, menu, ways, wiring
from app.kit import components, dialogs, feedback
from backend.access.claims import SignedOut
from backend.core import context
from backend.core.columns import new_id
from backend.core.errors import CountersignError


def run() -> None:
    """One run for one session."""
    context.request_id.set(new_id("req"))
    icon = str(menu.STATIC / "icon.svg")
    st.set_page_config(page_title="Countersign", page_icon=icon, layout="wide", initial_sidebar_state=216)
    menu.logo()
    page = page_to_draw()
    st.session_state[components.HEADED] = False
    dialogs.page_begins()
    title = st.empty()
    with feedback.shown() as outcome:
        page.run()
    if not outcome.ok and not st.session_state[components.HEADED]:
        title.header(page.title, anchor=False)


def page_to_draw() -> st.Page:
    """The page that the address names, or what stands before every page: an outage, the way in, or that nothing is open."""
    try:
        wiring.require_ready()
        actor = acting.recall()
        wiring.look_as(actor)
        if actor is None:
            return menu.instead(identity.way_in, "Sign in")
        if identity.has_no_role():
            return menu.instead(identity.no_role, "No role")
        page = menu.pages()
        ways.here(page.url_path or menu.PAGES[0].file)
    except SignedOut as why:
        return menu.instead(partial(identity.signed_out, why), "Signed out")
    except Exception as error:
        return menu.instead(partial(_not_ready, error), "Not ready")
    identity.switcher(actor)
    feedback.show_done()
    return page


def _not_ready(error: Exception) -> None:
    """What is wrong, at every address; the same address is tried again on the next run."""
    readable = isinstance(error, CountersignError)
    st.header("Countersign cannot show this now" if readable else "Countersign has a problem", anchor=False)
    feedback.tell(error)
    with st.container(horizontal=True):
        st.button("Try again", icon=":material/refresh:")
        if wiring.backend().settings.demo_identities:
            st.button("Act as somebody else", icon=":material/switch_account:", on_click=identity.choose, args=(None,))


run()
