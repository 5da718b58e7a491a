"""Drawing a plan: from what is live and what is wanted to one absolute future. Pure; the same values give the same digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.changes import walk
from backend.changes.walk import Terms
from backend.changes.wanted import Wanted
from backend.core.errors import Refusal
from backend.delivery.comparison import Comparison
from backend.delivery.generations import DesiredArm, DesiredEndpoint, generation_from, rollback_from
from backend.delivery.plan import BUCKETS, Plan, parse_plan
from backend.policy.rules import Policy

NO_ARMS: tuple[DesiredArm, ...] = ()


@dataclass(frozen=True)
class EndpointFacts:
    """The endpoint that a plan is for.

    Args:
        desired: its newest generation; None while there is none.
        interfaces: package digest -> interface digest, for the packages that `desired` names.
    """

    name: str
    environment: str
    model: str
    served_name: str
    desired: DesiredEndpoint | None
    interfaces: Mapping[str, str]

    @property
    def known(self) -> tuple[DesiredArm, ...]:
        """Every arm that may be loaded there."""
        return self.desired.known if self.desired is not None else NO_ARMS

    @property
    def runs_something(self) -> bool:
        """Whether there was a version before."""
        return self.desired is not None and bool(self.desired.arms)


@dataclass(frozen=True)
class VersionFacts:
    """A registered version."""

    number: int
    artifact_digest: str
    pickled: bool = False


@dataclass(frozen=True)
class PackageFacts:
    """The package that was built of the version for the endpoint's server. `probes` is {"digest", "count"} or None."""

    digest: str
    interface_digest: str
    probes: Mapping[str, Any] | None = None


def draw(
    wanted: Wanted,
    base: Mapping[str, Any] | None,
    endpoint: EndpointFacts,
    version: VersionFacts,
    package: PackageFacts,
    terms: Terms,
    compared: Comparison | None = None,
    *,
    others: Sequence[tuple[VersionFacts, PackageFacts]] = (),
) -> Plan:
    """The plan that makes what is wanted true, from what is live.

    Args:
        compared: what is to be measured of the arms; left out of the plan where no two arms ever share the traffic.
        others: further versions that begin there with a part of the rest.


    Existing arms keep name, place and digests; the version that answered before stays as an arm without a share, and as the
    way back. Refusal codes: not-seen, not-whole, nothing-else-runs, no-change, bad-ramp, policy, pickled, digest-mismatch.
    """
    live = _live(base, endpoint)
    arm, *beside = (_arm(base, endpoint, one, packed, terms.policy) for one, packed in ((version, package), *others))
    shadow = _shadow(wanted, endpoint, arm)
    twin = walk.same_age(wanted, base, live, endpoint.served_name)
    names = {one["version"]: one["name"] for one in beside}
    states = walk.states(wanted, live, arm["name"], endpoint.name, names)
    states = walk.with_twin(states, twin, arm["name"], base)
    walk.check(wanted, live, arm["name"], terms)
    final = states[-1]
    compares = _compared(compared, twin, base, states)
    content = {
        "schema": 1,
        "endpoint": endpoint.name,
        "environment": endpoint.environment,
        "model": endpoint.model,
        "arms": _arms(live, [one for one in (arm, *beside, shadow, twin) if one is not None], final),
        "champion": _champion(final, arm["name"], base),
        "salt": _salt(wanted, endpoint),
        "unit_header": wanted.unit_header or (endpoint.desired.unit_header if endpoint.desired else "x-unit-id"),
        "shadow": shadow["name"] if shadow else None,
        "ramp": walk.steps(states[:-1], wanted.ramp, arm["name"], compares),
        "bake_seconds": _bake(wanted, terms.policy),
        "probes": dict(package.probes) if package.probes else None,
        "rollback": _way_back(base, live),
        "policy": terms.policy_id,
        **({"comparison": compares} if compares is not None else {}),
    }
    plan = parse_plan(content)
    _refuse_no_change(plan, base, endpoint)
    return plan


