"""What a person may do with a change: the button that comes first, the rest in a menu, and a dialog for each in absolute terms.

A vote is bound to the plan and the base that the person saw: they travel from the drawing of the button (its callback's
arguments) through the dialog to the command, and are never read again at the click.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import streamlit as st

from app import identity, ways, wiring
from app.change_pages.change_dialogs import DIALOGS
from app.change_pages.change_page import Seen, read
from app.kit import dialogs, feedback
from app.kit.plain import escape
from backend.changes import difference
from backend.core.errors import Refusal
from backend.delivery.plan import parse_plan
from backend.rollouts.service import At

_ASKED, _MENU = "change.asked", "act.more"
COPY = "copy"


class Act(NamedTuple):
    """How an action is called, and its icon."""

    label: str
    icon: str


ACTS: Mapping[str, Act] = {
    "approve": Act("Approve", "check"),
    "reject": Act("Reject", "close"),
    "start": Act("Start now", "play_arrow"),
    "rebase": Act("Draw anew", "restart_alt"),
    "recheck": Act("Check again", "refresh"),
    "let_on": Act("Let it go on", "skip_next"),
    "skip": Act("Skip to a person's step", "fast_forward"),
    "pause": Act("Pause the rollout", "pause"),
    "resume": Act("Resume the rollout", "play_arrow"),
    "roll_back": Act("Roll back", "undo"),
    "revoke": Act("Revoke the approval", "gpp_bad"),
    "edit": Act("Edit, or start at a time", "edit"),
    "withdraw": Act("Withdraw", "remove_circle"),
    COPY: Act("Propose one like it", "content_copy"),
}
_BY_STATE: Mapping[str, tuple[str, ...]] = {
    "draft": ("edit", "withdraw"),
    "checking": ("edit", "withdraw"),
    "review": ("approve", "reject", "recheck", "edit", "withdraw"),
    "approved": ("start", "reject", "revoke", "edit", "withdraw"),
    "blocked": ("recheck", "edit", "withdraw"),
    "suspended": ("rebase", "edit", "withdraw"),
    "applying": ("let_on", "skip", "pause", "resume", "roll_back", "revoke"),
    "done": ("roll_back", "revoke"),
    "failed": ("roll_back",),
    "revoked": ("roll_back",),
}
"""What matters in a state, the way forward first."""


@dataclass(frozen=True)
class Held:
    """What a person saw when a button was drawn that they then clicked."""

    act: str
    number: int
    plan_digest: str
    base_digest: str
    plan: Mapping[str, Any]


def first_of(seen: Seen) -> str:
    """The action that stands as the page's one primary button; "" where there is none for this person now."""
    offered = _BY_STATE.get(seen.view.line.state, ())
    forward = [one for one in offered[:1] if not seen.view.may[one]]
    return forward[0] if forward and seen.view.line.state not in ("draft", "checking", "done", "failed", "revoked") else ""


def why_not(seen: Seen) -> str:
    """Why the way forward is not this person's to take now; "" where it is, or where nobody has to."""
    offered = _BY_STATE.get(seen.view.line.state, ())
    if seen.view.line.state not in ("review", "suspended") or not offered or not seen.view.may[offered[0]]:
        return ""
    return escape(seen.view.may[offered[0]], 400)


def draw(seen: Seen) -> None:
    """The header row's controls: why some things are not possible now, the menu of those that are, and the way forward."""
    primary, held = first_of(seen), _held(seen)
    _not_now(seen)
    st.menu_button(
        "More",
        [*offered(seen), COPY],
        key=_MENU,
        icon=":material/more_horiz:",
        format_func=lambda name: ACTS[name].label,
        on_click=_chosen,
        args=(held,),
    )
    if primary:
        (label, icon), asked = ACTS[primary], replace(held, act=primary)
        st.button(
            label,
            icon=f":material/{icon}:",
            key=f"act.{primary}",
            type="primary",
            on_click=_ask,
            args=(asked,),
        )


