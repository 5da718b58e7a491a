"""Rules of rollouts: the state machine, and what a rollout does next. Pure decisions on values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.core.machine import Machine
from backend.delivery.plan import Statistics
from backend.experiments.comparing.standing import Standing

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
        ("holding", "skip"): "ramping",
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
class Gates:
    """What a step asks for besides its time; see `delivery.plan.Step`."""

    min_units: int = 0
    statistics: Statistics | None = None
    person: bool = False


@dataclass(frozen=True)
class Position:
    """Where a rollout stands, as read just now.

    Args:
        step: index of the newest admitted step; `last_step` is the plan's last.
        step_since: when that step was found proved; None while it is not.
        gates: what the step asks for before the next; `let_on`: the highest step after which somebody let it go on.
        live: the endpoint's newest generation is this rollout's newest step.
        went_back: the endpoint's newest generation is this rollout's way back.
        proved: that newest generation was read back whole.
        endpoint_state: of the endpoint; only `in_sync` says that what runs now is what was proved.
        compares: the plan compares arms while it walks; `compared`: how that stands, None before anything is known of it.
        way_back: whether there is a state to go back to.
        skip_to: step up to which somebody had the ones before it skipped.
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
    gates: Gates
    let_on: int
    live: bool
    went_back: bool
    proved: bool
    endpoint_state: str
    revoked: bool
    compares: bool = False
    compared: Standing | None = None
    way_back: bool = True
    skip_to: int = -1
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
    if at.state == "complete":
        return _complete(at)
    if at.state not in OPEN or at.state == ROLLOUT.initial:  # begun in the unit that opens it
        return Decision()
    if at.went_back:
        return Decision("roll_back", "Its way back was taken.")
    if not at.live:
        return Decision("abort", "Something else is live on this endpoint now.")
    if (failed := _failed(at)) is not None:
        return failed
    if at.revoked:
        says = "Its approval was revoked; no further step is admitted. Roll it back, or leave it as it is."
        return Decision() if at.state == "paused" else Decision("pause", says)
    if at.held and at.held_for_person and at.state in ("ramping", "holding") and at.step < at.last_step:
        return Decision("pause", f"{at.held} Resume it once that is over.")
    if at.state == "ramping":
        return _ramping(at, now, poll)
    return _holding(at, now, poll) if at.state == "holding" else Decision()


def _complete(at: Position) -> Decision:
    """Arms that go on sharing the traffic are compared after the last step too, and what fails then goes back as before it."""
    failed = _failed(at) if at.live else None
    return failed if failed is not None and failed.event == "roll_back" else Decision()


def _failed(at: Position) -> Decision | None:
    """What a guardrail asks for at once, whether the rollout is walking or paused; None where it asks for nothing."""
    if at.compared is None or at.compared.action != "rollback":
        return None
    if at.way_back:
        return Decision("roll_back", at.compared.reason)
    says = f"{at.compared.reason} Nothing ran before it, so that there is nothing to go back to."
    return Decision("pause", says) if at.state in ("ramping", "holding") else Decision(reason=says)


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
    if at.compared is not None and at.compared.action == "hold":
        return Decision(reason=at.compared.reason, look_at=now + poll)
    if at.skip_to > at.step and not skip_lacks(at):
        return Decision("skip", f"Skipped to step {at.skip_to + 1}.")
    if now < over:
        says = f"Holds this step until {over:%Y-%m-%d %H:%M:%S} UTC."
        return Decision(reason=says, look_at=min(over, now + poll) if at.watched or at.compares else over)
    if not at.proved or at.endpoint_state != "in_sync":
        says = f"Waits until the endpoint is in sync; it is {at.endpoint_state.replace('_', ' ')}."
        return Decision(reason=says, look_at=now + poll)
    if lacks := measured_lacks(at):
        return Decision(reason=lacks, look_at=now + poll)
    if at.gates.person and at.let_on < at.step:
        return Decision(reason="Waits for somebody to let it go on.", look_at=now + poll)
    if at.frozen:
        return Decision(reason=f"Waits for the end of a freeze: {at.frozen}", look_at=now + poll)
    return Decision("advance")


def measured_lacks(at: Position) -> str:
    """What a step's minimum sample, then its statistics, still lack; "" where they ask for nothing more."""
    gates, stands = at.gates, at.compared
    if not at.compares or not (gates.min_units or gates.statistics):
        return ""
    if stands is None or stands.looked_at is None:
        return "Nothing was measured of its arms yet; no data is never a pass."
    if stands.units < gates.min_units:
        return f"Waits for {gates.min_units:,} units in each arm; the smallest has {stands.units:,} so far."
    if gates.statistics == "passed" and not stands.passed:
        return f"Its guardrails are not proved to be kept yet. {stands.reason}".rstrip()
    if gates.statistics == "not_failed" and not stands.not_failed:
        return f"Its guardrails cannot be judged. {stands.reason}".rstrip()
    return ""


@dataclass(frozen=True)
class Skip:
    """Whether steps may be left out up to the next one after which a person looks: to which, or why not."""

    to: int | None
    refusal: str = ""
    remedy: str = ""


def skip_to(at: Position, persons: Sequence[bool], *, allowed: bool) -> Skip:
    """To which step somebody may skip. Times and samples in between are not waited for; a guardrail that failed, or cannot be
    judged, and a person who is asked for, are never passed over.

    Args:
        persons: of each step, whether a person has to look after it.
        allowed: whether the policy lets steps be skipped at all.
    """
    ahead = next((step for step in range(at.step + 1, len(persons)) if persons[step]), None)
    if not allowed:
        return Skip(None, "The policy lets no step be skipped.", "Let it walk, or propose another ramp.")
    if at.gates.person and at.let_on < at.step:
        return Skip(None, "This step asks for a person itself.", "Let it go on after having looked; that passes nothing over.")
    if at.state != "holding":
        return Skip(None, "The present step is not proved yet.", "Skip once it is.")
    if lacks := skip_lacks(at):
        return Skip(None, lacks, "Roll it back, or wait until that is over.")
    if ahead is None:
        return Skip(None, "No step ahead asks for a person.", "Let it walk; only up to such a step may others be skipped.")
    return Skip(ahead)


def skip_lacks(at: Position) -> str:
    """What keeps a step from being left now, whatever its time and sample; "" for nothing."""
    if not at.proved or at.endpoint_state != "in_sync":
        return f"The endpoint is not in sync; it is {at.endpoint_state.replace('_', ' ')}."
    if at.held or at.frozen:
        return at.held or f"A freeze is in force: {at.frozen}"
    if at.compares and (at.compared is None or at.compared.action != "go" or not at.compared.not_failed):
        told = at.compared.reason if at.compared is not None else "Nothing was measured of its arms yet."
        return f"Its guardrails failed, or cannot be judged. {told}".rstrip()
    return ""
