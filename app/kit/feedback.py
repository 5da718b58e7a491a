"""What a person is told when something is refused, fails, or is done; the details go to the log under a short id.

A page has no `try`: `shown()` stands around every page, every live part and every action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import streamlit as st
import structlog
from sqlalchemy.exc import OperationalError

from app.kit.plain import escape
from backend.core.columns import new_id
from backend.core.errors import ExternalFailure, Refusal

_TOLD = "feedback.told"


@dataclass
class Outcome:
    """Whether the block under `shown()` came to its end."""

    ok: bool = True


@contextmanager
def shown() -> Iterator[Outcome]:
    """Draws whatever is raised inside where it was raised; Streamlit's own stops and reruns pass through."""
    outcome = Outcome()
    try:
        yield outcome
    except Exception as error:
        outcome.ok = False
        tell(error)


def tell(error: Exception) -> bool:
    """Draws one error in the words that fit it. Returns True: nothing more needs to be shown (`st.App.on_script_error`)."""
    if isinstance(error, Refusal):
        refused(error)
    elif isinstance(error, ExternalFailure):
        failed(error)
    elif isinstance(error, OperationalError):
        failed(ExternalFailure("The database", "does not answer", retryable=True), logged=error)
    else:
        defect(error)
    return True


def refused(refusal: Refusal) -> None:
    """A refusal: what was refused and why, then what to do next. Nothing was changed."""
    st.warning(f"**{escape(refusal.message, 1000)}**  \n{escape(refusal.remedy, 1000)}", icon=":material/front_hand:")


def failed(failure: ExternalFailure, *, logged: Exception | None = None) -> None:
    """Another system failed: which one, what was kept, and what happens next."""
    short = _log("external_failure", logged or failure)
    kept = "It may have taken effect there all the same." if failure.applied_unknown else "Nothing was changed there."
    then = (
        "Try again in a moment; nothing needs to be corrected." if failure.retryable else "Correct that system, then try again."
    )
    where = f":small[Details are in the log under **{short}**.]"
    st.error(
        f"**{escape(str(failure), 1000)}.** What you entered is kept. {kept} {then}  \n{where}", icon=":material/cloud_off:"
    )


def defect(error: Exception) -> None:
    """A defect of ours: a short id on screen, the traceback in the log."""
    short = _log("page_failed", error)
    st.error(
        f"**Something went wrong here.** It is not your doing, and nothing half done was kept. Reload the page to go on; if it "
        f"happens again, give **{short}** to whoever runs Countersign.",
        icon=":material/bug_report:",
    )


def done(text: str, icon: str = "check_circle") -> None:
    """Says after the next run that something was done. `text` is Markdown, escaped by whoever wrote it, and may hold a link."""
    st.session_state.setdefault(_TOLD, []).append((text, icon))


def show_done() -> None:
    """Draws what `done` left; once a run, by the entry script."""
    for text, icon in st.session_state.pop(_TOLD, []):
        st.toast(text, icon=f":material/{icon}:", duration="long")


def act(command: Callable[[], object], says: str) -> None:
    """Runs a command and, when it came through, draws the page anew with a message; else tells where the person looks."""
    with shown() as outcome:
        command()
    if outcome.ok:
        done(says)
        st.rerun()


def _log(event: str, error: Exception) -> str:
    short = new_id("err")[-8:]
    structlog.get_logger().error(event, error_id=short, exc_info=error)
    return short
