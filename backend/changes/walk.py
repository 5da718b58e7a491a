"""The way of a plan: the states that its ramp walks, what each asks for before the next, and whether a policy lets it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from backend.changes.shares import apportion
from backend.changes.wanted import Wanted
from backend.core.canonical import digest
from backend.core.errors import Refusal
from backend.delivery.plan import BUCKETS, percent
from backend.policy.rules import Policy, RampStep, between

NOBODY: Mapping[int, str] = {}


@dataclass(frozen=True)
class Terms:
    """The policy in force, its id `<environment>@<version>`, and the steps of the ramps that it asks for by name."""

    policy_id: str
    policy: Policy
    ramps: Mapping[str, Sequence[RampStep]] = field(default_factory=dict)


def states(
    wanted: Wanted, live: Mapping[str, Mapping[str, Any]], name: str, endpoint: str, begin: Mapping[int, str] = NOBODY
) -> list[dict[str, int]]:
    """Shares of every arm at each step of the ramp and at the end. `begin`: arms that begin beside, by version."""
    others = {other: int(one["buckets"]) for other, one in live.items() if other != name}
    if not others and (wanted.share != BUCKETS or wanted.ramp):
        raise Refusal(
            f"Nothing else runs on {endpoint} that could answer the rest.",
            f"Give the version {percent(BUCKETS)} at once.",
            code="nothing-else-runs",
        )
    if not wanted.rest:
        ways = (*(step.share for step in wanted.ramp), wanted.share)
        return [{**apportion(others, BUCKETS - share), name: share} for share in ways]
    now, final = {**others, **dict.fromkeys(begin.values(), 0)}, _final(wanted, live, others, endpoint, begin)
    was = int(live[name]["buckets"]) if name in live else 0
    return [*(_between(now, final, name, was, wanted, step.share) for step in wanted.ramp), {**final, name: wanted.share}]


def _final(
    wanted: Wanted,
    live: Mapping[str, Mapping[str, Any]],
    others: Mapping[str, int],
    endpoint: str,
    begin: Mapping[int, str],
) -> dict[str, int]:
    """How the rest is split at the end, among what runs besides and what begins with it."""
    arms = {**{int(live[other]["version"]): other for other in others}, **begin}
    told = {one.version: one.share for one in wanted.rest}
    if set(told) != set(arms):
        runs = ", ".join(str(int(live[other]["version"])) for other in sorted(others)) or "nothing"
        raise Refusal(
            f"Besides version {wanted.version}, {endpoint} runs {runs}; the rest has to be split among all of that.",
            "Give a share for each version that runs; 0 takes one off.",
            code="bad-share",
        )
    return {arms[version]: share for version, share in told.items()}


def _between(
    now: Mapping[str, int], final: Mapping[str, int], name: str, was: int, wanted: Wanted, share: int
) -> dict[str, int]:
    """The rest at one step: as far on its way from now to the end as the version is, so that each arm goes one way only."""
    gone, whole = share - was, wanted.share - was
    if not whole:
        return {**final, name: share}
    # Whole numbers of a whole-th of a bucket; what they come to is shared out exactly.
    parts = {other: now[other] * (whole - gone) + final[other] * gone for other in now}
    weights = {other: abs(part) for other, part in parts.items() if part}
    return {**dict.fromkeys(now, 0), **apportion(weights, BUCKETS - share), name: share}


def same_age(
    wanted: Wanted, base: Mapping[str, Any] | None, live: Mapping[str, Mapping[str, Any]], served_name: str
) -> dict[str, Any] | None:
    """A second copy of the champion under a name of its own on the server: it is loaded as newly as the new version."""
    if not wanted.same_age or base is None or base["champion"] not in live:
        return None
    champion = live[str(base["champion"])]
    mark = digest({"same age": champion["package_digest"]}).removeprefix("sha256:")[:8]
    name = f"{served_name}.{mark}"
    place = {"model": name, "version": champion["version"]}
    return {**champion, "name": f"{str(champion['name'])[:50]}-same-age", "served_as": place, "buckets": 0}


def with_twin(
    states: list[dict[str, int]], twin: Mapping[str, Any] | None, name: str, base: Mapping[str, Any] | None
) -> list[dict[str, int]]:
    """The same states, with as much for the twin as the new version has, of the champion's part, of which it leaves half."""
    if twin is None or base is None:
        return states
    champion = str(base["champion"])
    found = []
    for shares in states[:-1]:
        part = min(shares[name], shares.get(champion, 0) // 2)
        found.append({**shares, champion: shares.get(champion, 0) - part, str(twin["name"]): part})
    return [*found, states[-1]]


def check(wanted: Wanted, live: Mapping[str, Mapping[str, Any]], name: str, terms: Terms) -> None:
    """A ramp goes one way only, and where the share grows it is at least as gentle as the policy asks."""
    now = int(live[name]["buckets"]) if name in live else 0
    serving = [step for step in wanted.ramp if not step.shadow]
    way = [now, *(step.share for step in serving), wanted.share]
    grows = wanted.share > now
    if any(step.shadow for step in wanted.ramp[len(wanted.ramp) - len(serving) :]) or (now and serving != [*wanted.ramp]):
        raise _ramp_refusal("A version gets copies before it answers anybody.", "Put that step first.", "bad-ramp")
    if serving and any(before == after or (before < after) != grows for before, after in pairwise(way)):
        raise _ramp_refusal(
            f"The ramp does not go one way from {percent(now)} to {percent(wanted.share)}.", "Order its shares.", "bad-ramp"
        )
    if not grows or not live:
        return
    rule, first = terms.policy.ramp, way[1] - now
    _demand_named(wanted, now, terms)
    if len(serving) < rule.min_steps:
        raise _ramp_refusal(
            f"The policy asks for a ramp of at least {rule.min_steps} step(s); this one has {len(serving)}.",
            "Add steps to the ramp.",
        )
    if first > rule.max_first_share:
        raise _ramp_refusal(
            f"The policy lets the first step move at most {percent(rule.max_first_share)}; this one moves {percent(first)}.",
            "Begin the ramp with a smaller share.",
        )
    if short := [step for step in wanted.ramp if step.hold_seconds < rule.min_hold_seconds]:
        raise _ramp_refusal(
            f"The policy asks to hold each step for {rule.min_hold_seconds} s at least; {percent(short[0].share)} is held for "
            f"{short[0].hold_seconds} s.",
            "Hold it longer.",
        )


def _demand_named(wanted: Wanted, now: int, terms: Terms) -> None:
    """Where the policy asks for ramps by name, one of them is walked: the part of it that lies on the way."""
    asked = [one.model_dump() for one in wanted.ramp]
    ways = [[one.model_dump() for one in between(steps, now, wanted.share)] for steps in terms.ramps.values()]
    if terms.policy.ramp.named and asked not in ways:
        names = " or ".join(terms.policy.ramp.named)
        raise _ramp_refusal(f"The policy asks for the ramp {names}; this is another way.", f"Name the ramp {names}.")


def _ramp_refusal(message: str, remedy: str, code: str = "policy") -> Refusal:
    return Refusal(message, remedy, code=code)


def steps(
    states: Sequence[Mapping[str, int]], ramp: Sequence[RampStep], name: str, compared: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """The ramp's steps with their gates. Where there are guardrails and a step says nothing of them, none may have failed, and
    before the last state they have to be proved to be kept.
    """
    found = []
    for place, (shares, step) in enumerate(zip(states, ramp, strict=True)):
        gates: dict[str, Any] = {"hold_seconds": step.hold_seconds, "person": step.person}
        if compared is not None and not step.shadow:
            usual = ("passed" if place == len(ramp) - 1 else "not_failed") if compared["guardrails"] else None
            gates |= {"min_units": step.min_units, "statistics": step.statistics or usual}
        elif step.min_units or step.statistics:
            raise _ramp_refusal(
                "A step asks for units or statistics, and nothing is measured there.", "Name a guardrail.", "bad-ramp"
            )
        found.append({"shares": dict(shares), **gates, **({"shadow": name} if step.shadow else {})})
    return found
