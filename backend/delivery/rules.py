"""Rules of delivery: pure decisions on values. What is wanted, what was seen, and what follows from the difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from backend.core.canonical import digest
from backend.core.errors import Refusal
from backend.core.machine import Machine
from backend.delivery import buckets
from backend.delivery.desired import DesiredModel, DesiredServer, EndpointRoute, Packaged
from backend.delivery.generations import DesiredArm, DesiredEndpoint
from backend.delivery.plan import percent
from backend.delivery.seen import SeenModel, SeenServer, SeenVersion

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
        ("out_of_sync", "call"): "fight",
        ("paused", "resume"): "stale",
    },
    remedies={
        "observed": "Sign off its baseline first; until then nothing is ever written to it.",
        "fight": "Find who else changes this endpoint, then choose `repair now`, roll back, or pause.",
        "paused": "Resume it first.",
    },
)

State = Literal["in_sync", "partial", "out_of_sync", "unreachable", "stale"]


@dataclass(frozen=True)
class Wanted:
    """What shall be true of one endpoint now.

    Args:
        base_name: the endpoint's own served name; whatever runs under it is the endpoint's business.
        models: served name -> version -> package digest, all of which must be ready.
        leaving: versions that may still be there because an earlier generation needed them, by served name.
        configs: served name -> interface digest that the runtime's configuration must equal, where it is known.
        route: how its router must split the traffic; None without a router.
    """

    base_name: str
    models: Mapping[str, Mapping[int, str]]
    leaving: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    configs: Mapping[str, str] = field(default_factory=dict)
    route: EndpointRoute | None = None


@dataclass(frozen=True)
class Seen:
    """What was read back for one endpoint, and when. `server` or `route_known` is missing where nothing answered."""

    at: datetime
    server: SeenServer | None
    route: EndpointRoute | None = None
    route_known: bool = True
    rejected: str = ""
    trouble: str = ""
    """Why nothing answered, for a person."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as wanted. `foreign`: only another hand explains it, not a push that is under way."""

    where: Literal["server", "router"]
    says: str
    foreign: bool


@dataclass(frozen=True)
class Verdict:
    """What a look comes to. `leftovers`: all is as wanted, but versions that nobody needs are still loaded."""

    state: State
    differences: tuple[Difference, ...] = ()
    leftovers: bool = False
    trouble: str = ""

    @property
    def reason(self) -> str:
        """The differences in words, shortest useful form; "" when there are none."""
        said = [difference.says for difference in self.differences[:5]]
        more = len(self.differences) - len(said)
        return self.trouble or "; ".join(said) + (f"; and {more} more" if more else "")


def judge(wanted: Wanted, seen: Seen, now: datetime, *, stale_after: timedelta) -> Verdict:
    """Compares. `out_of_sync` needs something that only another hand explains, else what is missing is `partial`."""
    if now - seen.at > stale_after:
        return Verdict("stale", trouble=f"not seen since {seen.at.isoformat(timespec='seconds')}")
    if seen.server is None or (wanted.route is not None and not seen.route_known):
        return Verdict("unreachable", trouble=seen.trouble or "its server or its router does not answer")
    differences = (*_server_differences(wanted, seen.server), *_router_differences(wanted, seen))
    if not differences:
        return Verdict("in_sync", leftovers=bool(leftovers(wanted, seen.server)))
    foreign = any(difference.foreign for difference in differences)
    return Verdict("out_of_sync" if foreign else "partial", differences)


def wanted_from(
    base_name: str,
    desired: DesiredEndpoint | None,
    *,
    baked: bool,
    clean: bool,
    configs: Mapping[str, str],
    route: EndpointRoute | None,
) -> Wanted:
    """What one generation wants now; None wants nothing.

    Args:
        baked: its bake time is over, so that what is warm may go.
        clean: nothing of earlier generations was left already, so that what comes back is somebody's doing.
        configs: package digest -> interface digest.
    """
    if desired is None:
        return Wanted(base_name, {})
    needed = needed_arms(desired, baked=baked)
    old = () if clean else (*desired.leaving, *(desired.warm if baked else ()))
    return Wanted(
        base_name,
        models=_by_name(needed),
        leaving=_by_name(old),
        configs={arm.place[0]: configs[arm.package_digest] for arm in needed if arm.package_digest in configs},
        route=route,
    )


