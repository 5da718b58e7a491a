"""Dialogs, and the one that stands before every click that touches production: what exactly will happen, and why it is wanted.

A dialog lives until its page is run anew; parts that refresh themselves ask `is_open` before they ask for that. One that is
dismissed (Escape, its cross, a click beside it) has the page run anew, as Cancel does: what was chosen in it is forgotten then,
and does not stand there when it is opened for something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Literal, ParamSpec

import streamlit as st

from app import acting
from app.kit import components, feedback

LONGEST_REASON = 2_000
_IS_OPEN = "dialogs.is_open"
P = ParamSpec("P")


def page_begins() -> None:
    """Said by the entry script: a new run of a page closes whatever was open."""
    st.session_state[_IS_OPEN] = False


def is_open() -> bool:
    """Whether a dialog was opened since the page was run."""
    return bool(st.session_state.get(_IS_OPEN))


def framed(title: str, *, width: Literal["medium", "large"] = "medium") -> Callable[[Callable[P, None]], Callable[P, None]]:
    """`st.dialog` that notes that it is open, and asks on every run of its own whether whoever looks still counts.

    Where whoever looks was signed out or deactivated meanwhile, the whole page says so instead.
    """

    def around(draw: Callable[P, None]) -> Callable[P, None]:
        @wraps(draw)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
            with feedback.shown():
                acting.ask_again()
                draw(*args, **kwargs)

        @wraps(draw)
        def opened(*args: P.args, **kwargs: P.kwargs) -> None:
            st.session_state[_IS_OPEN] = True
            st.dialog(title, width=width, on_dismiss="rerun")(guarded)(*args, **kwargs)

        return opened

    return around


def decide(label: str, key: str, *, icon: str = "", disabled: bool = False) -> bool:
    """What ends a dialog, at its right: Cancel, which closes it, and the act beside it. Whether the act was clicked."""
    with st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        if st.button("Cancel", key=f"{key}.cancel"):
            st.rerun()
        return st.button(label, key=key, type="primary", icon=f":material/{icon}:" if icon else None, disabled=disabled)


@dataclass(frozen=True)
class Ask:
    """What a dialog says, in absolute terms.

    Args:
        says: paragraphs of Markdown about what will be so afterwards ("Version 3 gets 25 %, version 2 keeps 75 %"), escaped.
        confirm: the button's words ("Freeze production").
        done: what is said when it came through; Markdown, escaped.
        hint: what a good reason answers.
        rows, head: a table of what is now and what will be.
        warning: what stands against it, if anything; Markdown, escaped.
        also: what else is admitted by it, below the table; Markdown, escaped.
        label: what the reason is called, and where it is kept.
    """

    says: Sequence[str]
    confirm: str
    done: str
    hint: str = "Why is this right, now?"
    rows: Sequence[Sequence[str]] = ()
    head: Sequence[str] | None = None
    warning: str = ""
    icon: str = "check"
    also: str = ""
    label: str = "Reason (goes to the ledger)"


def ask(title: str, draw: Callable[[], Ask], act: Callable[[str], object]) -> None:
    """Opens the dialog.

    Args:
        draw: draws what else is asked, if anything, and says what follows from it; called on every run of the dialog.
        act: the command; gets the reason, and is called only with one. What was typed stays when it is refused.
    """

    @framed(title)
    def opened() -> None:
        with feedback.shown():
            _body(title, draw(), act)

    opened()


def _body(title: str, wanted: Ask, act: Callable[[str], object]) -> None:
    for paragraph in wanted.says:
        st.markdown(paragraph)
    if wanted.rows:
        components.table(wanted.rows, wanted.head, alt=title)
    if wanted.also:
        st.markdown(wanted.also)
    if wanted.warning:
        st.warning(wanted.warning, icon=":material/warning:")
    reason = st.text_area(
        wanted.label,
        key=f"reason.{title}",
        height=76,
        max_chars=LONGEST_REASON,
        placeholder=wanted.hint,
        required=True,
    )
    if decide(wanted.confirm, f"confirm.{title}", icon=wanted.icon):
        _confirmed(wanted, act, (reason or "").strip())


def _confirmed(wanted: Ask, act: Callable[[str], object], reason: str) -> None:
    """The text area hands its text over when it loses the focus, which the click did: so it is judged here, not before."""
    if not reason:
        st.error("Not done: write the reason, then confirm again.", icon=":material/error:")
        return
    feedback.act(lambda: act(reason), wanted.done)
