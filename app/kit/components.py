"""The few shapes that every page is made of: header row, cards, facts, tables, feeds, digests, empty states.

Whatever a caller passes as Markdown must be escaped already (`app.kit.plain.escape`); parameters named `title`, `note`, `label`
and `value` are Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import streamlit as st

from app import ways
from app.kit import feedback, times
from app.kit.plain import escape

NBSP = "\u00a0"
HEADED = "components.headed"
"""Whether this run has drawn a page's header: a page that is refused before gets its title from the entry script."""


@contextmanager
def header(
    title: str,
    *badges: str,
    meta: str = "",
    back: tuple[str, str] | None = None,
    draw: Callable[[], None] | None = None,
) -> Iterator[None]:
    """One row: title and state badges left; right, what the body draws (at most one primary action, the rest in a menu).

    Args:
        meta: one line of facts below: where, whose, when with zone and age.
        back: (label, page in `pages/`) of the list that this page belongs to.
        draw: draws the badges instead, where they are a live part; one element that stretches.
    """
    st.session_state[HEADED] = True
    with st.container(gap="xxsmall"):
        if back is not None and st.button(back[0], icon=":material/arrow_back:", type="tertiary", key="back"):
            ways.up(back[1])
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.header(title, anchor=False, width="content")
            if draw is not None:
                draw()
            else:
                st.markdown(" ".join(badges) or NBSP, width="stretch")
            yield
        if meta:
            st.markdown(f":small[:gray[{meta}]]")


def place() -> Any:
    """A place in a header row for controls that are drawn last: whoever clicks them has what they are about before them."""
    return st.container(horizontal=True, vertical_alignment="center", gap="small", width="content")


@contextmanager
def card(title: str, note: str = "", *, border: bool = True, key: str | None = None) -> Iterator[Any]:
    """A section: bold title, muted unit or scope beside it; the yielded container takes a control at the right.

    `border=False` in a cell of `pair()`, which is the frame itself.
    """
    with st.container(border=border, gap="xsmall", key=key):
        head = st.container(horizontal=True, vertical_alignment="center", gap="small")
        with head:
            st.subheader(title, anchor=False, width="content")
            st.markdown(f":small[:gray[{note}]]" if note else NBSP, width="stretch")
        yield head


def parts(draws: Mapping[str, Callable[[], None]], *, key: str) -> None:
    """A page in parts, each under its name as a tab with an address of its own (`?part=Teams`; small letters serve too).

    Only the open one is drawn, and fails alone.
    """
    names = {name.casefold(): name for name in draws}
    asked = st.query_params.get(key, "")
    if key not in st.session_state and asked not in draws and asked.casefold() in names:
        st.session_state[key] = names[asked.casefold()]
    for tab, draw in zip(st.tabs(list(draws), key=key, bind="query-params"), draws.values(), strict=True):
        if tab.open:
            with tab, feedback.shown():
                draw()


def four() -> list[Any]:
    """Four bordered cells: one row on a wide page, two by two on a narrow one (a plain grid would give three and one)."""
    cells: list[Any] = []
    with st.grid(columns=2, min_column_width=340, gap="small") as outer:
        for _ in range(2):
            with outer.cell():
                inner = st.grid(columns=2, min_column_width=150, border=True, gap="small")
            cells += [inner.cell(), inner.cell()]
    return cells


def main_and_side() -> tuple[Any, Any]:
    """Two thirds and one third; below about 1,000 px of content the side goes under the main part."""
    grid = st.grid(columns=3, min_column_width=340, gap="small")
    return grid.cell(column_span=2), grid.cell()


def side_and_main() -> tuple[Any, Any]:
    """The same the other way round: what one fills in, and what it comes to beside it or below."""
    grid = st.grid(columns=3, min_column_width=340, gap="small")
    return grid.cell(), grid.cell(column_span=2)


def pair() -> tuple[Any, Any]:
    """Two equal frames side by side, stacked where two readable cards do not fit; draw `card(border=False)` in each."""
    grid = st.grid(columns=2, min_column_width=440, gap="small", border=True)
    return grid.cell(), grid.cell()


