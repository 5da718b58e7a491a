"""Parts of a page that refresh by themselves and leave alone what the person typed or selected elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import streamlit as st

from app.kit import feedback

P = ParamSpec("P")

EVERY = 5.0
"""Seconds between two looks of a live part."""


def live(draw: Callable[P, None], *, every: float = EVERY) -> Callable[P, None]:
    """A part that is drawn anew every few seconds. It takes values in, opens its own look, and may fail alone."""

    @wraps(draw)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        with feedback.shown():
            draw(*args, **kwargs)

    return st.fragment(guarded, run_every=every)
