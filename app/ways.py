"""The ways between pages, within the running application: a link in Markdown would open another tab and load all of it again.

Streamlit 1.67 writes the query of the next page into the history of this one before it leaves, so that the browser's back
button meets a list with the detail's query and without its own filters. `open_detail` remembers what the list's address said,
and `returned` puts it back, as does the detail's own way up. It writes nothing where there is nothing to put back: an address
that is written after the browser's own step back has ended drops every page that lies ahead of it.
"""

from __future__ import annotations

from typing import NoReturn

import streamlit as st

from app.wiring import ROOT

_LEFT, _HERE, _FOREIGN, _VISIT = "ways.left", "ways.here", "ways.foreign", "ways.visit"


def here(file: str) -> None:
    """Notes which page is drawn; said by the entry script before every page."""
    if st.session_state.get(_HERE) != file:
        st.session_state[_VISIT] = visit() + 1
    st.session_state[_HERE] = file


def visit() -> int:
    """Another number each time that a page is come to: what was held while one was on a page ends with leaving it."""
    number: int = st.session_state.get(_VISIT, 0)
    return number


def path(file: str) -> str:
    """What `st.switch_page` and `st.page_link` take for a page, by its name in `pages/`."""
    return str(ROOT / "pages" / f"{file}.py")


def go(file: str, **query: object) -> NoReturn:
    """Opens a page with this query and nothing else in its address."""
    st.switch_page(path(file), query_params={name: str(value) for name, value in query.items()})


def open_detail(file: str, **query: object) -> NoReturn:
    """Opens a detail from its list; the way back leads to the list as it was filtered."""
    left, foreign = st.session_state.get(_LEFT, {}), st.session_state.get(_FOREIGN, ())
    own = {name: value for name, value in st.query_params.to_dict().items() if name not in foreign}
    st.session_state[_LEFT] = {**left, st.session_state.get(_HERE, ""): own}
    go(file, **query)


def up(file: str) -> NoReturn:
    """Opens the list that a detail belongs to, filtered as it was left, if it was left in this session."""
    go(file, **_query_of(file))


def returned(*foreign: str) -> None:
    """To be called by a list before its filters: `foreign` are the names that its details have in their address.

    An address with filters of its own beside those names is the list's already, whoever wrote it.
    """
    st.session_state[_FOREIGN] = foreign
    here, left = {*st.query_params}, _query_of(st.session_state.get(_HERE, ""))
    if left and here and here <= {*foreign}:
        st.query_params.from_dict(left)
        st.rerun()  # filters take what the address says only at the beginning of a run


def _query_of(file: str) -> dict[str, str]:
    """What the address of a list said when it was left; each list has its own."""
    found: dict[str, str] = st.session_state.get(_LEFT, {}).get(file, {})
    return found