def needed_arms(desired: DesiredEndpoint, *, baked: bool) -> tuple[DesiredArm, ...]:
    """Every arm that must be loaded."""
    return desired.arms if baked else (*desired.arms, *desired.warm)


def is_server_right(wanted: Wanted, server: SeenServer) -> bool:
    """Whether the server needs no push; what is left over there may wait."""
    return not _server_differences(wanted, server)


def is_loading(wanted: Wanted, server: SeenServer) -> bool:
    """Whether something that is wanted is still being loaded, so that waiting makes sense."""
    return any(
        _version(server, name, version).state == "loading" for name, lacks in missing(wanted, server).items() for version in lacks
    )


def not_ready(wanted: Wanted, server: SeenServer) -> str:
    """What keeps traffic from going there, in words; "" when all that is wanted is ready."""
    return "; ".join(each.says for each in _server_differences(wanted, server))


def is_part_in_force(wanted: Wanted, server: SeenServer, route: EndpointRoute | None) -> bool:
    """Whether some of what this generation brings is there already: one of its new versions, or its route."""
    new = {(name, number) for name, versions in wanted.models.items() for number in versions if name not in wanted.leaving
           or number not in wanted.leaving[name]}  # fmt: skip
    lacking = {(name, number) for name, versions in missing(wanted, server).items() for number in versions}
    return bool(new - lacking) or (wanted.route is not None and route == wanted.route)


def missing(wanted: Wanted, server: SeenServer) -> dict[str, dict[int, str]]:
    """Versions that are not ready, with their package digests, by served name."""
    found: dict[str, dict[int, str]] = {}
    for name, versions in wanted.models.items():
        for version, package in versions.items():
            if _version(server, name, version).state != "ready":
                found.setdefault(name, {})[version] = package
    return found


def leftovers(wanted: Wanted, server: SeenServer) -> dict[str, dict[int, str]]:
    """Versions of earlier generations that are still there and that nobody needs any more."""
    left: dict[str, dict[int, str]] = {}
    for name, versions in wanted.leaving.items():
        for version, package in versions.items():
            if _version(server, name, version).state in ("ready", "loading", "failed", "unknown"):
                left.setdefault(name, {})[version] = package
    return left


def desired_server(
    wanted: Mapping[str, Wanted], packages: Mapping[str, Path], *, keep: SeenServer | None = None
) -> DesiredServer:
    """The union of what all these endpoints want on one server, in the adapter's words.

    Args:
        wanted: endpoint name -> what it wants. Two packages in one place are refused, with both endpoints named.
        packages: package digest -> local folder, for every digest that is named.
        keep: leave loaded what earlier generations left there (routers may still name it); None: exactly what is wanted.
    """
    refuse_conflicts(wanted)
    models: dict[str, dict[int, Packaged]] = {}
    released: set[str] = set()
    for each in wanted.values():
        kept = leftovers(each, keep) if keep is not None else {}
        for part in (each.models, kept):
            for name, versions in part.items():
                loaded = {number: Packaged(one, packages[one]) for number, one in versions.items()}
                models.setdefault(name, {}).update(loaded)
        released |= {*each.leaving, each.base_name}
    return DesiredServer(
        {name: DesiredModel(name, versions) for name, versions in models.items()}, frozenset(released - set(models))
    )