def fact(label: str, value: str, badge: str = "", text: str = "") -> None:
    """The content of one small cell: muted label with a state at the right, the value, and one line about it."""
    with st.container(gap="xxsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.markdown(f":gray[{label}]", width="stretch")
            if badge:
                st.markdown(badge)
        st.markdown(f"**{value}**")
        if text:
            st.markdown(f":small[:gray[{text}]]")


def line(title: str, note: str, badge: str, page: str, query: dict[str, str] | None = None) -> None:
    """One thing that can be opened: what it is, a muted line about it, its state, and the way to it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
        st.markdown(f":small[**{title}**  \n:gray[{note}]]", width="stretch")
        st.markdown(badge, width="content")
        arrow = ":material/chevron_right:"
        st.page_link(page, label="Open", icon=arrow, icon_position="right", query_params=query, width="content")


def answer(sentence: str, *badges: str) -> None:
    """The page's answer in one plain sentence, with what carries it."""
    with st.container(gap="xxsmall"):
        st.subheader(sentence, anchor=False)
        if badges:
            st.markdown(" ".join(badges))


def table(
    rows: Sequence[Sequence[str]],
    header: Sequence[str] | None,
    *,
    alt: str,
    tight: Iterable[int] = (),
    right: Iterable[int] = (),
) -> None:
    """A small static table of Markdown cells with hairlines. Long lists belong in a data table (`app.kit.listing`).

    Args:
        alt: what the table holds, for a screen reader.
        tight: columns that are never broken (no-break spaces).
        right: columns of figures, set to the right.
    """
    import pandas as pd

    names = list(header or (NBSP * (position + 1) for position in range(len(rows[0]))))
    columns = {name: [row[position] for row in rows] for position, name in enumerate(names)}
    for position in tight:
        columns[names[position]] = [cell.replace(" ", NBSP) for cell in columns[names[position]]]
    shown = {names[position]: columns[names[position]] for position in right}
    frame = pd.DataFrame({name: range(len(rows)) if name in shown else cells for name, cells in columns.items()})
    # st.table sets a column right only when its type is numeric: such a column holds row numbers, the Styler shows the text.
    style = frame.style.format({name: cells.__getitem__ for name, cells in shown.items()})
    st.table(style if shown else frame, border="horizontal", hide_index=True, hide_header=header is None, alt=alt)


def facts(rows: Iterable[tuple[str, str]]) -> None:
    """Names with their values (Markdown) in a narrow card. Not a table: one is as wide as its longest word, and cut."""
    with st.container(gap="xsmall"):
        for name, value in rows:
            with st.container(horizontal=True, gap="xsmall", wrap=False):
                st.markdown(f":small[:gray[{name}]]", width=108)
                st.markdown(f":small[{value}]", width="stretch")


class Told(NamedTuple):
    """One line of a feed: when (its zone stands in the card's note), what (Markdown), who (escaped).

    No links inside: one in Markdown opens another tab and loads the whole application again. Put a `st.page_link` in the
    card's head.
    """

    when: str
    what: str
    who: str


def feed(lines: Iterable[Told], *, narrow: bool = False) -> None:
    """Prose that must wrap, so rows of text and not a table; `narrow` puts when and who below what."""
    with st.container(gap="xsmall" if narrow else "xxsmall"):
        for line in lines:
            if narrow:
                st.markdown(f":small[{line.what}]  \n:small[:gray[{line.when} · {line.who}]]")
                continue
            with st.container(horizontal=True, gap="xsmall", wrap=False):
                st.markdown(f":small[:gray[{line.when}]]", width=84)
                st.markdown(f":small[{line.what}]", width="stretch")
                st.markdown(f":small[:gray[{line.who}]]", width=150, text_alignment="right")


def empty(title: str, why: str, *, icon: str = "inbox", step: str = "", page: str = "", key: str = "empty") -> bool:
    """An empty state: why it is empty, and the next step (a link to `page`, or a button whose click is returned)."""
    with st.container(horizontal_alignment="center", gap="xsmall"):
        st.space("small")
        st.markdown(f":gray[:material/{icon}:] **{title}**", text_alignment="center")
        st.markdown(f":small[:gray[{why}]]", text_alignment="center", width=480)
        clicked = False
        if step and page:
            st.page_link(page, label=step, icon=":material/arrow_forward:", icon_position="right", width="content")
        elif step:
            clicked = st.button(step, key=f"{key}.step")
        st.space("small")
    return clicked


def short(digest: str) -> str:
    """`9f2c5d…41be`. Plain text on purpose: inline code is nine pixels small in a table; `digests` copies the whole."""
    kept = digest.removeprefix("sha256:")
    return escape(kept) if len(kept) <= 12 else f"{kept[:6]}…{kept[-4:]}"


def digests(values: Mapping[str, str], label: str = "Digests") -> None:
    """The whole digests behind the short ones, each to be copied."""
    with st.popover(label, icon=":material/content_copy:", type="tertiary"):
        for name, value in values.items():
            st.markdown(f":small[:gray[{escape(name)}]]")
            st.code(value, language=None, width=420, wrap_lines=True)


def since(at: datetime | None, now: datetime, never: str = "never") -> str:
    """A time with its zone and its age, muted; `never` where there is none."""
    return f":gray[{times.both(at, now) if at is not None else never}]"


@contextmanager
def part() -> Iterator[None]:
    """One part of a page that may fail without taking the others with it."""
    with feedback.shown():
        yield
