"""Long lists: one filter row bound to the address, a result count, a page fetched by key on the server, a row that opens.

with listing.filters("audit"):
    action = st.text_input("Action", key="action", bind="query-params")
place = listing.place("before", action)
rows = fetch(before=place.key, limit=PAGE + 1)
listing.rows(...)
listing.walk(place, ...)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import streamlit as st

ROW_HEIGHT = 32
HEAD_HEIGHT = 34


@contextmanager
def filters() -> Iterator[None]:
    """The filter row. Give every widget inside `bind="query-params"`, so that a link shows the same list."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        yield


@dataclass(frozen=True)
class Place:
    """Where in a list this page begins: `key` is what the rows are asked to come after, "" at the beginning."""

    name: str
    key: str


def place(name: str, *wanted: object) -> Place:
    """The place that the address names; back to the beginning when the filters (`wanted`) are others than in the run before."""
    filters = repr(wanted)
    before = st.session_state.get(f"{name}.filters")
    st.session_state[f"{name}.filters"] = filters
    if before is not None and before != filters:
        _go(name, "", ())
    return Place(name, st.query_params.get(name, ""))


def walk(place: Place, count: str, following: str | None, *, words: tuple[str, str] = ("Newer", "Older")) -> None:
    """The result count, and the ways to the newer and the older page, where there is another one.

    Args:
        count: what is shown, in words ("50 rows, 431 to 480").
        following: the key of the next page; None on the last one.
        words: what the ways are called, where the order is not one of time.
    """
    trail: tuple[str, ...] = st.session_state.get(f"{place.name}.trail", ())
    back = (place.name, trail[-1] if trail else "", trail[:-1])
    on = (place.name, following or "", (*trail, place.key))
    newer, older = f"{place.name}.newer", f"{place.name}.older"
    if place.key or following is not None:
        count += f" · page {len(trail) + 1}" if trail or not place.key else " · further on"
    if not place.key and following is None:
        st.markdown(f":small[:gray[{count}]]")
        return
    # On the left: the table's own tools come up at its right upper corner.
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(words[0], icon=":material/chevron_left:", key=newer, on_click=_go, args=back, disabled=not place.key)
        st.button(words[1], icon=":material/chevron_right:", key=older, on_click=_go, args=on, disabled=following is None)
        st.markdown(f":small[:gray[{count}]]", width="stretch")


def rows(
    records: Sequence[Mapping[str, Any]], columns: Mapping[str, Any], *, key: str, alt: str, height: int | None = None
) -> int | None:
    """A data table in which a click on a row chooses it; returns its number, None while none is.

    Cells are what Streamlit lets one choose without a column of check boxes.

    Args:
        records: one mapping a row; values are plain text, never Markdown.
        columns: column -> its `st.column_config`, in the order shown.
        alt: what the table holds, for a screen reader.
    """
    import pandas as pd

    chosen = st.dataframe(
        pd.DataFrame([{name: record[name] for name in columns} for record in records], columns=list(columns)),
        hide_index=True,
        row_height=ROW_HEIGHT,
        height=height or HEAD_HEIGHT + ROW_HEIGHT * max(1, len(records)),
        column_config=dict(columns),
        on_select="rerun",
        selection_mode="single-cell",
        key=key,
        alt=alt,
    )
    found = chosen.selection.cells
    return int(found[0][0]) if found and found[0][0] < len(records) else None


def _go(name: str, key: str, trail: tuple[str, ...]) -> None:
    st.session_state[f"{name}.trail"] = trail
    if key:
        st.query_params[name] = key
    else:
        st.query_params.pop(name, None)
