"""What each dialog of a change says before anything is done: what will be so afterwards, in absolute terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.change_pages import change_plan
from app.change_pages.change_page import Seen
from app.change_pages.changes import approvals, shares_at
from app.kit import times
from app.kit.components import short
from app.kit.dialogs import Ask
from app.kit.plain import escape
from backend.delivery.plan import percent


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


def _skip(seen: Seen) -> Ask:
    """Which steps are not waited for, and at which one a person looks next."""
    walk = seen.view.rollout
    here = walk.step if walk is not None else 0
    to = walk.may_skip_to if walk is not None and walk.may_skip_to is not None else here
    rows = change_plan.step_rows(seen.plan)
    return Ask(
        says=[
            f"**{escape(seen.view.line.endpoint)}** goes on to **step {to + 1}** at once: {rows[to][1]}. There somebody looks.",
            f"Not waited for: the time and the sample of step{'s' * (to - here > 1)} "
            f"{', '.join(str(one + 1) for one in range(here, to))}. A guardrail that fails still rolls it back.",
        ],
        rows=rows[here : to + 1],
        head=change_plan.STEPS_HEAD,
        confirm=f"Skip to step {to + 1}",
        done=f"The rollout goes on to step {to + 1}.",
        hint="What makes up for the time and the sample?",
        icon="fast_forward",
    )


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


DIALOGS: Mapping[str, tuple[str, Callable[[Seen], Ask]]] = {
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
    "skip": ("Skip steps of change", _skip),
}
"""Action -> the dialog's title, which the change's number follows, and what it says."""
