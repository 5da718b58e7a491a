"""The plan: the complete, absolute future of one endpoint, and the only thing that a person ever approves.

Shares are whole buckets out of 10,000 (1 bucket = 0.01 %), so that they always sum exactly and a change of shares can be
told in units that move. An arm keeps its name for as long as its version stays on the endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from backend.core.canonical import canonical, digest, loads
from backend.core.errors import Refusal

BUCKETS = 10_000

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
ServedName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Buckets = Annotated[int, Field(ge=0, le=BUCKETS, strict=True)]


class Frozen(BaseModel):
    """Immutable, strict, and closed: an unknown key is an error, because nobody would have approved its meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ServedAs(Frozen):
    """Under which name and version a server knows an arm's package. Fixed by the plan, so that the router can pin it."""

    model: ServedName
    version: Annotated[int, Field(ge=1, strict=True)]


class Arm(Frozen):
    """One version with a share of an endpoint's traffic when the plan is complete (0 for an arm that leaves)."""

    name: Slug
    version: Annotated[int, Field(ge=1, strict=True)]
    artifact_digest: Digest
    package_digest: Digest
    served_as: ServedAs
    buckets: Buckets


class Step(Frozen):
    """One absolute state on the way: every arm's share, how long it is held, and what must pass before the next."""

    shares: dict[Slug, Buckets]
    hold_seconds: Annotated[int, Field(ge=0, le=30 * 86_400, strict=True)] = 0
    person: bool = False
    """Whether somebody must let the rollout go on after this step."""

    @model_validator(mode="after")
    def _sums(self) -> Self:
        if sum(self.shares.values()) != BUCKETS:
            raise ValueError(f"shares sum to {sum(self.shares.values()) / 100:g} %, not 100 %")
        return self


class Probes(Frozen):
    """The recorded requests and answers that travel inside each package: `probes.json`'s digest and how many there are."""

    digest: Digest
    count: Annotated[int, Field(ge=0, strict=True)]


class RollbackTarget(Frozen):
    """Where a rollback goes: an absolute state that was approved together with the plan."""

    champion: Slug
    shares: dict[Slug, Buckets]

    @model_validator(mode="after")
    def _sums(self) -> Self:
        if sum(self.shares.values()) != BUCKETS:
            raise ValueError("the rollback target's shares do not sum to 100 %")
        return self


class Plan(Frozen):
    """The complete, absolute future of one endpoint. `digest()` is what votes, evidence and authorizations are bound to.

    Args:
        arms: every arm that takes part, those that leave included (with 0 buckets and named by steps or rollback).
        champion: the arm that answers for units without an assignment, and for an arm that is dead.
        salt: seeds the assignment of units to buckets; it changes only with a new experiment.
        unit_header: the request header that carries the unit of randomisation.
        shadow: the arm that gets copies and answers nobody.
        ramp: absolute states before the final one; empty means at once.
        bake_seconds: how long the previous versions stay loaded after the last step.
        guardrails: bounds on an arm's behaviour while the ramp runs (read by rollouts).
        feature_service_digest: definition of the feature service that the version was checked with.
        rollback: None only for a first version, before which there was nothing.
    """

    schema_number: Literal[1] = Field(default=1, alias="schema")
    endpoint: Slug
    environment: Slug
    model: str
    arms: Annotated[tuple[Arm, ...], Field(min_length=1, max_length=16)]
    champion: Slug
    salt: str
    unit_header: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")] = "x-unit-id"
    shadow: Slug | None = None
    ramp: tuple[Step, ...] = ()
    bake_seconds: Annotated[int, Field(ge=0, le=30 * 86_400, strict=True)] = 0
    guardrails: tuple[dict[str, Any], ...] = ()
    feature_service_digest: Digest | None = None
    probes: Probes | None = None
    rollback: RollbackTarget | None
    policy: str
    """`<environment>@<version>` of the policy under which it may be approved."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names):
            raise ValueError("two arms have the same name")
        places = {(arm.served_as.model, arm.served_as.version): arm.package_digest for arm in self.arms}
        if any(places[(arm.served_as.model, arm.served_as.version)] != arm.package_digest for arm in self.arms):
            raise ValueError("two packages would be served under one name and version")
        for label, shares in self._states():
            if unknown := set(shares) - set(names):
                raise ValueError(f"{label} names arms that the plan does not have: {sorted(unknown)}")
        for label, name in (("the champion", self.champion), ("the shadow", self.shadow)):
            if name is not None and name not in names:
                raise ValueError(f"{label} {name} is not an arm of the plan")
        self._check_shares()
        return self

    def _check_shares(self) -> None:
        total = sum(arm.buckets for arm in self.arms)
        if total != BUCKETS:
            raise ValueError(f"shares sum to {total / 100:g} %, not 100 %")
        if self.arm(self.champion).buckets == 0:
            raise ValueError("the champion has no share; exactly one serving arm is the champion")
        if self.shadow is not None and any(shares.get(self.shadow) for _, shares in self._states()):
            raise ValueError("a shadow arm answers nobody, so it has no share")
        if self.rollback is not None and not self.rollback.shares.get(self.rollback.champion):
            raise ValueError("the rollback target's champion has no share")

    def _states(self) -> list[tuple[str, Mapping[str, int]]]:
        states: list[tuple[str, Mapping[str, int]]] = [("the final state", self.shares)]
        states += [(f"step {number}", step.shares) for number, step in enumerate(self.ramp, 1)]
        if self.rollback is not None:
            states.append(("the rollback target", self.rollback.shares))
        return states

    @property
    def shares(self) -> dict[str, int]:
        """Final share of each arm, in buckets."""
        return {arm.name: arm.buckets for arm in self.arms}

    @property
    def steps(self) -> tuple[Step, ...]:
        """The ramp and the final state as its last step; a rollout walks these by index."""
        return (*self.ramp, Step(shares=self.shares))

    def arm(self, name: str) -> Arm:
        """The arm of that name; KeyError is a defect, names were checked when the plan was made."""
        return {arm.name: arm for arm in self.arms}[name]

    def to_json(self) -> dict[str, Any]:
        """JSON-able form; its canonical bytes are what is digested."""
        return self.model_dump(mode="json", by_alias=True)

    def canonical(self) -> bytes:
        """RFC 8785 bytes of the plan."""
        return canonical(self.to_json())

    def digest(self) -> str:
        """The plan digest."""
        return digest(self.to_json())


def parse_plan(source: str | bytes | Mapping[str, Any]) -> Plan:
    """A plan from outside. Refusal names the first thing that is wrong, in the plan's own words."""
    content = loads(source) if isinstance(source, str | bytes) else source
    try:
        return Plan.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "plan"
        raise Refusal(
            f"The plan does not hold together: {where}: {first['msg'].removeprefix('Value error, ')}.",
            "Correct that field; `countersign change propose` writes a whole plan for you.",
            code="bad-plan",
            field=where,
        ) from error


def percent(buckets: int) -> str:
    """`2500` -> `25 %`; two decimals at most."""
    return f"{buckets / 100:g} %"


def buckets_from_percent(text: str) -> int:
    """`25`, `0.5` or `12.25 %` -> buckets. Refusal for anything that is not a share in hundredths of a percent."""
    match = re.fullmatch(r"\s*([0-9]{1,3})(?:\.([0-9]{1,2}))?\s*%?\s*", text)
    value = int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0")) if match else -1
    if not 0 <= value <= BUCKETS:
        raise Refusal(
            f"{text!r} is not a share of traffic.",
            "Give a percentage from 0 to 100 with two decimals at most.",
            code="bad-share",
        )
    return value
