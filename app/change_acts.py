"""What a person may do with a change: the button that comes first, the rest in a menu, and a dialog for each in absolute terms.

A vote is bound to the plan and the base that the person saw: they travel from the drawing of the button (its callback's
arguments) through the dialog to the command, and are never read again at the click.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import streamlit as st

from app import change_plan, dialogs, feedback, identity, times, ways, wiring
from app.change_page import Seen, read
from app.changes import approvals, shares_at
from app.components import short
from app.dialogs import Ask
from app.plain import escape
from backend.changes import difference
from backend.core.errors import Refusal
from backend.delivery.plan import parse_plan, percent

_ASKED = "change.asked"
IN_DIALOG = "change.in_dialog"
"""Set while a dialog may be open: the page is then not drawn anew by itself, which would close it."""


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
    "pause": Act("Pause the rollout", "pause"),
    "resume": Act("Resume the rollout", "play_arrow"),
    "roll_back": Act("Roll back", "undo"),
    "revoke": Act("Revoke the approval", "gpp_bad"),
    "edit": Act("Edit, or start at a time", "edit"),
    "withdraw": Act("Withdraw", "remove_circle"),
}
_BY_STATE: Mapping[str, tuple[str, ...]] = {
    "draft": ("edit", "withdraw"),
    "checking": ("edit", "withdraw"),
    "review": ("approve", "reject", "recheck", "edit", "withdraw"),
    "approved": ("start", "reject", "revoke", "edit", "withdraw"),
    "blocked": ("recheck", "edit", "withdraw"),
    "suspended": ("rebase", "edit", "withdraw"),
    "applying": ("let_on", "pause", "resume", "roll_back", "revoke"),
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
    """The menu and the primary button of the header row."""
    primary = first_of(seen)
    offered = [one for one in _BY_STATE.get(seen.view.line.state, ()) if one != primary]
    with st.popover("More", icon=":material/more_horiz:"):
        for name in offered:
            if not seen.view.may[name]:
                _button(seen, name)
        for name in offered:
            if seen.view.may[name]:
                st.markdown(
                    f":small[**{ACTS[name].label}**: not now]  \n:small[:gray[{escape(seen.view.may[name], 300)}]]", width=300
                )
        if not offered:
            st.markdown(":small[:gray[Nothing more can be done with it.]]", width=300)
        if st.button("Propose one like it", icon=":material/content_copy:", key="act.copy", width="stretch"):
            ways.go("propose", endpoint=seen.view.line.endpoint, version=seen.view.line.version)
    if primary:
        _button(seen, primary, primary=True)


def _button(seen: Seen, name: str, *, primary: bool = False) -> None:
    held = Held(name, seen.view.line.number, seen.view.plan_digest, seen.view.base_digest, seen.view.plan)
    st.button(
        ACTS[name].label,
        icon=f":material/{ACTS[name].icon}:",
        key=f"act.{name}",
        type="primary" if primary else "secondary",
        width="content" if primary else "stretch",
        on_click=_ask,
        args=(held,),
    )


def _ask(held: Held) -> None:
    st.session_state[_ASKED] = held


def opened(seen: Seen) -> None:
    """Opens the dialog of what was clicked in the run before; called once, after the page is drawn."""
    held = st.session_state.pop(_ASKED, None)
    st.session_state[IN_DIALOG] = False
    if not isinstance(held, Held) or held.number != seen.view.line.number:
        return
    if (held.plan_digest, held.base_digest) != (seen.view.plan_digest, seen.view.base_digest):
        feedback.refused(_edited(held, seen))
        return
    if held.act == "edit":
        ways.go("propose", change=held.number)
    if held.act == "recheck":
        feedback.act(lambda: _changes().recheck(identity.current(), held.number), "The checks run again.")
        return
    st.session_state[IN_DIALOG] = True
    title, draw_it = _DIALOGS[held.act]
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
        getattr(walks, held.act)(actor, endpoint, reason)


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


# -- the dialogs


def _approve(seen: Seen) -> Ask:
    line, plan = seen.view.line, seen.plan
    had, needed = approvals(seen.view, seen.policy)
    after = "and it starts as soon as its checks are fresh" if seen.view.start_mode == "at_once" else f"then it {_starts(seen)}"
    last = f"Your vote is number {had + 1} of {needed}, {after if had + 1 >= needed else 'so that it goes on waiting'}."
    back = "nothing running" if plan.rollback is None else f"**{shares_at(plan, plan.rollback.shares)}**"
    worn = [escape(one.title) for one in seen.view.evidence if one.standing in ("stale", "missing", "error", "failed")]
    return Ask(
        says=[f"**{escape(line.endpoint)}** in **{escape(line.environment)}**. {last}"],
        rows=change_plan.step_rows(plan),
        head=change_plan.STEPS_HEAD,
        also=f"Also admitted: going back to {back} in one push, at any time.  \nBound to plan {short(seen.view.plan_digest)} "
        f"on base {short(seen.view.base_digest)}. If either changes, your vote is void.",
        warning=f"{', '.join(worn)}: not passed, or out of date. Read the evidence before you vote." if worn else "",
        confirm="Approve this plan",
        done=f"You approved change {line.number}.",
        hint="What did you check?",
    )


def _starts(seen: Seen) -> str:
    at = seen.view.start_at
    return f"starts at {times.stamp(at)}" if at is not None else "waits until somebody starts it"


def _reject(seen: Seen) -> Ask:
    line = seen.view.line
    return Ask(
        says=[
            f"Change {line.number} ends for good: its votes and checks count for nothing any more.",
            f"Nothing changes on **{escape(line.endpoint)}**: {_now(seen)}.",
        ],
        confirm="Reject it",
        done=f"You rejected change {line.number}.",
        hint="What would have to be different?",
        icon="close",
    )


def _withdraw(seen: Seen) -> Ask:
    line = seen.view.line
    return Ask(
        says=[f"Change {line.number} ends. Nothing changes on **{escape(line.endpoint)}**: {_now(seen)}."],
        confirm="Withdraw it",
        done=f"Change {line.number} is withdrawn.",
        hint="Why is it not wanted any more?",
        icon="remove_circle",
    )


def _start(seen: Seen) -> Ask:
    line = seen.view.line
    return Ask(
        says=[f"Within seconds the first step is pushed to **{escape(line.endpoint)}** in **{escape(line.environment)}**."],
        rows=change_plan.step_rows(seen.plan),
        head=change_plan.STEPS_HEAD,
        confirm="Start it now",
        done=f"Change {line.number} starts.",
        hint="Why now?",
        icon="play_arrow",
        label="Reason (goes to the discussion)",
    )


def _rebase(seen: Seen) -> Ask:
    line = seen.view.line
    void = sum(1 for one in seen.view.votes if not one.void_reason)
    return Ask(
        says=[
            f"The plan is drawn anew on what is live now: {_now(seen)}.",
            f"It still asks for version {line.version} on **{escape(line.endpoint)}**. It returns to review with a new digest: "
            f"{void} vote{'s' * (void != 1)} and every check's result are void.",
        ],
        confirm="Draw it anew",
        done=f"Change {line.number} was drawn anew; its checks run.",
        hint="Why is it still right?",
        icon="restart_alt",
        label="Reason (goes to the discussion)",
    )


def _revoke(seen: Seen) -> Ask:
    line = seen.view.line
    runs = (
        "What runs stays as it is until somebody rolls it back"
        if not seen.undecided
        else "It has not started, and cannot any more"
    )
    return Ask(
        says=[
            f"The approval of change {line.number} is taken back: nothing more is pushed or repaired under it.",
            f"{runs}: {_now(seen)} on **{escape(line.endpoint)}**.",
        ],
        confirm="Revoke the approval",
        done=f"The approval of change {line.number} is revoked.",
        hint="What has come to light?",
        icon="gpp_bad",
    )


def _roll_back(seen: Seen) -> Ask:
    line, plan = seen.view.line, seen.plan
    back: Mapping[str, int] = plan.rollback.shares if plan.rollback is not None else {}
    now = _shares(seen)
    versions = sorted({*now, *(plan.arm(name).version for name in back)})
    after = {plan.arm(name).version: share for name, share in back.items()}
    rows = [(f"Version {one}", percent(now.get(one, 0)), percent(after.get(one, 0))) for one in versions]
    said = (
        "back to what ran before, as was approved together with it"
        if back
        else "nothing runs afterwards: nothing ran before it"
    )
    return Ask(
        says=[
            f"**{escape(line.endpoint)}** in **{escape(line.environment)}** goes {said}.",
            "It is pushed within seconds, in one step.",
        ],
        rows=rows,
        head=("Version", "Has now", "Gets"),
        confirm="Roll it back",
        done=f"Change {line.number} is being rolled back.",
        hint="What went wrong?",
        icon="undo",
    )


def _pause(seen: Seen) -> Ask:
    return Ask(
        says=[
            f"No further step is taken. It stays as it is: {_now(seen)}.",
            "It is still looked at, and can be rolled back at any time.",
        ],
        confirm="Pause the rollout",
        done="The rollout is paused.",
        hint="What do you want to look at?",
        icon="pause",
    )


def _resume(seen: Seen) -> Ask:
    return _goes_on(seen, "Resume the rollout", "The rollout goes on.", "play_arrow")


def _let_on(seen: Seen) -> Ask:
    return _goes_on(seen, "Let it go on", "The rollout goes on to its next step.", "skip_next")


def _goes_on(seen: Seen, confirm: str, done: str, icon: str) -> Ask:
    walk = seen.view.rollout
    here = walk.step if walk is not None else 0
    rows = change_plan.step_rows(seen.plan)[here:]
    return Ask(
        says=[f"**{escape(seen.view.line.endpoint)}**: now {_now(seen)}. What is left of the plan:"],
        rows=rows,
        head=change_plan.STEPS_HEAD,
        confirm=confirm,
        done=done,
        hint="What did you look at?",
        icon=icon,
    )


def _shares(seen: Seen) -> dict[int, int]:
    """Buckets by version, as last seen on the endpoint."""
    found: dict[int, int] = {}
    for one in (seen.endpoint.base or {}).get("arms", ()):
        found[int(one["version"])] = found.get(int(one["version"]), 0) + int(one["buckets"])
    return found


def _now(seen: Seen) -> str:
    held = {version: share for version, share in _shares(seen).items() if share}
    order = sorted(held.items(), key=lambda one: -one[1])
    return ", ".join(f"version {version} keeps {percent(share)}" for version, share in order) or "nothing runs there"


_DIALOGS: Mapping[str, tuple[str, Callable[[Seen], Ask]]] = {
    "approve": ("Approve change", _approve),
    "reject": ("Reject change", _reject),
    "withdraw": ("Withdraw change", _withdraw),
    "start": ("Start change", _start),
    "rebase": ("Draw anew: change", _rebase),
    "revoke": ("Revoke the approval of change", _revoke),
    "roll_back": ("Roll back change", _roll_back),
    "pause": ("Pause the rollout of change", _pause),
    "resume": ("Resume the rollout of change", _resume),
    "let_on": ("Let on: change", _let_on),
}