def _arm(
    base: Mapping[str, Any] | None, endpoint: EndpointFacts, version: VersionFacts, package: PackageFacts, policy: Policy
) -> dict[str, Any]:
    _refuse_pickled(version, policy)
    return known_arm(base, endpoint, version) or _new_arm(base, endpoint, version, package)


def known_arm(base: Mapping[str, Any] | None, endpoint: EndpointFacts, version: VersionFacts) -> dict[str, Any] | None:
    """The arm under which the version is there already, with the package that is loaded; None for a new one.

    Refusal `digest-mismatch` when what runs under that number was not built from the registered artifact.
    """
    seen = [one for one in (base or {}).get("arms", ()) if one["version"] == version.number]
    left = [arm.model_dump(mode="json", exclude={"ranges"}) for arm in endpoint.known if arm.version == version.number]
    found: dict[str, Any] | None = next(iter([*seen, *left]), None)
    if found is not None and found["artifact_digest"] != version.artifact_digest:
        raise Refusal(
            f"Version {version.number} runs on {endpoint.name} from another artifact than the one that is registered.",
            "Register what shall run as a version of its own.",
            code="digest-mismatch",
        )
    return {key: value for key, value in found.items() if key != "buckets"} if found is not None else None


def base_after(plan: Plan, *, routed: bool, back: bool = False) -> dict[str, Any]:
    """The base that will be seen once a plan, or its way back, is proved with nothing else there (generation 0: not yet).

    A change that is proposed while a rollout is under way is drawn on where that one leads. It tells what
    `delivery.base.base_from` tells of such an endpoint; a test holds the two together.
    """
    desired = rollback_from(plan, None) if back else generation_from(plan, len(plan.steps) - 1, None)
    arms = [
        {**arm.model_dump(mode="json", exclude={"ranges"}), "buckets": arm.buckets}
        for arm in sorted(desired.arms, key=lambda arm: arm.name)
    ]
    return {"generation": 0, "champion": desired.champion, "arms": arms, "routed": routed and bool(arms)}


def _refuse_pickled(version: VersionFacts, policy: Policy) -> None:
    if version.pickled and policy.pickled == "refuse":
        raise Refusal(
            f"Version {version.number} carries pickled code, which this environment's policy refuses.",
            "Register it in a format without code, for example ONNX.",
            code="pickled",
        )


def _live(base: Mapping[str, Any] | None, endpoint: EndpointFacts) -> dict[str, dict[str, Any]]:
    """What answers now, by arm; empty before the first version. Refusal while it does not answer as a whole."""
    if base is None:
        raise Refusal(
            f"Nobody has seen what runs on {endpoint.name} yet.", "Wait for the first look at its server.", code="not-seen"
        )
    live = {str(one["name"]): dict(one) for one in base["arms"] if one["buckets"]}
    leads_to_nothing = not base["arms"] and base["generation"] == 0  # as `base_after` tells the way back of a first version
    if not live and (leads_to_nothing or not endpoint.runs_something):
        return {}
    if sum(one["buckets"] for one in live.values()) != BUCKETS or base["champion"] not in live:
        raise Refusal(
            f"{endpoint.name} does not run as a whole at this moment, so that there is nothing to draw a plan on.",
            "Wait until it is in sync, or repair it.",
            code="not-whole",
        )
    return live


def _new_arm(
    base: Mapping[str, Any] | None, endpoint: EndpointFacts, version: VersionFacts, package: PackageFacts
) -> dict[str, Any]:
    taken = {arm.name for arm in endpoint.known} | {str(one["name"]) for one in (base or {}).get("arms", ())}
    names = (f"v{version.number}{'-' * bool(count)}{count or ''}" for count in range(len(taken) + 1))
    return {
        "name": next(name for name in names if name not in taken),
        "version": version.number,
        "artifact_digest": version.artifact_digest,
        "package_digest": package.digest,
        "served_as": {"model": _served_name(endpoint, package), "version": version.number},
    }


