"""Rules of delivery, pure: what is wanted of one endpoint, what was seen of it, and the difference in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from backend.core.errors import Refusal
from backend.delivery import buckets
from backend.delivery.desired import DesiredModel, DesiredServer, EndpointRoute, Packaged
from backend.delivery.generations import DesiredArm, DesiredEndpoint, is_own_name
from backend.delivery.plan import percent
from backend.delivery.routers.port import EnvoyAnswer
from backend.delivery.seen import SeenModel, SeenServer, SeenVersion

_LATE = {"refused": "refused them", "waiting": "has not answered yet", "gone": "left and may go on with older ones"}
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
    """What was read back for one endpoint, and when. `server` or `route_known` is missing where nothing answered.

    `answers` are those of every Envoy, where the router is several; `route` is then that of whoever is furthest behind.
    """

    at: datetime
    server: SeenServer | None
    route: EndpointRoute | None = None
    route_known: bool = True
    rejected: str = ""
    trouble: str = ""
    """Why nothing answered, for a person."""
    answers: tuple[EnvoyAnswer, ...] = ()


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
    lacking = missing(wanted, server)
    return any(version_of(server, name, one).state == "loading" for name, versions in lacking.items() for one in versions)


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
            if version_of(server, name, version).state != "ready":
                found.setdefault(name, {})[version] = package
    return found


def leftovers(wanted: Wanted, server: SeenServer) -> dict[str, dict[int, str]]:
    """Versions of earlier generations that are still there and that nobody needs any more."""
    left: dict[str, dict[int, str]] = {}
    for name, versions in wanted.leaving.items():
        for version, package in versions.items():
            if version_of(server, name, version).state in ("ready", "loading", "failed", "unknown"):
                left.setdefault(name, {})[version] = package
    return left


def desired_server(
    wanted: Mapping[str, Wanted],
    packages: Mapping[str, Path],
    *,
    keep: SeenServer | None = None,
    strange: SeenServer | None = None,
) -> DesiredServer:
    """The union of what all these endpoints want on one server, in the adapter's words.

    Args:
        wanted: endpoint name -> what it wants. Two packages in one place are refused, with both endpoints named.
        packages: package digest -> local folder, for every digest that is named.
        strange: the server as it was seen: what runs there under names of these endpoints and no approval names, goes.
        keep: leave loaded what earlier generations left there (routers may still name it); None: exactly what is wanted.
    """
    parts = {name: (each.models, leftovers(each, keep) if keep is not None else {}) for name, each in wanted.items()}
    refuse_conflicts(parts)
    models: dict[str, dict[int, Packaged]] = {}
    for part in (part for both in parts.values() for part in both):
        for name, versions in part.items():
            loaded = {number: Packaged(one, packages[one]) for number, one in versions.items()}
            models.setdefault(name, {}).update(loaded)
    released = {name for each in wanted.values() for name in (*each.leaving, each.base_name)}
    if strange is not None:
        released |= {name for each in wanted.values() for name, _ in strangers(each, strange)}
    return DesiredServer(
        {name: DesiredModel(name, versions) for name, versions in models.items()}, frozenset(released - set(models))
    )


def refuse_conflicts(needed: Mapping[str, Iterable[Mapping[str, Mapping[int, str]]]]) -> None:
    """Refusal `conflict` when two endpoints need different packages in one place; its facts name both.

    Args:
        needed: endpoint name -> what it wants there, and what is kept for it (a router may still send requests to that).
    """
    taken: dict[tuple[str, int], tuple[str, str]] = {}
    for endpoint in sorted(needed):
        places = ((name, number, one) for part in needed[endpoint] for name, vs in part.items() for number, one in vs.items())
        for name, version, package in places:
            other, theirs = taken.setdefault((name, version), (endpoint, package))
            if theirs != package:
                raise Refusal(
                    f"{endpoint} and {other} need different packages as version {version} of {name} on one server.",
                    "Give one of the two endpoints a served name of its own.",
                    code="conflict",
                    endpoints=[other, endpoint],
                )


def _by_name(arms: Iterable[DesiredArm]) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    for arm in arms:
        name, version = arm.place
        found.setdefault(name, {})[version] = arm.package_digest
    return found


def version_of(server: SeenServer, name: str, version: int) -> SeenVersion:
    """One version as seen; `not_loaded` where the server does not name it."""
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
        for name, version in strangers(wanted, server)
    ]


def _wrong(name: str, version: int, package: str, server: SeenServer) -> Difference | None:
    seen = version_of(server, name, version)
    if seen.state != "ready":
        fresh = name in server.models and server.models[name].fresh
        reason = seen.reason or ("its server was started anew" if fresh else "")
        why = f": {reason}" if reason else ""
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


def strangers(wanted: Wanted, server: SeenServer) -> list[tuple[str, int]]:
    """Versions that are loaded under names of ours and that neither this generation nor one before it explains."""
    found = []
    ours = {name for name in server.models if is_own_name(wanted.base_name, name)}
    for name in sorted({*ours, *wanted.models, *wanted.leaving}):
        explained = {*wanted.models.get(name, {}), *wanted.leaving.get(name, {})}
        versions = server.models[name].versions if name in server.models else {}
        present = {number for number, one in versions.items() if one.state in ("ready", "loading")}
        found += [(name, number) for number in sorted(present - explained)]
    return found


def _router_differences(wanted: Wanted, seen: Seen) -> list[Difference]:
    want, have = wanted.route, seen.route
    if want is None:
        return [] if have is None else _unwanted(seen)
    if have is None:
        return [Difference("router", f"the router has no route for {want.endpoint}", foreign=False), *_rejected(seen)]
    if have == want:
        return []
    older = have.generation < want.generation
    said = [f"the router still serves generation {have.generation}"] if older else _route_says(want, have)
    return [*(Difference("router", one, foreign=not older) for one in said), *_rejected(seen)]


def _unwanted(seen: Seen) -> list[Difference]:
    """While some Envoys of several are behind, that explains a route which nobody wants any more."""
    says = "the router has a route that no approval names"
    return [Difference("router", says, foreign=not behind(seen.answers)), *_rejected(seen)]


def behind(answers: Iterable[EnvoyAnswer]) -> str:
    """Which of several Envoys do not have the newest routes, and why; "" when all do."""
    listed = list(answers)
    late = [one for one in listed if one.state != "taken"]
    if not late:
        return ""
    if late[0].state == "absent":
        return "no Envoy is connected" + (f": {late[0].reason}" if late[0].reason else "")
    said = [f"{one.envoy} {_LATE[one.state]}{f': {one.reason}' if one.reason else ''}" for one in late[:5]]
    more = f"; and {len(late) - 5} more" if len(late) > 5 else ""
    return f"{len(late)} of {len(listed)} Envoys without the newest routes: {'; '.join(said)}{more}"


def _rejected(seen: Seen) -> list[Difference]:
    if told := behind(seen.answers):
        return [Difference("router", told, foreign=False)]
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
