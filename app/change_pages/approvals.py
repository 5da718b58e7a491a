"""The list of changes, and what of it waits for whoever looks: in words, as rows of a table, and as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import streamlit as st
from sqlmodel import Session

from app import ways, wiring
from app.change_pages.changes import condensed, deadline
from app.kit import components, export, states, times
from app.kit.plain import escape
from app.kit.states import badge, tag
from backend.access.checks import require_to_read
from backend.changes import queries
from backend.changes.asked import Asked
from backend.changes.queries import OPEN, ChangeLine, Filters
from backend.core.context import Actor

PAGE = 50
SHOWN = 6
"""Lines of the queue that stand on the page; whoever is asked for more works from the top."""
MOST_EXPORTED = 50_000
ANY, OPEN_ONES = "Any", "Open"
_BY_WORD: Mapping[str, str] = {look.word: state for state, look in states.LOOKS["change"].items()}
_ASKS: Mapping[str, str] = {
    "vote": "Your vote", "start": "A start by hand", "let_on": "A step to let on", "redraw": "To be drawn anew",
    "mend": "To be mended",
}  # fmt: skip
_EXPORTED = ("change", "state", "title", "endpoint", "environment", "model", "version", "requester", "decide_by", "updated_at",
             "state_reason")  # fmt: skip


def columns() -> dict[str, Any]:
    """Drawn in the colours of whoever looks. The first five are what a window of 1,024 pixels holds (638 of them); the rest is
    scrolled to there.
    """
    return {
        "Change": st.column_config.NumberColumn(format="%d", width=54),
        "State": states.column("change", "State", 90),
        "Title": st.column_config.TextColumn(width=210),
        "Where": st.column_config.TextColumn(width=188),
        "Deadline": st.column_config.TextColumn(width=92),
        "Version": st.column_config.NumberColumn(format="%d", width=56),
        "Model": st.column_config.TextColumn(width=94),
        "Asked by": st.column_config.TextColumn(width=130),
        "Moved": st.column_config.TextColumn("Last moved", width=100),
    }


def words(counted: Mapping[str, int], chosen: str) -> list[str]:
    """Choices of the state filter, which stand in the address as they are: states that some change is in, and the one that
    the address names.
    """
    known = [states.look("change", one).word for one in states.LOOKS["change"] if counted.get(one)]
    return [ANY, OPEN_ONES, *known, *([chosen] if chosen in _BY_WORD and chosen not in known else [])]


def waits(count: int) -> str:
    """`1 waits for you`, `2 wait for you`."""
    return f"{count:,} {'waits' if count == 1 else 'wait'} for you"


def summary(counted: Mapping[str, int]) -> str:
    """How many are in each state, as badges; what is over stands back."""
    told = [f"{number:,} {states.look('change', state).word.lower()}" for state, number in _over(counted)]
    live = [
        badge("change", one, f"{counted[one]:,} {states.look('change', one).word.lower()}") for one in OPEN if counted.get(one)
    ]
    return " ".join([*live, f":gray[{' · '.join(told)}]" if told else ""])


def _over(counted: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(state, counted[state]) for state in states.LOOKS["change"] if state not in OPEN and counted.get(state)]


def filters(word: str, environment: str, endpoint: str, model: str, requester: str, text: str) -> Filters:
    """What the filter row asks for."""
    chosen: Sequence[str] = OPEN if word == OPEN_ONES else (_BY_WORD[word],) if word in _BY_WORD else ()
    return Filters(chosen, environment, endpoint.strip(), model.strip(), requester, text.strip(), within=True)


def record(line: ChangeLine, now: datetime) -> dict[str, Any]:
    """A row of the data table: plain text."""
    return {
        "Change": line.number,
        "State": states.pill("change", line.state),
        "Title": line.title,
        "Where": f"{line.environment} · {line.endpoint}",
        "Model": line.model,
        "Version": line.version,
        "Asked by": line.requester,
        "Deadline": deadline(line, now).removeprefix("expires ") or "none",
        "Moved": times.age(line.updated_at, now),
    }


def counted(shown: queries.Page) -> str:
    """The result count in words."""
    found = f"{len(shown.items)} change{'s' * (len(shown.items) != 1)} shown, what needs somebody first"
    return f"{found}; {'more follow' if shown.next else 'no more follow'}"


def by_urgency(waiting: Sequence[Asked], environments: Sequence[str], now: datetime) -> list[Asked]:
    """What is due within a day first, then the environment nearest to callers, then the earliest deadline."""
    nearest = {name: -position for position, name in enumerate(environments)}
    far = now + timedelta(days=3650)

    def key(one: Asked) -> tuple[bool, int, datetime]:
        by = one.line.decide_by or far
        return by - now > timedelta(days=1), nearest.get(one.line.environment, 0), by

    return sorted(waiting, key=key)


def draw_queue(waiting: Sequence[Asked], now: datetime) -> None:
    """The most urgent lines: what is asked, of which change, until when, and what it still takes."""
    for one in waiting[:SHOWN]:
        line = one.line
        by = deadline(line, now)
        note = " · ".join(
            part
            for part in (
                f"{escape(line.endpoint)} in {escape(line.environment)}",
                f"version {line.version}",
                f"asked by {escape(line.requester)}",
                by,
            )
            if part
        )
        title = f"Change {line.number}: {escape(line.title, 110)}"
        with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
            st.markdown(f":small[**{title}**  \n:gray[{note}]  \n{_missing(one)}]", width="stretch")
            st.markdown(_ask_badge(one, now), width="content")
            if st.button(
                "Open", key=f"open.{line.number}", icon=":material/chevron_right:", type="tertiary", icon_position="right"
            ):
                ways.open_detail("change", change=line.number)
    if len(waiting) > SHOWN:
        st.markdown(f":small[:gray[{len(waiting) - SHOWN} more wait after these; the list below has them all.]]")


def _missing(one: Asked) -> str:
    found = condensed(one.missing)
    told = [escape(each, 160) for each in found[:3]]
    more = f" :gray[and {len(found) - 3} more]" if len(found) > 3 else ""
    return f"{' '.join(told)}{more}" if told else "Nothing else is missing."


def _ask_badge(one: Asked, now: datetime) -> str:
    soon = one.line.decide_by is not None and one.line.decide_by - now < timedelta(days=1)
    return tag(_ASKS[one.what], "alarm" if soon else "person_alert", "orange" if soon else "blue")


def nothing_waits(proposes: bool) -> None:
    """The empty queue, with the next step for whoever may take one."""
    why = "Nobody waits for your vote, for a start by your hand, or for a change of yours. All changes stand below."
    if components.empty(
        "Nothing waits for you", why, icon="done_all", step="Propose a change" if proposes else "", key="queue"
    ):
        ways.go("propose")


def exporter(actor: Actor, wanted: Filters) -> Callable[[], bytes]:
    """What makes the file when the button is clicked: it asks then whether this actor may read, and reads one snapshot."""

    def make() -> bytes:
        with wiring.reading(actor) as look:
            require_to_read(look.session, actor, "change.read", now=look.now)
            return as_csv(everything(look.session, wanted))

    return make


def everything(session: Session, wanted: Filters) -> Iterator[ChangeLine]:
    """Every change that is asked for, a page at a time; at most 50,000."""
    after: str | None = None
    for _ in range(MOST_EXPORTED // queries.MAX_PAGE):
        found = queries.page(session, wanted, after=after, limit=queries.MAX_PAGE)
        yield from found.items
        if (after := found.next) is None:
            return


def as_csv(found: Iterator[ChangeLine]) -> bytes:
    """The changes as a file."""
    rows = (
        (one.number, one.state, one.title, one.endpoint, one.environment, one.model, one.version, one.requester, one.decide_by,
         one.updated_at, one.state_reason)
        for one in found
    )  # fmt: skip
    return export.to_csv(_EXPORTED, rows)


@dataclass(frozen=True)
class Nothing:
    """Why a list is empty, and what to do about it."""

    title: str
    why: str


def nothing(counted: Mapping[str, int]) -> Nothing:
    """The empty list: nobody proposed anything yet, or the filters let nothing through."""
    if counted:
        return Nothing("No change matches", "Change or clear a filter; the counts in the state filter say where they are.")
    return Nothing(
        "Nobody has proposed a change yet", "Propose one: it says which version shall answer which share, and what it replaces."
    )