def offered(seen: Seen) -> list[str]:
    """What this person may do now besides the primary action."""
    primary = first_of(seen)
    return [one for one in _BY_STATE.get(seen.view.line.state, ()) if one != primary and not seen.view.may[one]]


def _not_now(seen: Seen) -> None:
    refused = [one for one in _BY_STATE.get(seen.view.line.state, ()) if seen.view.may[one]]
    if not refused:
        return
    with st.popover("Not now", icon=":material/help:", type="tertiary"):
        for name in refused:
            why = f":small[**{ACTS[name].label}**]  \n:small[:gray[{escape(seen.view.may[name], 300)}]]"
            st.markdown(why, width=300)


def _held(seen: Seen) -> Held:
    return Held("", seen.view.line.number, seen.view.plan_digest, seen.view.base_digest, seen.view.plan)


def _chosen(held: Held) -> None:
    _ask(replace(held, act=st.session_state[_MENU]))


def _ask(held: Held) -> None:
    st.session_state[_ASKED] = held


def opened(seen: Seen) -> None:
    """Opens the dialog of what was clicked in the run before; called once, after the page is drawn."""
    held = st.session_state.pop(_ASKED, None)
    if not isinstance(held, Held) or held.number != seen.view.line.number:
        return
    if (held.plan_digest, held.base_digest) != (seen.view.plan_digest, seen.view.base_digest):
        feedback.refused(_edited(held, seen))
        return
    if held.act == "edit":
        ways.go("propose", change=held.number)
    if held.act == COPY:
        ways.go("propose", endpoint=seen.view.line.endpoint, version=seen.view.line.version)
    if held.act == "recheck":
        feedback.act(lambda: _changes().recheck(identity.current(), held.number), "The checks run again.")
        return
    title, draw_it = DIALOGS[held.act]
    dialogs.ask(f"{title} {held.number}", lambda: draw_it(seen), lambda reason: _command(held, seen, reason))


def _changes() -> Any:
    return wiring.backend().changes


def _command(held: Held, seen: Seen, reason: str) -> None:
    """The command behind a dialog. What takes no reason itself gets it into the discussion."""
    actor, number, endpoint = identity.current(), held.number, seen.view.line.endpoint
    changes, walks = _changes(), wiring.backend().rollouts
    if held.act in ("approve", "reject"):
        _vote(held, reason)
    elif held.act in ("revoke", "withdraw", "roll_back"):
        getattr(changes, held.act)(actor, number, reason)
    elif held.act in ("start", "rebase"):
        getattr(changes, held.act)(actor, number)
        changes.comment(actor, number, f"{ACTS[held.act].label}: {reason}")
    else:
        walk = seen.view.rollout
        getattr(walks, held.act)(actor, endpoint, reason, at=At(walk.id, walk.step) if walk is not None else None)


def _vote(held: Held, reason: str) -> None:
    """Casts the vote on what was seen. Where it was edited meanwhile, the refusal says what the edit changed."""
    cast: Callable[..., object] = getattr(_changes(), held.act)
    try:
        cast(identity.current(), held.number, plan_digest=held.plan_digest, base_digest=held.base_digest, comment=reason)
    except Refusal as refusal:
        if refusal.code != "stale-vote":
            raise
        with wiring.reading() as look:
            raise _edited(held, read(look, str(held.number))) from refusal


def _edited(held: Held, seen: Seen) -> Refusal:
    """Nothing is done to a change that is another than the one that was looked at."""
    found = difference.from_plan(seen.plan, parse_plan(held.plan))
    said = found.summary if found.lines else "what it is drawn on moved; its plan is the same."
    return Refusal(
        f"Change {held.number} was edited while you looked, and nothing was done: {said[:700]}",
        "Look at it as it is now, then decide.",
        code="stale-vote",
    )