def refuse_conflicts(wanted: Mapping[str, Wanted]) -> None:
    """Refusal `conflict` when two endpoints want different packages in one place; its facts name both."""
    taken: dict[tuple[str, int], tuple[str, str]] = {}
    for endpoint in sorted(wanted):
        for name, versions in wanted[endpoint].models.items():
            for version, package in versions.items():
                other, theirs = taken.setdefault((name, version), (endpoint, package))
                if theirs != package:
                    raise Refusal(
                        f"{endpoint} and {other} want different packages as version {version} of {name} on one server.",
                        "Give one of the two endpoints a served name of its own.",
                        code="conflict",
                        endpoints=[other, endpoint],
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
        repair: `repair`, or `report`: then somebody must ask for it, which shows as state `pushing`.
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
    if revoked or waiting or (proved and repair == "report" and state != "pushing"):
        return "look"
    return "push"


def event_after(verdict: Verdict, *, proved: bool, tried: bool, in_part: bool, proofs_failed: bool) -> str | None:
    """The endpoint's event that follows from the newest look; None when nothing is to be said yet.

    Args:
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
        return "differ"
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


def base_from(
    number: int, desired: DesiredEndpoint | None, wanted: Wanted | None = None, seen: Seen | None = None
) -> dict[str, Any]:
    """What is live, in the plan's words: what changes are drawn against, and what votes are bound to.

    With `seen` it is told as it was found: an arm that is not ready is left out, shares and champion are the router's.
    """
    arms = desired.arms if desired is not None else ()
    if seen is not None and seen.server is not None:
        server = seen.server
        arms = tuple(arm for arm in arms if _version(server, *arm.place).state == "ready")
    route = seen.route if seen is not None else wanted.route if wanted is not None else None
    shares = {arm.arm: buckets.share(arm.ranges) for arm in route.arms} if route is not None else {}
    told = [_base_arm(arm, shares.get(arm.name, 0 if route is not None else arm.buckets)) for arm in arms]
    base: dict[str, Any] = {
        "generation": number,
        "champion": route.champion if route is not None else desired.champion if desired is not None else None,
        "arms": sorted(told, key=lambda arm: str(arm["name"])),
        "routed": route is not None,
    }
    if wanted is not None and seen is not None and seen.server is not None:
        strangers = _strangers(wanted, seen.server)
        base |= {"strangers": strangers} if strangers else {}
    return base


def seen_facts(names: Iterable[str], server: SeenServer | None, route: EndpointRoute | None) -> dict[str, Any]:
    """What was seen of one endpoint as JSON, without anything that changes from look to look while nothing happens."""
    models = server.models if server is not None else {}
    return {
        "models": {
            name: {
                "versions": {
                    str(number): one.state for number, one in sorted(models[name].versions.items()) if one.state != "not_loaded"
                },
                "config_digest": models[name].config_digest,
            }
            for name in sorted(names)
            if name in models
        },
        "route": route_facts(route),
    }


def route_facts(route: EndpointRoute | None) -> dict[str, Any] | None:
    """A route as JSON: generation, champion, shadow, and each arm's place and buckets."""
    if route is None:
        return None
    return {
        "generation": route.generation,
        "champion": route.champion,
        "shadow": route.shadow,
        "upstream": route.upstream,
        "salt": route.salt,
        "arms": {
            arm.arm: {"served_as": [arm.served_model, arm.served_version], "ranges": [list(one) for one in arm.ranges]}
            for arm in route.arms
        },
    }


def votes_hold(votes: Sequence[Mapping[str, Any]], *, plan_digest: str, base_digest: str, needed: int) -> bool:
    """Whether enough different identities approved exactly this plan on exactly this base, and nobody rejected it."""
    bound = [one for one in votes if one["plan_digest"] == plan_digest and one["base_digest"] == base_digest]
    approving = {one["identity_id"] for one in bound if one["verdict"] == "approve"}
    return len(approving) >= needed and not any(one["verdict"] == "reject" for one in bound)


def own_names(served_name: str, names: Iterable[str]) -> set[str]:
    """Which served names belong to an endpoint: its own, and its own followed by eight hex digits of an interface."""
    return {name for name in names if is_own_name(served_name, name)}


def is_own_name(served_name: str, name: str) -> bool:
    """Whether `name` is `<served name>` or `<served name>.<8 hex>`."""
    tail = name.removeprefix(served_name + ".")
    return name == served_name or (tail != name and len(tail) == 8 and set(tail) <= set("0123456789abcdef"))


def _by_name(arms: Iterable[DesiredArm]) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    for arm in arms:
        name, version = arm.place
        found.setdefault(name, {})[version] = arm.package_digest
    return found


def _version(server: SeenServer, name: str, version: int) -> SeenVersion:
    absent = SeenVersion(version, "not_loaded")
    model = server.models.get(name)
    return model.versions.get(version, absent) if model is not None else absent


def _server_differences(wanted: Wanted, server: SeenServer) -> list[Difference]:
    found: list[Difference] = []
    for name, versions in sorted(wanted.models.items()):
        found += [each for number, one in sorted(versions.items()) if (each := _wrong(name, number, one, server))]
        found += _wrong_config(wanted, name, server.models.get(name))
    return found + [
        Difference("server", f"version {version} of {name} is loaded and no approval names it", foreign=True)
        for name, version in _strangers(wanted, server)
    ]


def _wrong(name: str, version: int, package: str, server: SeenServer) -> Difference | None:
    seen = _version(server, name, version)
    if seen.state != "ready":
        why = f": {seen.reason}" if seen.reason else ""
        says = f"version {version} of {name} is {seen.state.replace('_', ' ')}{why}"
        return Difference("server", says, foreign=False)
    if seen.package_digest not in (None, package):
        return Difference("server", f"version {version} of {name} loads other bytes than were approved", foreign=True)
    return None


def _wrong_config(wanted: Wanted, name: str, seen: SeenModel | None) -> list[Difference]:
    expected = wanted.configs.get(name)
    if seen is None or None in (seen.config_digest, expected) or seen.config_digest == expected:
        return []
    if not any(one.state == "ready" for one in seen.versions.values()):
        return []
    return [Difference("server", f"{name} runs with another configuration than was approved", foreign=True)]


def _strangers(wanted: Wanted, server: SeenServer) -> list[tuple[str, int]]:
    """Versions that are loaded under names of ours and that neither this generation nor one before it explains."""
    found = []
    for name in sorted({wanted.base_name, *wanted.models, *wanted.leaving}):
        explained = {*wanted.models.get(name, {}), *wanted.leaving.get(name, {})}
        versions = server.models[name].versions if name in server.models else {}
        present = {number for number, one in versions.items() if one.state in ("ready", "loading")}
        found += [(name, number) for number in sorted(present - explained)]
    return found


def _router_differences(wanted: Wanted, seen: Seen) -> list[Difference]:
    want, have = wanted.route, seen.route
    if want is None:
        return []
    if have is None:
        return [Difference("router", f"the router has no route for {want.endpoint}", foreign=False), *_rejected(seen)]
    if have == want:
        return []
    older = have.generation < want.generation
    said = [f"the router still serves generation {have.generation}"] if older else _route_says(want, have)
    return [*(Difference("router", one, foreign=not older) for one in said), *_rejected(seen)]


def _rejected(seen: Seen) -> list[Difference]:
    return (
        [Difference("router", f"the router refused the newest routes: {seen.rejected}", foreign=False)] if seen.rejected else []
    )


def _route_says(want: EndpointRoute, have: EndpointRoute) -> list[str]:
    wanted_arms, seen_arms = {arm.arm: arm for arm in want.arms}, {arm.arm: arm for arm in have.arms}
    said = [f"the router has no arm {name}" for name in sorted(set(wanted_arms) - set(seen_arms))]
    said += [f"the router has an arm {name} that no approval names" for name in sorted(set(seen_arms) - set(wanted_arms))]
    for name in sorted(set(wanted_arms) & set(seen_arms)):
        ours, theirs = wanted_arms[name], seen_arms[name]
        approved, found = buckets.share(ours.ranges), buckets.share(theirs.ranges)
        if approved != found:
            said.append(f"arm {name} gets {percent(found)} of the traffic, approved are {percent(approved)}")
        elif ours != theirs:
            said.append(f"arm {name} is routed to {theirs.served_model} version {theirs.served_version}, or to other buckets")
    for label, ours_is, theirs_is in (
        ("the champion", want.champion, have.champion),
        ("the shadow", want.shadow, have.shadow),
        ("the upstream address", want.upstream, have.upstream),
        ("the salt", want.salt, have.salt),
        ("the unit header", want.unit_header, have.unit_header),
        ("the generation", want.generation, have.generation),
        ("the model name", want.model, have.model),
    ):
        said += [f"{label} is {theirs_is}, approved is {ours_is}"] if ours_is != theirs_is else []
    return said or ["the route differs from what was approved"]


def _base_arm(arm: DesiredArm, share: int) -> dict[str, Any]:
    return {
        "name": arm.name,
        "version": arm.version,
        "served_as": {"model": arm.place[0], "version": arm.place[1]},
        "package_digest": arm.package_digest,
        "artifact_digest": arm.artifact_digest,
        "buckets": share,
    }


def base_digest(base: Mapping[str, Any]) -> str:
    """The digest that votes are bound to."""
    return digest(dict(base))
