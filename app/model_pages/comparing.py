"""Versions side by side, in words: what differs first, the better metric marked, everything as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import streamlit as st

from app import wiring
from app.kit import components, export
from app.kit.addresses import number_in
from app.kit.plain import escape
from app.kit.states import tag
from backend.registry.compare import Comparison, Row, compare

MOST = 5
"""More columns than these cannot be read beside each other; the command line and the file take ten."""
_MOST_ROWS = 60
_OF_FILES = ("Signature", "Dependencies")
_SECTIONS: tuple[tuple[str, str, Callable[[Comparison], Sequence[Row]]], ...] = (
    ("Metrics", "the better one is marked where the name tells which way is better", lambda found: found.metrics),
    ("Parameters", "of the run", lambda found: found.params),
    ("Signature", "as registered", lambda found: found.signature),
    ("Data sets", "digest by name and context", lambda found: found.datasets),
    ("Dependencies", "pins in requirements.txt, as registered", lambda found: found.dependencies),
)


def ask(numbers: Sequence[int], chosen: int | None, live: Iterable[int]) -> list[int]:
    """Draws the versions that are compared, each to be left out, and the choice of another one.

    The address names them (`compare=1,3`), else it is the chosen one against what is live, or against the newest.
    """
    known = set(numbers)
    against = next((one for one in (*live, *numbers) if one != chosen and one in known), None)
    default = [one for one in (against, chosen) if one is not None and one in known]
    named = (number_in(one) for one in st.query_params.get("compare", "").split(","))
    asked = [one for one in named if one is not None]
    picked = sorted({one for one in asked if one in known} if asked else set(default))[:MOST]
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", width="content"):
        for one in picked:
            left = [each for each in picked if each != one]
            st.button(
                f"v{one}", key=f"without.{one}", icon=":material/close:", on_click=_set, args=(left,), help="Leave it out"
            )
        if len(picked) < MOST:
            _offer_more([one for one in numbers if one not in picked], picked)
    return picked


def _offer_more(others: Sequence[int], picked: Sequence[int]) -> None:
    st.selectbox(
        "Add a version",
        [f"v{one}" for one in others],
        index=None,
        key="compare.more",
        on_change=_add,
        args=(picked,),
        placeholder="Add a version",
        label_visibility="collapsed",
        width=150,
        disabled=not others,
    )


def _add(picked: Sequence[int]) -> None:
    """A callback: the chosen one joins, and the field is empty again."""
    more = st.session_state["compare.more"]
    st.session_state["compare.more"] = None
    if more:
        _set([*picked, int(more[1:])])


def _set(picked: Sequence[int]) -> None:
    st.query_params["compare"] = ",".join(str(one) for one in picked) or "0"


def read(look: wiring.Reading, model: str, numbers: Sequence[int]) -> Comparison | None:
    """The comparison; None until there are two."""
    return compare(look.session, model, numbers) if len(numbers) > 1 else None


def equal(found: Comparison) -> int:
    """How many fields say the same everywhere."""
    return sum(not row.differs for _, _, of in _SECTIONS for row in of(found))


def draw(found: Comparison, *, all_rows: bool) -> None:
    """Every section that has something to say."""
    columns = [f"v{page.told.number}" for page in found.versions]
    said = False
    unregistered = [page.told.number for page in found.versions if page.registered is None]
    for title, note, of in _SECTIONS:
        if unregistered and title in _OF_FILES:
            continue  # one of them is not known, which is no difference
        shown = [row for row in of(found) if all_rows or row.differs]
        if shown:
            said = True
            _section(title, note, columns, shown)
    if unregistered:
        named = ", ".join(f"v{one}" for one in unregistered)
        st.markdown(
            f":small[:gray[{named} is not registered: what its files say (signature, dependencies) cannot be compared.]]"
        )
    if not said:
        components.empty("Nothing differs", "These versions say the same of everything that is compared.", icon="drag_handle")


def exporter(found: Comparison) -> Callable[[], bytes]:
    """Everything that is compared, as a file."""
    header = ("section", "field", *(f"v{page.told.number}" for page in found.versions), "differs")
    return lambda: export.to_csv(
        header, ((title, row.name, *row.values, row.differs) for title, _, of in _SECTIONS for row in of(found))
    )


def show(found: Comparison | None) -> None:
    """The comparison with its toggle and its file; or what has to be chosen first."""
    if found is None:
        why = "Metrics, parameters, signature, data and dependencies are then set side by side."
        components.empty("Choose two versions", why, icon="compare_arrows")
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        everything = st.toggle(f"Equal fields ({equal(found)})", key="equal", bind="query-params")
        _download(found)
    draw(found, all_rows=everything)


def _download(found: Comparison) -> None:
    export.download("Export CSV", "comparison.csv", exporter(found), key="export-comparison")


def _section(title: str, note: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    st.markdown(f"**{title}** :small[:gray[{note}]]")
    components.table(
        [(escape(row.name, 60), *_cells(row, numeric=title == "Metrics")) for row in rows[:_MOST_ROWS]],
        ("Field", *columns),
        alt=f"{title} side by side",
        tight=range(1, len(columns) + 1) if title == "Metrics" else (),
    )
    if len(rows) > _MOST_ROWS:
        st.markdown(f":small[:gray[{_MOST_ROWS} of {len(rows)} fields; the file has all of them.]]")


def _cells(row: Row, *, numeric: bool) -> list[str]:
    best = row.best if numeric else frozenset()
    return [_cell(value, position in best) for position, value in enumerate(row.values)]


def _cell(value: Any, is_best: bool) -> str:
    if value is None:
        return ":gray[none]"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"**{escape(text)}** {tag('Better', 'trending_up', 'green')}" if is_best else escape(text, 80)
