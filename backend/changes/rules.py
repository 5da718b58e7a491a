"""Rules of changes: the state machine, and what a change does next. Pure decisions on values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from backend.core.machine import Machine
from backend.evidence.rules import Outlook

_REVIEWED = ("checking", "review", "approved", "blocked", "suspended")
UNDECIDED = ("draft", *_REVIEWED)
"""States of a change that has not started and may still do so."""
STARTED = ("applying", "done", "failed", "revoked")
"""States of a change that may be live, or that may have to be gone back from."""

CHANGE = Machine(
    noun="change",
    initial="draft",
    states=(
        "draft",
        "checking",
        "review",
        "approved",
        "applying",
        "done",
        "blocked",
        "rejected",
        "withdrawn",
        "expired",
        "suspended",
        "revoked",
        "failed",
        "rolled_back",
        "superseded",
    ),
    table={
        ("draft", "submit"): "checking",
        ("checking", "checked"): "review",
        ("checking", "check_failed"): "blocked",
        ("blocked", "recheck"): "checking",
        ("review", "recheck"): "checking",
        ("review", "check_failed"): "blocked",
        ("review", "approve"): "approved",
        ("review", "reject"): "rejected",
        ("approved", "reject"): "rejected",
        ("approved", "revoke"): "revoked",
        ("approved", "start"): "applying",
        ("approved", "check_failed"): "blocked",
        ("suspended", "rebase"): "review",
        ("applying", "prove"): "done",
        ("applying", "fail"): "failed",
        ("applying", "revoke"): "revoked",
        ("applying", "roll_back"): "rolled_back",
        ("applying", "supersede"): "superseded",
        ("done", "roll_back"): "rolled_back",
        ("done", "revoke"): "revoked",
        ("failed", "roll_back"): "rolled_back",
        ("revoked", "roll_back"): "rolled_back",
        **{(state, "edit"): "draft" for state in ("draft", *_REVIEWED)},
        **{(state, "withdraw"): "withdrawn" for state in ("draft", *_REVIEWED)},
        **{(state, "expire"): "expired" for state in ("draft", *_REVIEWED)},
        **{(state, "supersede"): "superseded" for state in ("draft", *_REVIEWED)},
        **{(state, "suspend"): "suspended" for state in ("checking", "review", "approved", "blocked")},
    },
    remedies={
        "checking": "Wait until its checks have ended; then it can be reviewed.",
        "applying": "Revoke it or roll it back if it has to stop.",
        "done": "Roll it back if it has to go.",
        "rejected": "Propose a new change that answers the reason of the rejection.",
        "expired": "Propose it again; approvals are only good for a limited time.",
        "withdrawn": "Propose it again if it is still wanted.",
        "superseded": "Look at the change that took its place.",
        "suspended": "Rebase it on what is live now; reviewers then see the fresh difference.",
        "blocked": "Read the failed check; edit the change or repair the cause and check again.",
    },
)

CLEAR = Outlook()
Walk = Literal["none", "under_way", "complete", "aborted", "rolled_back"]
"""What became of a change's own rollout."""


@dataclass(frozen=True)
class Circumstances:
    """A change and all that bears on it, as read just now.

    Args:
        moved: how what is live differs from what the plan was drawn on, as a sentence; "" while it does not.
        waits: what it has to wait for before it can start, as a sentence.
        takes_over: it may end the rollout that it waits for, by that one's way back.
        lacks: what is missing for its approval, as sentences.
        revoked: its authorization was revoked.
        walk_says: the reason that its own rollout gives.
        way_back: whether the endpoint's newest generation is its way back, and whether that is proved.
    """

    state: str
    now: datetime
    decide_by: datetime | None = None
    requester_active: bool = True
    policy: str = ""
    policy_now: str = ""
    moved: str = ""
    waits: str = ""
    takes_over: bool = False
    outlook: Outlook = CLEAR
    lacks: tuple[str, ...] = ()
    start_mode: str = "at_once"
    start_at: datetime | None = None
    revoked: bool = False
    walk: Walk = "none"
    walk_says: str = ""
    way_back: Literal["", "taken", "proved"] = ""


