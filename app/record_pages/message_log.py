"""What became of each message: the log, its filter, every try of one of them, and the way to send it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import streamlit as st

from app import identity, wiring
from app.kit import components, dialogs, feedback, listing, subjects, times
from app.kit.plain import escape
from app.kit.states import LOOKS, badge
from backend.notify import queries
from backend.notify.audience import MAIL
from backend.notify.queries import AttemptLine, MessageLine, RouteLine

PAGE = 20
_ANY = "Any state"
_STATES = {_ANY: None, **{look.word: name for name, look in LOOKS["message"].items()}}


def card(routes: Sequence[RouteLine]) -> None:
    """The log, the newest first, a page at a time.

    Args:
        routes: what whoever looks sees; messages of those that he manages, and his own mail, can be sent again.
    """
    with components.card("Messages", "what was told, and what became of it") as head:
        with head:
            state = st.selectbox(
                "State", list(_STATES), key="became", bind="query-params", label_visibility="collapsed", width=200
            )
        place = listing.place("messages", state)
        with wiring.reading() as look:
            found = queries.messages(
                look.session, identity.current(), look.now, state=_STATES.get(state), before=place.key or None, limit=PAGE + 1
            )
            shown = found[:PAGE]
            about = subjects.names(look.session, shown)
        if not shown:
            components.empty(
                "No message yet" if state == _ANY else "No message is like this",
                "What is told will stand here, with every try and what became of it.",
                icon="mail",
                key="empty.messages",
            )
            return
        following = shown[-1].id if len(found) > PAGE else None
        if following is not None or place.key:
            listing.walk(place, "newest first", following)
        own = {MAIL, *(one.name for one in routes if one.manages)}
        for one in shown:
            _row(one, about, look.now, again=one.route in own)


def _row(one: MessageLine, about: Mapping[str, str], now: datetime, *, again: bool) -> None:
    times_said = f" · {one.count} times" if one.count > 1 else ""
    result = f" · {escape(one.result, 120)}" if one.result else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.markdown(
            f":small[**{escape(one.says)}** {badge('message', one.state)}  \n"
            f":gray[{_about(one, about)}by {escape(one.route, 80)} · {times.age(one.created_at, now)}{times_said}{result}]]",
            width="stretch",
        )
        if st.button("Details", key=f"message.{one.id}", type="tertiary"):
            _details(one.id, about, again=again)


def _about(one: MessageLine, about: Mapping[str, str]) -> str:
    """What it is about, where that has a name; a test is about nothing."""
    name = about.get(one.subject_id)
    return f"{escape(one.subject_kind)} {escape(name, 80)} · " if name is not None else ""


def _details(message_id: str, about: Mapping[str, str], *, again: bool) -> None:
    @dialogs.framed("A message", width="large")
    def opened() -> None:
        with wiring.reading() as look:
            found = queries.message(look.session, identity.current(), message_id, look.now)
        line = found.line
        facts = {
            "What": f"{escape(line.says)} {badge('message', line.state)}",
            "About": escape(about.get(line.subject_id, "")),
            "By": escape(f"{line.route}, to {line.whom}" if line.whom not in ("", line.route) else line.route),
            "Since": times.both(line.created_at, look.now),
            "Result": escape(line.result, 400),
            "Next try": times.both(line.due_at, look.now) if line.state == "waiting" else "",
        }
        components.facts([(name, value) for name, value in facts.items() if value])
        _tries(found.tries)
        st.markdown(":small[:gray[Its id, which a receiver is told too and knows it by when it comes again:]]")
        st.code(line.id, language=None)
        if again and line.state != "waiting" and dialogs.decide("Send it again", "message.again", icon="replay"):
            feedback.act(
                lambda: wiring.backend().routes.replay(identity.current(), line.id), "It waits again, under the id that it had."
            )

    opened()


def _tries(tries: Sequence[AttemptLine]) -> None:
    if not tries:
        st.markdown(":small[:gray[No try was made.]]")
        return
    rows = [
        (
            f"{times.short(one.at)}",
            badge("message", "sent", "Taken") if one.ok else badge("route", "failing", "Not taken"),
            f"{one.seconds:.2f} s",
            f":small[{escape(one.says, 200)}]",
        )
        for one in tries
    ]
    components.table(rows, ("Tried (UTC)", "Came through", "Took", "What came back"), alt="Every try", tight=(0, 1, 2))
