"""What a person does about a finding: the button that comes first, the rest in a menu, a dialog for each in plain words.

What whoever acts looked at travels with the click: a finding that was decided on meanwhile is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, NamedTuple

import streamlit as st
from sqlmodel import col, select

from app import identity, wiring
from app.findings.finding_page import Seen
from app.kit import dialogs, times
from app.kit.dialogs import Ask
from app.kit.plain import escape
from app.wiring import Reading
from backend.access.rows import Identity, Team
from backend.findings.queries import FindingLine
from backend.findings.rules import LONGEST_SNOOZE

_ASKED, _MENU = "finding.asked", "finding.more"


class Act(NamedTuple):
    """How an action is called, its icon, and the right that it takes."""

    label: str
    icon: str
    action: str


ACTS: Mapping[str, Act] = {
    "acknowledge": Act("Acknowledge", "person_check", "finding.acknowledge"),
    "resolve": Act("Resolve", "task_alt", "finding.resolve"),
    "assign": Act("Give it to somebody", "person_add", "finding.assign"),
    "snooze": Act("Snooze", "snooze", "finding.snooze"),
    "reopen": Act("Reopen", "undo", "finding.acknowledge"),
}
_BY_STATE: Mapping[str, tuple[str, ...]] = {
    "open": ("acknowledge", "resolve", "snooze", "assign"),
    "acknowledged": ("resolve", "snooze", "assign", "reopen"),
    "snoozed": ("acknowledge", "resolve", "snooze", "assign", "reopen"),
    "resolved": ("reopen",),
}
"""What matters in a state, the way forward first."""
SNOOZES: Mapping[str, timedelta] = {
    "1 hour": timedelta(hours=1),
    "8 hours": timedelta(hours=8),
    "1 day": timedelta(days=1),
    "3 days": timedelta(days=3),
    "7 days": timedelta(days=7),
    "30 days": timedelta(days=30),
}
OUTCOMES: Mapping[str, str] = {"Fixed": "fixed", "Expected, nothing to mend": "expected", "A false alarm": "false_alarm"}
_OWNERS = "The team that owns the place"


@dataclass(frozen=True)
class Held:
    """What a person saw when a button was drawn that they then clicked."""

    act: str
    number: int
    revision: int


def offered(seen: Seen) -> list[str]:
    """What this person may do now, the way forward first."""
    if seen.view.line.test:
        return []
    return [one for one in _BY_STATE[seen.view.line.state] if seen.mine.may(ACTS[one].action)]


def draw(seen: Seen) -> None:
    """The header row's controls."""
    acts = offered(seen)
    held = Held("", seen.view.line.number, seen.view.revision)
    if len(acts) > 1:
        st.menu_button(
            "More", acts[1:], key=_MENU, icon=":material/more_horiz:", format_func=lambda name: ACTS[name].label,
            on_click=_chosen, args=(held,),
        )  # fmt: skip
    if acts:
        label, icon, _ = ACTS[acts[0]]
        asked = replace(held, act=acts[0])
        st.button(label, icon=f":material/{icon}:", key="finding.first", type="primary", on_click=_ask, args=(asked,))


def _chosen(held: Held) -> None:
    _ask(replace(held, act=st.session_state[_MENU]))


def _ask(held: Held) -> None:
    st.session_state[_ASKED] = held


def opened(seen: Seen) -> None:
    """Opens the dialog of what was clicked in the run before; called once, after the page is drawn."""
    held = st.session_state.pop(_ASKED, None)
    if isinstance(held, Held) and held.number == seen.view.line.number:
        dialogs.ask(f"{ACTS[held.act].label}: finding {held.number}", *_DIALOGS[held.act](seen, held))


_Pair = tuple[Callable[[], Ask], Callable[[str], object]]


def _findings() -> Any:
    return wiring.backend().findings


def _acknowledge(seen: Seen, held: Held) -> _Pair:
    says = ["You look after it: nobody else is called, and the escalation stops. It goes on holding what the policy says."]
    return (
        lambda: Ask(says, "Acknowledge", f"Finding {held.number} is yours to look after.", "What are you doing about it?",
                    icon="person_check"),
        lambda reason: _findings().acknowledge(identity.current(), held.number, reason, revision=held.revision),
    )  # fmt: skip


def _resolve(seen: Seen, held: Held) -> _Pair:
    def ask() -> Ask:
        st.selectbox("How is it over?", list(OUTCOMES), key="finding.outcome")
        waits = " What waits for it goes on." if seen.view.blocks or seen.view.holds else ""
        says = [f"It is over.{waits} Where its cause is seen later, another finding is opened that names this one."]
        return Ask(says, "Resolve", f"Finding {held.number} is over.", "What was it, and what was done?", icon="task_alt")

    return ask, lambda reason: _findings().resolve(
        identity.current(), held.number, reason, OUTCOMES[st.session_state["finding.outcome"]], revision=held.revision
    )


def _reopen(seen: Seen, held: Held) -> _Pair:
    says = ["It is open again: somebody is to answer it, and whoever is told of findings there is told."]
    return (
        lambda: Ask(says, "Reopen", f"Finding {held.number} is open again.", "Why is it not over?", icon="undo"),
        lambda reason: _findings().reopen(identity.current(), held.number, reason, revision=held.revision),
    )


def _snooze(seen: Seen, held: Held) -> _Pair:
    longest = LONGEST_SNOOZE[seen.view.line.severity]
    lengths = [name for name, length in SNOOZES.items() if length <= longest]

    def ask() -> Ask:
        length = st.selectbox("For how long?", lengths, key="finding.snooze")
        until = seen.now + SNOOZES[length or lengths[0]]
        says = [
            f"Nobody is called until {times.stamp(until)}. It goes on holding what the policy says, and becoming worse ends it."
        ]
        return Ask(says, "Snooze", f"Finding {held.number} is snoozed.", "Why can it wait?", icon="snooze")

    def act(reason: str) -> object:
        until = wiring.backend().database.now() + SNOOZES[st.session_state["finding.snooze"]]
        return _findings().snooze(identity.current(), held.number, until, reason, revision=held.revision)

    return ask, act


def _assign(seen: Seen, held: Held) -> _Pair:
    with wiring.reading() as look:
        whom = {_OWNERS: {}, **_people(look), **_teams(look)}

    def ask() -> Ask:
        st.selectbox("To whom?", list(whom), key="finding.owner")
        says = [f"It is of {escape(_whose(seen.view.line))} now. Whoever gets it is told, and hears of what happens to it."]
        return Ask(says, "Give it", f"Finding {held.number} has its owner.", "Why this person or team?", icon="person_add")

    return ask, lambda reason: _findings().assign(
        identity.current(), held.number, reason=reason, revision=held.revision, **whom[st.session_state["finding.owner"]]
    )


def _whose(line: FindingLine) -> str:
    return line.owner or "nobody"


def _people(look: Reading) -> dict[str, dict[str, str]]:
    query = select(Identity).where(Identity.kind == "person", col(Identity.active)).order_by(Identity.name)
    return {f"{one.display_name or one.name} [{one.name}]": {"person": one.name} for one in look.session.exec(query)}


def _teams(look: Reading) -> dict[str, dict[str, str]]:
    query = select(Team.name).where(col(Team.retired_at).is_(None)).order_by(Team.name)
    return {f"Team {name}": {"team": name} for name in look.session.exec(query)}


_DIALOGS: Mapping[str, Callable[[Seen, Held], _Pair]] = {
    "acknowledge": _acknowledge,
    "resolve": _resolve,
    "snooze": _snooze,
    "assign": _assign,
    "reopen": _reopen,
}