def _served_name(endpoint: EndpointFacts, package: PackageFacts) -> str:
    """Versions under one name share one configuration, so another interface gets a name of its own."""
    there = {endpoint.interfaces.get(arm.package_digest) for arm in endpoint.known if arm.place[0] == endpoint.served_name}
    if there <= {package.interface_digest}:
        return endpoint.served_name
    return f"{endpoint.served_name}.{package.interface_digest.removeprefix('sha256:')[:8]}"


def _shadow(wanted: Wanted, endpoint: EndpointFacts, arm: dict[str, Any]) -> dict[str, Any] | None:
    if wanted.shadow == "this":
        return arm
    name = endpoint.desired.shadow if endpoint.desired is not None and wanted.shadow == "keep" else None
    kept = next((one for one in endpoint.known if one.name == name and name != arm["name"]), None)
    return kept.model_dump(mode="json", exclude={"ranges"}) if kept is not None else None


def _compared(
    compared: Comparison | None,
    twin: Mapping[str, Any] | None,
    base: Mapping[str, Any] | None,
    states: Sequence[Mapping[str, int]],
) -> dict[str, Any] | None:
    """The comparison with its control, where another arm ever has a share beside that one."""
    control = str(twin["name"] if twin is not None else (base or {}).get("champion") or "")
    beside = any(shares.get(control) and sum(1 for share in shares.values() if share) > 1 for shares in states)
    if compared is None or not beside:
        return None
    return compared.model_copy(update={"control": control}).model_dump(mode="json")


def _arms(
    live: Mapping[str, Mapping[str, Any]], others: Sequence[Mapping[str, Any]], final: Mapping[str, int]
) -> list[dict[str, Any]]:
    chosen = {**{name: dict(one) for name, one in live.items()}, **{str(one["name"]): dict(one) for one in others}}
    whole = [{**one, "buckets": final.get(name, 0)} for name, one in chosen.items()]
    return sorted(whole, key=lambda one: (one["version"], one["name"]))


def _champion(final: Mapping[str, int], name: str, base: Mapping[str, Any] | None) -> str:
    """The version that gets everything, else the one that was it, else the largest."""
    before = (base or {}).get("champion")
    if final[name] == BUCKETS:
        return name
    return before if before is not None and final.get(before) else max(sorted(final), key=lambda one: final[one])


def _salt(wanted: Wanted, endpoint: EndpointFacts) -> str:
    if wanted.experiment is not None:
        return f"{endpoint.name}/{wanted.experiment}"
    return (endpoint.desired.salt if endpoint.desired is not None else "") or endpoint.name


def _bake(wanted: Wanted, policy: Policy) -> int:
    seconds = policy.usual_bake_seconds if wanted.bake_seconds is None else wanted.bake_seconds
    if seconds < policy.min_bake_seconds:
        raise Refusal(
            f"The policy keeps previous versions warm for {policy.min_bake_seconds} s at least; this asks for {seconds} s.",
            "Ask for a longer bake time, or leave it out.",
            code="policy",
        )
    return seconds


def _way_back(base: Mapping[str, Any] | None, live: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    if not live or base is None:
        return None
    return {"champion": base["champion"], "shares": {name: one["buckets"] for name, one in live.items()}}


def _refuse_no_change(plan: Plan, base: Mapping[str, Any] | None, endpoint: EndpointFacts) -> None:
    now: Sequence[Mapping[str, Any]] = (base or {}).get("arms", ())
    same_shares = {name: share for name, share in plan.shares.items() if share} == {
        str(one["name"]): one["buckets"] for one in now if one["buckets"]
    }
    desired = endpoint.desired
    if desired is None or not same_shares or plan.champion != (base or {}).get("champion"):
        return
    if (plan.shadow, plan.salt, plan.unit_header) == (desired.shadow, desired.salt, desired.unit_header):
        raise Refusal(
            f"{endpoint.name} already runs exactly that.", "Propose another version or another share.", code="no-change"
        )
