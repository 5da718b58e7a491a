"""A move of a server or router that waits: what would be led where, and the second person who confirms it or gives it up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import streamlit as st

from app import identity, wiring
from app.identity import Rights
from app.kit import components, dialogs, feedback, times
from app.kit.plain import escape
from backend.delivery.places import MoveLine
from backend.delivery.queries import RouterLine, ServerLine

Line = ServerLine | RouterLine


def after_edit(name: str, *, waits: bool) -> str:
    """What is said once an edit was taken in."""
    if waits:
        return f"{escape(name)} stays where it is until a second operator or admin confirms the move."
    return f"{escape(name)} is saved."


def card(line: Line, mine: Rights, now: datetime) -> None:
    """The move that waits, in absolute terms; nothing where none does."""
    move = line.move
    if move is None:
        return
    with components.card("A move waits for a second person", f"asked by {escape(move.by)}, {times.both(move.at, now)}"):
        st.markdown(says(line, move))
        components.table(list(_rows(line, move)), ("", "Now", "Asked for"), alt="What would change", tight=(0,))
        own, late = move.by_id == identity.current().id, now >= move.expires_at
        with st.container(horizontal=True, vertical_alignment="center"):
            if mine.may("server.edit") and st.button(
                "Confirm the move", type="primary", disabled=own or late, key=f"move.{line.id}"
            ):
                _ask(line, move)
            if mine.may("server.edit") and st.button("Give it up", key=f"drop.{line.id}"):
                _drop(line)
            if late:
                st.markdown(":small[:gray[Nobody confirmed it in time: ask for it again, or give it up.]]")
            elif own:
                st.markdown(":small[:gray[You asked for it; another operator or admin confirms it.]]")


def says(line: Line, move: MoveLine) -> str:
    """One sentence: which traffic would be led where."""
    served = ", ".join(f"**{escape(one)}**" for one in move.endpoints[:5])
    more = f" and {len(move.endpoints) - 5} more" if len(move.endpoints) > 5 else ""
    return f"Once confirmed, {served}{more} are led to **{escape(move.place, 120)}**, with what was approved pushed there."


def _rows(line: Line, move: MoveLine) -> list[tuple[str, str, str]]:
    now = line.upstream if isinstance(line, ServerLine) else line.public_url
    rows = [("Address", escape(now, 120), escape(move.place, 120))] if now != move.place else []
    for name in sorted({*line.settings, *move.settings}):
        before, after = line.settings.get(name), move.settings.get(name)
        if before != after:
            rows.append((escape(name), escape(_shown(before), 120), escape(_shown(after), 120)))
    return rows


def _shown(value: Any) -> str:
    return "none" if value in (None, "") else str(value)


def _ask(line: Line, move: MoveLine) -> None:
    @dialogs.framed(f"Confirm the move of {line.name}")
    def opened() -> None:
        st.markdown(says(line, move))
        st.markdown(f"{escape(move.by)} asked for it. You confirm exactly what stands in the table; the ledger names you both.")
        if dialogs.decide("Lead traffic there", f"move.confirm.{line.id}", icon="alt_route"):
            _settle(line, _service(line, "confirm"), f"{escape(line.name)} moved; what stands there is looked at again now.")

    opened()


def _drop(line: Line) -> None:
    _settle(line, _service(line, "drop"), f"{escape(line.name)} stays where it is.")


def _settle(line: Line, settle: Callable[..., object], told: str) -> None:
    """On the revision that this person saw: a move that was asked anew meanwhile is refused."""
    feedback.act(lambda: settle(identity.current(), line.name, revision=line.revision), told)


def _service(line: Line, verb: str) -> Callable[..., object]:
    servers = wiring.backend().servers
    if isinstance(line, ServerLine):
        return servers.confirm_move if verb == "confirm" else servers.drop_move
    return servers.confirm_router_move if verb == "confirm" else servers.drop_router_move
