"""Changes in words: what one is called, when it starts, until when it is decided, and the one sentence that answers for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from app.kit import times
from app.kit.addresses import number_in
from app.kit.plain import escape
from app.kit.states import badge
from backend.changes.queries import OPEN, ChangeLine
from backend.changes.view import ChangeView
from backend.core.errors import NotFound
from backend.delivery.plan import Arm, Plan, parse_plan, percent
from backend.policy.rules import Policy
from backend.rollouts.queries import RolloutView

SOON = timedelta(days=1)
START_MODES: Mapping[str, str] = {
    "at_once": "As soon as it is approved",
    "by_hand": "When somebody starts it",
    "at_time": "At a time",
}
_APPROVALS = re.compile(r"([0-9]+) more approval\(s\) of (.+)\.")
_OF_CHECKS: Mapping[str, str] = {
    "has not run yet": "have not run yet",
    "is running": "are running",
    "did not pass": "did not pass",
    "could not run": "could not run",
    "is out of date and will be repeated": "are out of date and will be repeated",
}
"""What `ChangeView.missing` says of one check, and how it is said of several."""
_OVER: Mapping[str, str] = {
    "rejected": "It was rejected",
    "withdrawn": "It was withdrawn",
    "expired": "It expired",
    "superseded": "Another change took its place",
    "revoked": "Its approval was revoked; what runs stays until somebody rolls it back",
    "failed": "It failed",
    "rolled_back": "It was rolled back, and what ran before is proved again",
}


def reference(text: str) -> int:
    """The number of a change from an address. NotFound for what is none."""
    if (number := number_in(text)) is None:
        raise NotFound("change", text[:40], "Open it from the Approvals page.")
    return number


def version_of(plan: Plan, wanted_version: int) -> str:
    """The arm of the version that a change is about."""
    return next((arm.name for arm in plan.arms if arm.version == wanted_version), plan.champion)


def starts(view: ChangeView) -> str:
    """How it starts once it is approved, in the middle of a line."""
    if view.start_at is not None:
        return f"starts at {times.stamp(view.start_at)}"
    return {"at_once": "starts at once when approved", "by_hand": "starts by hand"}.get(view.start_mode, view.start_mode)


def deadline(line: ChangeLine, now: datetime) -> str:
    """Until when it is decided or started; "" once it is."""
    if line.state not in OPEN or line.state == "applying" or line.decide_by is None:
        return ""
    return f"expires {times.age(line.decide_by, now)}"


def facts(view: ChangeView, now: datetime) -> str:
    """The line under the title."""
    line = view.line
    told = [
        f"Change {line.number}",
        f"{escape(line.endpoint)} in {escape(line.environment)}",
        f"asked by **{escape(line.requester)}**",
        f"last moved {times.both(line.updated_at, now)}",
        starts(view) if line.state in OPEN and line.state != "applying" else "",
        deadline(line, now),
    ]
    return " · ".join(one for one in told if one)


def answer(view: ChangeView, *, live: bool) -> str:
    """What stops it, or what it waits for, in one plain sentence; Markdown, escaped.

    Args:
        live: whether the endpoint's newest generation is this change's.
    """
    line = view.line
    if line.state in _OVER:
        why = f": {escape(line.state_reason.rstrip('.'))}" if line.state_reason else ""
        return f"{_OVER[line.state]}{why}."
    if line.state == "done":
        return _done(view, live=live)
    if line.state == "applying":
        return _under_way(view)
    if line.state == "suspended":
        return f"Nothing goes on: {_small(view.line.state_reason)} Draw it anew on what is live now."
    nearest = [escape(one) for one in condensed(view.missing)[:2]]
    if line.state == "blocked":
        return f"It is stopped: {' '.join(nearest) or escape(line.state_reason)}"
    if not nearest:
        return escape(line.state_reason) or "Nothing is missing; it starts within seconds."
    return f"It waits: {' '.join(nearest)}"


def condensed(missing: Sequence[str]) -> list[str]:
    """What is missing, the same said of several checks said once: `3 checks are out of date and will be repeated.`"""
    said = [(one, next((end for end in _OF_CHECKS if one.endswith(f": {end}.")), "")) for one in missing]
    counted = Counter(end for _, end in said if end)
    told: dict[str, None] = {}
    for one, end in said:
        many = counted[end] > 1 if end else False
        told[f"{counted[end]} checks {_OF_CHECKS[end]}." if many else worded(one.replace(": ", " ") if end else one)] = None
    return list(told)


def worded(missing: str) -> str:
    """`1 more approval(s) of reviewer.` as one says it: `1 more approval of a reviewer.`"""
    found = _APPROVALS.fullmatch(missing)
    if found is None:
        return missing
    one = found[1] == "1"
    return f"{found[1]} more approval{'' if one else 's'} of {'a ' if one else ''}{found[2]}{'' if one else 's'}."


def _small(reason: str) -> str:
    return escape(f"{reason[:1].lower()}{reason[1:]}") if reason else ""


def _done(view: ChangeView, *, live: bool) -> str:
    shares = shares_say(parse_plan(view.plan), parse_plan(view.plan).shares)
    where = escape(view.line.endpoint)
    return (
        f"It is live and proved: {shares} on {where}." if live else f"It was live on {where}; something newer runs there now."
    )


def _under_way(view: ChangeView) -> str:
    plan, walk = parse_plan(view.plan), view.rollout
    if walk is None:
        return "It starts now."
    told = f"Step {walk.step + 1} of {len(walk.steps)}: {shares_say(plan, walk.steps[walk.step].shares)}"
    if walk.state == "paused":
        return f"{told}. It is paused{': ' + escape(walk.reason.rstrip('.')) if walk.reason else ''}."
    if walk.waits_for_person:
        return f"{told}. It waits until somebody lets it go on."
    if walk.state == "ramping":
        return f"{told} is being pushed and is not proved yet."
    held = f", held until {times.stamp(walk.hold_until)}" if walk.hold_until else ""
    says = walk.reason if not walk.reason.startswith("Holds this step") else ""
    return f"{told}{held}. {escape(says, 300)}".rstrip()


def shares_say(plan: Plan, shares: Mapping[str, int]) -> str:
    """`version 2 has 10 %, version 1 has 90 %`, the largest first; arms without a share are left out."""
    order = sorted(shares.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{named(plan, plan.arm(name))} has {percent(share)}" for name, share in order if share)


def named(plan: Plan, arm: Arm) -> str:
    """`version 3`, and the arm's name where another arm is of the same version."""
    twice = any(other.version == arm.version and other.name != arm.name for other in plan.arms)
    return f"version {arm.version}{f' ({arm.name})' if twice else ''}"


def shares_at(plan: Plan, shares: Mapping[str, int]) -> str:
    """`version 1 at 100 %`, as a place to go to."""
    return shares_say(plan, shares).replace(" has ", " at ")


def approvals(view: ChangeView, policy: Policy) -> tuple[int, int]:
    """(votes that approve and count, how many are asked for)."""
    had = len({one.voter for one in view.votes if one.counts and one.verdict == "approve"})
    return had, max(policy.approvals_needed, sum(group.needed for group in policy.groups))


def step_badge(walk: RolloutView | None) -> str:
    """The state of its rollout."""
    return badge("rollout", walk.state) if walk is not None else ""
