"""Model cards: the editor with its template and preview, the card as it is, and its history.

What somebody types stays in the session until it is saved or given up, whatever else happens to the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import streamlit as st

from app import identity, ways, wiring
from app.kit import components, feedback, times
from app.kit.addresses import number_in
from app.kit.outline import harmless
from app.kit.plain import escape
from app.kit.states import tag
from backend.core.errors import NotFound
from backend.registry import catalog
from backend.registry.cards import CardView
from backend.registry.rules import LONGEST_CARD, LONGEST_SUMMARY

_SHORT = 1_500
TEMPLATE = """\
## What it is for

Who uses it, for which decision, and what it must not be used for.

## Data

What it was trained and tested on, from when to when, and what is missing in it.

## How good it is

The measure that matters, on which data, and against what it was compared.

| Group | Measure | Value |
|---|---|---|
|  |  |  |

## Where it fails

Known weak spots, groups that it treats worse, inputs that it must not be asked about.

## Ethics and privacy

Personal data, consent, and what a wrong answer costs whom.

## Running it

Latency, what it needs, who is called when it misbehaves.
"""
"""After Mitchell et al., "Model Cards for Model Reporting" (2019), shortened to what reviewers here ask."""


def draw(found: CardView | None) -> None:
    """The card, rendered harmless; or why there is none."""
    if found is None:
        components.empty(
            "Nobody has written a card",
            "A card says what the model is for, on which data it was measured, and where it fails.",
            icon="description",
        )
        return
    st.markdown(harmless(found.text))


def note(found: CardView | None, look: wiring.Reading) -> str:
    """Revision, who and when, beside the title. Markdown."""
    if found is None:
        return "none yet"
    return f"revision {found.revision} by {escape(found.written_by_name)}, {times.age(found.written_at, look.now)}"


def described(of_model: str, number: int | None, of_version: str) -> None:
    """The registry's own descriptions: somebody's Markdown as well."""
    said = [("Of the model", of_model), *([(f"Of version {number}", of_version)] if number is not None else [])]
    for what, text in said:
        st.markdown(f":small[:gray[{what}]]")
        if text.strip():
            st.markdown(harmless(text if len(text) <= _SHORT else f"{text[:_SHORT]}…"))
        else:
            st.markdown(":small[:gray[Nothing.]]")


def edit(model: str, newest: CardView | None) -> None:
    """The editor beside its preview. What it began with is remembered, so that nobody overwrites what they never saw."""
    begun = st.session_state.setdefault(_key(model, "begun"), newest.revision if newest is not None else 0)
    st.session_state.setdefault(_key(model, "text"), newest.text if newest is not None else "")
    _warn_of_others(model, begun, newest)
    left, right = components.pair()
    with left, components.card("Text", "Markdown", border=False) as head:
        head.button("Insert the template", icon=":material/post_add:", on_click=_insert, args=(model,), type="tertiary")
        text = st.text_area(
            "Text",
            key=_key(model, "text"),
            height=460,
            max_chars=LONGEST_CARD,
            label_visibility="collapsed",
            persist_state="session",
        )
    with right, components.card("Preview", "as others see it, once you leave the text", border=False):
        st.markdown(harmless(text or "") or ":small[:gray[Nothing yet.]]")
    _save(model, text or "", begun)


def history(model: str, found: Sequence[CardView], shown: int | None, look: wiring.Reading) -> None:
    """Every revision, the newest first, each to be opened."""
    for one in found:
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
            what = escape(one.summary) or ("first text" if one.revision == 1 else "no summary")
            who = f"{escape(one.written_by_name)}, {times.both(one.written_at, look.now)}"
            st.markdown(f":small[**{one.revision}: {what}**  \n:gray[{who} · {components.short(one.digest)}]]", width="stretch")
            if one.revision == shown:
                st.markdown(tag("Shown", "visibility"))
            elif st.button("Show", key=f"revision.{one.revision}", type="tertiary"):
                ways.go("card", model=model, revision=one.revision)
    if not found:
        components.empty("No revision yet", "The first text that is saved becomes revision 1.", icon="history")


def take_over(model: str, old: CardView) -> NoReturn:
    """An earlier revision's text becomes what the editor holds; it is saved as a new revision or not at all."""
    st.session_state[_key(model, "text")] = old.text
    st.session_state[_key(model, "summary")] = f"Back to revision {old.revision}"
    ways.go("card", model=model)


def kept_badge(model: str) -> list[str]:
    """Says that the editor holds what was not saved."""
    return [tag("Not saved yet", "edit_note", "orange")] if _key(model, "text") in st.session_state else []


def revision_in(text: str) -> int | None:
    """The revision that an address names; None for none."""
    if not text:
        return None
    if (number := number_in(text)) is None:
        raise NotFound("revision of this card", text[:20], "Open the card's history.")
    return number


def existing(look: wiring.Reading, model: str) -> str:
    """The name again. NotFound where there is no such model."""
    if catalog.one(look.session, model) is None:
        raise NotFound("model", model, "Look in the list of models.")
    return model


def _warn_of_others(model: str, begun: int, newest: CardView | None) -> None:
    if newest is None or newest.revision == begun:
        return
    st.warning(
        f"**{escape(newest.written_by_name)} saved revision {newest.revision} while you were writing on revision {begun}.** "
        f"Compare both in the history, take over what you need, then go on from theirs: your text stays in the editor.",
        icon=":material/group:",
    )
    st.button(f"Go on from revision {newest.revision}", on_click=_rebase, args=(model, newest.revision))


def _save(model: str, text: str, begun: int) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        summary = st.text_input(
            "What you changed, and why",
            key=_key(model, "summary"),
            max_chars=LONGEST_SUMMARY,
            placeholder="Numbers of July",
            persist_state="session",
        )
        if st.button("Give up", key="give-up"):
            forget(model)
            ways.go("model", model=model)
        saved = st.button("Save", type="primary", icon=":material/save:", key="save")
    if saved:
        with feedback.shown() as outcome:
            revision = wiring.backend().cards.write(identity.current(), model, text, revision=begun, summary=summary or "")
        if outcome.ok:
            forget(model)
            feedback.done(f"Saved as revision {revision} of the card of {escape(model, 60)}.")
            ways.go("model", model=model)


def forget(model: str) -> None:
    """Empties the editor."""
    for part in ("begun", "text", "summary"):
        st.session_state.pop(_key(model, part), None)


def _insert(model: str) -> None:
    text = st.session_state.get(_key(model, "text"), "")
    st.session_state[_key(model, "text")] = f"{text.rstrip()}\n\n{TEMPLATE}" if text.strip() else TEMPLATE


def _rebase(model: str, revision: int) -> None:
    st.session_state[_key(model, "begun")] = revision


def _key(model: str, part: str) -> str:
    return f"card.{part}.{model}"
