"""Rules of rollouts: the state machine, and what a rollout does next. Pure decisions on values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.core.machine import Machine

ROLLOUT = Machine(
    noun="rollout",
    initial="waiting",
    states=("waiting", "ramping", "holding", "complete", "paused", "aborted", "rolled_back"),
    table={
        ("waiting", "begin"): "ramping",
        ("waiting", "abort"): "aborted",
        ("ramping", "step_proved"): "holding",
        ("ramping", "finished"): "complete",
        ("ramping", "pause"): "paused",
        ("ramping", "abort"): "aborted",
        ("ramping", "roll_back"): "rolled_back",
        ("holding", "advance"): "ramping",
        ("holding", "pause"): "paused",
        ("holding", "abort"): "aborted",
        ("holding", "roll_back"): "rolled_back",
        ("paused", "resume_ramping"): "ramping",
        ("paused", "resume_holding"): "holding",
        ("paused", "abort"): "aborted",
        ("paused", "roll_back"): "rolled_back",
        ("complete", "roll_back"): "rolled_back",
    },
    remedies={
        "complete": "Roll it back if it has to go.",
        "aborted": "Propose the version again to start a new rollout.",
        "rolled_back": "Propose the version again to start a new rollout.",
    },
)

LATE = timedelta(minutes=5)
"""How long an admitted step may stay unproved before that is told."""

OPEN = ("waiting", "ramping", "holding", "paused")
"""States of a rollout that is under way: no other may start on its endpoint."""


@dataclass(frozen=True)
class Position:
    """Where a rollout stands, as read just now.

    Args:
        step: index of the newest admitted step; `last_step` is the plan's last.
        step_since: when that step was found proved; None while it is not.
        person: whether somebody must let it go on after this step; `let_on`: the highest step after which somebody did.
        live: the endpoint's newest generation is this rollout's newest step.
        went_back: the endpoint's newest generation is this rollout's way back.
        proved: that newest generation was read back whole.
        endpoint_state: of the endpoint; only `in_sync` says that what runs now is what was proved.
        guarded: the plan asks for guardrails.
        frozen: reason of a freeze that is in force, or "".
        held: which findings hold it, as a sentence, or ""; `held_for_person`: whether a person has to resume it then.
        watched: whether findings may hold it at all.
        admitted_at: when the newest step was admitted.
        trouble: what keeps the endpoint from being proved, as far as its latest attempt told, or "".
    """

    state: str
    step: int
    last_step: int
    step_since: datetime | None
    hold_seconds: int
    person: bool
    let_on: int
    live: bool
    went_back: bool
    proved: bool
    endpoint_state: str
    revoked: bool
    guarded: bool = False
    frozen: str = ""
    held: str = ""
    held_for_person: bool = False
    watched: bool = False
    admitted_at: datetime | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Decision:
    """What happens next: an event of the machine now, or nothing before `look_at` (None: until somebody acts).

    `advance` is only decided here; the stored bytes are hashed anew before it is done. `late`: somebody has to be told.
    """

    event: str | None = None
    reason: str = ""
    look_at: datetime | None = None
    late: bool = False


def decide(at: Position, now: datetime, *, poll: timedelta) -> Decision:
    """What a rollout does now. It never goes on because something is not known.

    Args:
        poll: interval after which something that nobody announces is looked at again.
    """
    if at.state not in OPEN or at.state == ROLLOUT.initial:  # begun in the unit that opens it
        return Decision()
    if at.went_back:
        return Decision("roll_back", "Its way back was taken.")
    if not at.live:
        return Decision("abort", "Something else is live on this endpoint now.")
    if at.revoked:
        says = "Its approval was revoked; no further step is admitted. Roll it back, or leave it as it is."
        return Decision() if at.state == "paused" else Decision("pause", says)
    if at.held and at.held_for_person and at.state in ("ramping", "holding") and at.step < at.last_step:
        return Decision("pause", f"{at.held} Resume it once that is over.")
    if at.state == "ramping":
        return _ramping(at, now, poll)
    return _holding(at, now, poll) if at.state == "holding" else Decision()


def _ramping(at: Position, now: datetime, poll: timedelta) -> Decision:
    if not at.proved:
        return _unproved(at, now, poll)
    return Decision("finished" if at.step >= at.last_step else "step_proved")


def _unproved(at: Position, now: datetime, poll: timedelta) -> Decision:
    """A step that takes too long says so, and its work item counts as failing: nothing waits in silence."""
    if at.admitted_at is None or now - at.admitted_at < LATE:
        return Decision(look_at=now + poll)
    says = f"Not proved since it was admitted at {at.admitted_at:%Y-%m-%d %H:%M:%S} UTC"
    return Decision(reason=f"{says}: {at.trouble or 'no attempt has come to an end'}.", look_at=now + poll, late=True)


def _holding(at: Position, now: datetime, poll: timedelta) -> Decision:
    """The gates of a step in their order: time, what is measured, a person. What cannot be judged is never a pass."""
    if at.step_since is None:
        return Decision(reason="It is not known since when this step is proved.", look_at=now + poll)
    over = at.step_since + timedelta(seconds=at.hold_seconds)
    if at.held:
        return Decision(reason=at.held, look_at=now + poll)
    if now < over:
        says = f"Holds this step until {over:%Y-%m-%d %H:%M:%S} UTC."
        return Decision(reason=says, look_at=min(over, now + poll) if at.watched else over)
    if not at.proved or at.endpoint_state != "in_sync":
        says = f"Waits until the endpoint is in sync; it is {at.endpoint_state.replace('_', ' ')}."
        return Decision(reason=says, look_at=now + poll)
    if at.guarded:
        says = "Its plan has guardrails and nothing measures them here; no data is never a pass."
        return Decision(reason=says, look_at=now + poll)
    if at.person and at.let_on < at.step:
        return Decision(reason="Waits for somebody to let it go on.", look_at=now + poll)
    if at.frozen:
        return Decision(reason=f"Waits for the end of a freeze: {at.frozen}", look_at=now + poll)
    return Decision("advance")