@dataclass(frozen=True)
class Due:
    """What happens next to a change: an event of the machine, checks to be run, or nothing before `look_at`.

    Two events are more than a transition: `start` needs the bytes hashed anew, and `take_over` is not the change's own.
    `reason` is kept with the change and shown; None leaves the one that it has. Without `look_at` only somebody's act can
    change anything.
    """

    event: str | None = None
    reason: str | None = None
    gates: tuple[str, ...] = ()
    look_at: datetime | None = None


_AT_REST = 40
"""How many times as long a change that waits for a person's act is left alone: there may be thousands."""


def due(at: Circumstances, *, poll: timedelta) -> Due:
    """What happens to a change now; what nobody announces is looked at again after `poll`."""
    if at.state in UNDECIDED:
        return _stop(at) or _forward(at, at.now + poll)
    return _after_start(at, at.now + poll) if at.state in STARTED else Due()


def _stop(at: Circumstances) -> Due | None:
    """What ends or suspends a change that has not started, the strongest first."""
    if at.decide_by is not None and at.now >= at.decide_by:
        what = "started" if at.state == "approved" else "decided"
        return Due("expire", f"It was not {what} until {at.decide_by:%Y-%m-%d %H:%M} UTC.")
    if at.state == "approved" and at.revoked:
        return Due("revoke", "Its approval was revoked.")
    if at.state in ("draft", "suspended"):
        return None
    if not at.requester_active:
        return Due("suspend", "Whoever requested it was deactivated; somebody has to take it over.")
    if at.policy_now != at.policy:
        return Due("suspend", f"It was drawn under {at.policy}; {at.policy_now} is in force now.")
    return Due("suspend", at.moved) if at.moved else None


def _forward(at: Circumstances, later: datetime) -> Due:
    if at.state in ("draft", "suspended"):  # only a person's act moves it, or its time
        rest = at.now + _AT_REST * (later - at.now)
        return Due(look_at=rest if at.decide_by is None else min(at.decide_by, rest))
    if at.state == "blocked":
        return Due(look_at=later)
    if at.outlook.wanted:
        return Due(reason="Its checks are running.", gates=at.outlook.wanted, look_at=later)
    if at.outlook.blocking:
        return Due("check_failed", f"Not passed: {', '.join(at.outlook.blocking)}.")
    if at.outlook.waiting:
        return Due(reason="Its checks are running.", look_at=later)
    if at.state == "checking":
        return Due("checked")
    if at.state == "review":
        return Due(reason=at.waits, look_at=later) if at.lacks else Due("approve")
    return _begin(at, later)


def _begin(at: Circumstances, later: datetime) -> Due:
    """An approved change: not before its time, and not while it has to wait."""
    if at.start_mode == "by_hand" and at.start_at is None:
        return Due(reason="Waits for somebody to start it.", look_at=later)
    if at.start_at is not None and at.now < at.start_at:
        return Due(reason=f"Starts at {at.start_at:%Y-%m-%d %H:%M} UTC.", look_at=min(at.start_at, later))
    if at.waits:
        return Due("take_over") if at.takes_over else Due(reason=at.waits, look_at=later)
    return Due("start")


def _after_start(at: Circumstances, later: datetime) -> Due:
    if at.way_back == "proved":
        return Due("roll_back", "Its way back is proved.")
    if at.state != "applying":
        return Due(look_at=later if at.way_back else None)
    if at.walk == "aborted":
        return Due("fail", at.walk_says or "Its rollout was aborted.")
    if at.walk == "complete":
        return Due("prove")
    if at.revoked:
        return Due("revoke", "Its approval was revoked.")
    return Due(reason=at.walk_says, look_at=later)
