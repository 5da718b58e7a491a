"""Parts of a page that refresh by themselves and leave alone what the person typed or selected elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import streamlit as st

from app import acting
from app.kit import dialogs, feedback

P = ParamSpec("P")

EVERY = 5.0
"""Seconds between two looks of a live part."""


def live(draw: Callable[P, None], *, every: float = EVERY) -> Callable[P, None]:
    """A part that is drawn anew every few seconds. It takes values in, opens its own look, and may fail alone.

    Where whoever looks was signed out or deactivated meanwhile, the whole page says so instead.
    """

    @wraps(draw)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        with feedback.shown():
            acting.ask_again()
            draw(*args, **kwargs)

    return st.fragment(guarded, run_every=every)


def moved_on(said: str, *, by_itself: bool = True) -> None:
    """For a live part that finds another object than the page was drawn from: draws the page anew.

    Where that would close a dialog, or is not wanted (`by_itself`), the person is told and does it by a click.

    Args:
        said: Markdown, escaped.
    """
    if by_itself and not dialogs.is_open():
        acting.redraw()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.info(said, icon=":material/update:")
        if st.button("Show it as it is now", key="moved.show", icon=":material/refresh:"):
            st.rerun(scope="app")
