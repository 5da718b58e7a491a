"""A plain rollout's arms beside each other, as a part of its change's page."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.compared import arms, course, guardrails, sound, words
from app.kit import components, times
from app.kit.plain import escape
from app.wiring import Reading
from backend.experiments.comparing import showing
from backend.experiments.comparing.views import ComparisonView, Point

MOST_REASONS = 6


def read(look: Reading, change_id: str) -> tuple[ComparisonView, Sequence[Point]] | None:
    """What a change's arms came to, with its looks; None where nothing is compared."""
    found = showing.of_change(look.session, change_id, now=look.now)
    return (found, showing.series(look.session, found.id)) if found is not None else None


def answer(found: ComparisonView) -> None:
    """The sentence, what carries it, and why it is decided so."""
    components.answer(words.headline(found), *words.badges(found))
    reasons(found)


def reasons(found: ComparisonView) -> None:
    """Why it is decided so, and what is wrong with the looks."""
    said = [f":small[:gray[{escape(one, 400)}]]" for one in found.reasons[:MOST_REASONS]]
    if said:
        st.markdown("  \n".join(said))
    if found.problem:
        kept = "What stands here is of the look before; the next one tries again."
        st.warning(f"**The latest look failed.** {escape(found.problem, 300)} {kept}", icon=":material/sync_problem:")
    elif found.stale:
        step = "See whether a worker runs (`countersign worker`)."
        st.warning(f"**No look came lately.** {escape(found.standing.reason, 300)} {step}", icon=":material/history:")


def draw(look: Reading, change_id: str) -> None:
    """The panel; nothing where nothing is compared."""
    told = read(look, change_id)
    if told is None:
        return
    found, points = told
    age = times.both(found.looked_at, look.now) if found.looked_at is not None else "no look yet"
    with components.card("Arms beside each other", age):
        answer(found)
    if found.figures is None:
        return
    guardrails.card(found)
    arms.card(found)
    course.effect(found, points, key="compared.effect")
    sound.card(found, key="compared.exposure")
