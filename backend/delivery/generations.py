"""What one generation says: the desired state of one endpoint, absolute, and how a plan's step becomes one. Pure values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from backend.core.canonical import digest
from backend.core.errors import Refusal
from backend.delivery import buckets
from backend.delivery.closed import Frozen, Slug
from backend.delivery.desired import ArmRoute, EndpointRoute, Range
from backend.delivery.plan import Arm, Digest, Plan, Probes, ServedAs

Place = tuple[str, int]
"""Served name and served version on one server."""


class DesiredArm(Frozen):
    """One version that a generation wants loaded, and the buckets that it answers (none: loaded, but nobody's traffic)."""

    name: Slug
    version: int
    artifact_digest: Digest
    package_digest: Digest
    served_as: ServedAs
    ranges: tuple[Range, ...] = ()

    @property
    def buckets(self) -> int:
        """Share in buckets."""
        return buckets.share(self.ranges)

    @property
    def place(self) -> Place:
        """Where its server has it."""
        return self.served_as.model, self.served_as.version


class DesiredEndpoint(Frozen):
    """The desired state of one endpoint.

    Args:
        step: index into the plan's steps; -1 for a rollback target, 0 for a baseline.
        champion: None only when nothing shall run.
        arms: what has traffic, and the shadow.
        warm: what stays loaded without traffic until the bake time is over.
        leaving: what earlier generations may have left on the server; unloaded once no router names it any more.
        bake_seconds: how long `warm` stays after this generation is proved; None: as long as it is the newest.
    """

    step: int
    champion: Slug | None
    shadow: Slug | None = None
    arms: tuple[DesiredArm, ...] = ()
    warm: tuple[DesiredArm, ...] = ()
    leaving: tuple[DesiredArm, ...] = ()
    salt: str = ""
    unit_header: str = "x-unit-id"
    probes: Probes | None = None
    bake_seconds: int | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, as the generation's row holds it."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """Digest of the whole desired state."""
        return digest(self.to_json())

    @property
    def known(self) -> tuple[DesiredArm, ...]:
        """Every arm that this generation speaks of."""
        return (*self.arms, *self.warm, *self.leaving)

    @property
    def ranges(self) -> dict[str, tuple[Range, ...]]:
        """Buckets by arm, for arms that have some."""
        return {arm.name: arm.ranges for arm in self.arms if arm.ranges}

    def route(self, *, endpoint: str, model: str, upstream: str, generation: int) -> EndpointRoute | None:
        """How a router shall split the traffic; None when nothing shall run."""
        if self.champion is None:
            return None
        arms = [ArmRoute(arm.name, arm.version, *arm.place, arm.ranges) for arm in self.arms]
        return EndpointRoute(
            endpoint=endpoint,
            model=model,
            upstream=upstream,
            generation=generation,
            salt=self.salt,
            unit_header=self.unit_header,
            champion=self.champion,
            arms=tuple(sorted(arms, key=lambda arm: arm.arm)),
            shadow=self.shadow,
        )


def generation_from(plan: Plan, step: int, previous: DesiredEndpoint | None, *, clean: bool = False) -> DesiredEndpoint:
    """The desired state of one step of a plan (by index), reached from the generation before it by the fewest moves.

    Every arm that the plan names without giving it a share now stays or becomes warm, so that the next step and the way back
    are one change of the router. `clean` says that `previous` was seen with nothing left over from before it.
    """
    last = step == len(plan.steps) - 1
    shares, shadow = plan.steps[step].shares, plan.steps[step].shadow or plan.shadow
    arms = _laid_out(plan, shares, previous, shadow)
    warm = [_bare(arm) for arm in plan.arms if not shares.get(arm.name) and arm.name != shadow]
    return DesiredEndpoint(
        step=step,
        champion=plan.champion if last else _champion_so_far(plan, shares),
        shadow=shadow,
        arms=arms,
        warm=tuple(warm),
        leaving=_leaving(previous, clean, [*arms, *warm]),
        salt=plan.salt,
        unit_header=plan.unit_header,
        probes=plan.probes,
        bake_seconds=plan.bake_seconds if last else None,
    )


def rollback_from(plan: Plan, previous: DesiredEndpoint | None) -> DesiredEndpoint:
    """The plan's pre-approved way back; for a plan before which nothing ran, that is nothing again.

    What is rolled back from is unloaded as soon as no router names it any more.
    """
    target = plan.rollback
    if target is None:
        return DesiredEndpoint(
            step=-1, champion=None, leaving=_leaving(previous, False, ()), salt=plan.salt, unit_header=plan.unit_header
        )
    arms = _laid_out(plan, target.shares, previous, None)
    return DesiredEndpoint(
        step=-1,
        champion=target.champion,
        arms=arms,
        leaving=_leaving(previous, False, arms),
        salt=plan.salt,
        unit_header=plan.unit_header,
        probes=plan.probes,
    )


def baseline_from(arm: DesiredArm, *, salt: str) -> DesiredEndpoint:
    """What was found running and signed off: one version with all the traffic."""
    whole = arm.model_copy(update={"ranges": ((0, 10_000),)})
    return DesiredEndpoint(step=0, champion=arm.name, arms=(whole,), salt=salt)


def refuse_taken_places(wanted: DesiredEndpoint) -> None:
    """Refusal when a new package would take the place (name and version) of another that may still be loaded there."""
    taken: dict[Place, str] = {}
    for arm in wanted.known:
        if taken.setdefault(arm.place, arm.package_digest) != arm.package_digest:
            raise Refusal(
                f"Version {arm.place[1]} of {arm.place[0]} would change its bytes while it is loaded.",
                "Register the new bytes as a version of their own and propose that one.",
                code="place-taken",
            )


def is_own_name(served_name: str, name: str) -> bool:
    """Whether `name` is `<served name>` or `<served name>.<8 hex>`."""
    tail = name.removeprefix(served_name + ".")
    return name == served_name or (tail != name and len(tail) == 8 and set(tail) <= set("0123456789abcdef"))


def _laid_out(
    plan: Plan, shares: Mapping[str, int], previous: DesiredEndpoint | None, shadow: str | None
) -> tuple[DesiredArm, ...]:
    ranges = buckets.allocate(previous.ranges if previous else {}, shares)
    chosen = [arm for arm in plan.arms if shares.get(arm.name) or arm.name == shadow]
    return tuple(_bare(arm).model_copy(update={"ranges": ranges.get(arm.name, ())}) for arm in chosen)


def _champion_so_far(plan: Plan, shares: Mapping[str, int]) -> str:
    """While a ramp is under way, units without an assignment and requests of a dead arm stay where they were before it."""
    before = plan.rollback.champion if plan.rollback is not None else plan.champion
    return next((name for name in (before, plan.champion) if shares.get(name)), max(shares, key=lambda name: shares[name]))


def _bare(arm: Arm) -> DesiredArm:
    return DesiredArm(
        name=arm.name,
        version=arm.version,
        artifact_digest=arm.artifact_digest,
        package_digest=arm.package_digest,
        served_as=arm.served_as,
    )


def _leaving(previous: DesiredEndpoint | None, clean: bool, staying: Iterable[DesiredArm]) -> tuple[DesiredArm, ...]:
    """What the generation before may have left: its own arms, and what it was itself still waiting to see unloaded."""
    if previous is None:
        return ()
    before = (*previous.arms, *previous.warm) if clean else previous.known
    kept = {(arm.place, arm.package_digest) for arm in staying}
    bare = {(arm.place, arm.package_digest): arm.model_copy(update={"ranges": ()}) for arm in before}
    return tuple(arm for key, arm in sorted(bare.items()) if key not in kept)
