"""What follows from a look, pure: an endpoint's states, whether to push, when repairing is a fight, when to try again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from backend.core.machine import Machine
from backend.delivery.rules import Verdict

STALE_INTERVALS = 3
"""Looks that may be missed before an endpoint counts as not seen."""
FIGHT_REPAIRS, FIGHT_INTERVALS = 3, 10

_LIVE = ("in_sync", "pushing", "partial", "out_of_sync", "unreachable", "stale")

ENDPOINT = Machine(
    noun="endpoint",
    initial="observed",
    states=("observed", *_LIVE, "fight", "paused"),
    table={
        ("observed", "sign_off"): "pushing",
        **{(state, "admit"): "pushing" for state in _LIVE},
        **{(state, "prove"): "in_sync" for state in _LIVE},
        **{(state, "fall_short"): "partial" for state in _LIVE},
        **{(state, "differ"): "out_of_sync" for state in _LIVE},
        **{(state, "lose"): "unreachable" for state in _LIVE},
        **{(state, "age"): "stale" for state in _LIVE},
        **{(state, "push"): "pushing" for state in _LIVE},
        **{(state, "pause"): "paused" for state in (*_LIVE, "fight")},
        **{(state, "roll_back"): "pushing" for state in (*_LIVE, "fight", "paused")},
        **{(state, "repair_now"): "pushing" for state in (*_LIVE, "fight")},
        **{(state, "call"): "fight" for state in ("partial", "out_of_sync")},
        ("paused", "resume"): "stale",
    },
    remedies={
        "observed": "Sign off its baseline first; until then nothing is ever written to it.",
        "fight": "Find who else changes this endpoint, then choose `repair now`, roll back, or pause.",
        "paused": "Resume it first.",
    },
)

Course = Literal["look", "prove", "push", "unload"]


def course(
    verdict: Verdict,
    *,
    state: str,
    repair: str,
    revoked: bool,
    proved: bool,
    retry_at: datetime | None,
    now: datetime,
) -> Course:
    """What the reconciler does about a verdict on a managed endpoint.

    Args:
        state: of the endpoint, after the verdict was recorded.
        repair: `repair`, or `report`: then somebody must ask for it, which shows as state `pushing`. What a server lost when it
            was started anew (state `partial`, see `restarts`) is nobody's change and is brought back either way.
        revoked: nothing is pushed under a revoked approval.
        proved: whether the newest generation was proved before, so that a difference is somebody else's doing.
    """
    if state in ("observed", "paused", "fight") or verdict.state in ("unreachable", "stale"):
        return "look"
    waiting = retry_at is not None and now < retry_at
    if verdict.state == "in_sync":
        if not proved or state != "in_sync":
            return "look" if waiting else "prove"
        return "unload" if verdict.leftovers and not waiting else "look"
    if revoked or waiting or (proved and repair == "report" and state not in ("pushing", "partial")):
        return "look"
    return "push"


def event_after(
    verdict: Verdict, *, proved: bool, tried: bool, in_part: bool, proofs_failed: bool, restarted: bool = False
) -> str | None:
    """The endpoint's event that follows from the newest look; None when nothing is to be said yet.

    Args:
        restarted: every difference is there because the server was started anew, and none by another hand.
        tried: an attempt to make the generation true was just made, or one failed before.
        in_part: some of what the generation brings is in force.
        proofs_failed: it is configured as wanted, but a proof of it failed.
    """
    if verdict.state == "unreachable":
        return "lose"
    if verdict.state == "stale":
        return "age"
    if verdict.state == "in_sync":
        if proofs_failed:
            return "fall_short"
        return "prove" if proved else None
    if proved:
        return "fall_short" if restarted else "differ"
    return "fall_short" if tried and in_part else None


def fight(repairs: Iterable[datetime], now: datetime, *, interval: timedelta) -> bool:
    """Whether repairing is pointless: it was done three times within ten intervals and is needed again."""
    recent = [one for one in repairs if now - one <= FIGHT_INTERVALS * interval]
    return len(recent) >= FIGHT_REPAIRS


def is_stale(seen_at: datetime | None, now: datetime, *, interval: timedelta) -> bool:
    """Whether the newest look is too old to say anything of now."""
    return seen_at is None or now - seen_at > STALE_INTERVALS * interval


def backoff(failures: int, *, base: float, cap: float, jitter: float) -> float:
    """Seconds until the next attempt: `base * 2^failures` up to `cap`, of which `jitter` (0 to 1) takes away up to half.

    Source: "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), equal jitter.
    """
    whole = min(cap, base * 2.0 ** min(failures, 32))
    return float(whole * (1 - 0.5 * jitter))


def votes_hold(votes: Sequence[Mapping[str, Any]], *, plan_digest: str, base_digest: str, needed: int) -> bool:
    """Whether enough different identities approved exactly this plan on exactly this base, and nobody rejected it."""
    bound = [one for one in votes if one["plan_digest"] == plan_digest and one["base_digest"] == base_digest]
    approving = {one["identity_id"] for one in bound if one["verdict"] == "approve"}
    return len(approving) >= needed and not any(one["verdict"] == "reject" for one in bound)
