"""The plan: the complete, absolute future of one endpoint, and the only thing that a person ever approves.

Shares are whole buckets out of 10,000 (1 bucket = 0.01 %), so that they always sum exactly and a change of shares can be
told in units that move. An arm keeps its name for as long as its version stays on the endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
    model_validator,
)

from backend.core.canonical import canonical, digest, loads
from backend.core.errors import Refusal
from backend.delivery.closed import Frozen, Slug
from backend.delivery.comparison import Comparison, Guardrail

BUCKETS = 10_000

ServedName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Buckets = Annotated[int, Field(ge=0, le=BUCKETS, strict=True)]


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


Statistics = Literal["not_failed", "passed"]


class Step(Frozen):
    """One absolute state on the way: every arm's share, how long it is held, and what must pass before the next.

    The gates in the order in which they are asked: time, minimum sample, statistics, a person.

    Args:
        shares: by arm, in buckets.
        min_units: units that the smallest arm has to have, of those that entered at this step and whose figures are complete.
        statistics: `not_failed`: no guardrail failed and none is missing; `passed`: each is proved to be kept.
        person: whether somebody must let the rollout go on after this step.
        shadow: the arm that gets copies at this step and answers nobody; None: the plan's own.
    """

    shares: dict[Slug, Buckets]
    hold_seconds: Annotated[int, Field(ge=0, le=30 * 86_400, strict=True)] = 0
    min_units: Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)] = 0
    statistics: Statistics | None = None
    person: bool = False
    shadow: Slug | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Plans from before there was such a gate keep their digests."""
        told: dict[str, Any] = dump(self)
        return {name: one for name, one in told.items() if one or name not in ("min_units", "statistics", "shadow")}

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
        comparison: what is measured of the arms beside each other, with its guardrails, which stand under a key of their own in
            the plan's JSON; None: nothing is.
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
    comparison: Comparison | None = None
    feature_service_digest: Digest | None = None
    probes: Probes | None = None
    rollback: RollbackTarget | None
    policy: str
    """`<environment>@<version>` of the policy under which it may be approved."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _with_its_guardrails(cls, told: Any) -> Any:
        if not isinstance(told, Mapping) or "guardrails" not in told:
            return told
        content = {name: one for name, one in told.items() if name != "guardrails"}
        if not told["guardrails"]:
            return content
        if not isinstance(content.get("comparison"), Mapping):
            raise ValueError("guardrails need a comparison that says what is measured")
        return content | {"comparison": {**content["comparison"], "guardrails": told["guardrails"]}}

    @model_serializer(mode="wrap")
    def _as_it_is_digested(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Plans from before there were comparisons keep their digests."""
        told: dict[str, Any] = dump(self)
        compared = told.pop("comparison")
        guardrails = compared.pop("guardrails") if compared is not None else []
        return told | {"guardrails": guardrails} | ({"comparison": compared} if compared is not None else {})

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
        self._check_comparison()
        return self

    def _check_shares(self) -> None:
        total = sum(arm.buckets for arm in self.arms)
        if total != BUCKETS:
            raise ValueError(f"shares sum to {total / 100:g} %, not 100 %")
        if self.arm(self.champion).buckets == 0:
            raise ValueError("the champion has no share; exactly one serving arm is the champion")
        if self.shadow is not None and any(shares.get(self.shadow) for _, shares in self._states()):
            raise ValueError("a shadow arm answers nobody, so it has no share")
        for number, step in enumerate(self.ramp, 1):
            if step.shadow is not None and (step.shadow not in {arm.name for arm in self.arms} or step.shares.get(step.shadow)):
                raise ValueError(f"the shadow of step {number} has to be an arm without a share there")
        if self.rollback is not None and not self.rollback.shares.get(self.rollback.champion):
            raise ValueError("the rollback target's champion has no share")

    def _check_comparison(self) -> None:
        compared = self.comparison
        if compared is None:
            if any(step.min_units or step.statistics for step in self.ramp):
                raise ValueError("a step asks for units or statistics, and the plan compares nothing")
            return
        if compared.control not in {arm.name for arm in self.arms}:
            raise ValueError("the arm that others are compared with is not an arm of the plan")
        if not self.treatments:
            raise ValueError("no other arm has a share beside the one that it would be compared with")

    @property
    def treatments(self) -> tuple[str, ...]:
        """The arms that are compared with the control: those that have a share beside it at some step, the champion of before
        left out where a baseline of the same age is the control. Empty where nothing is compared.
        """
        if self.comparison is None or self.comparison.control is None:
            return ()
        control = self.comparison.control
        beside = {name for step in self.steps if step.shares.get(control) for name, share in step.shares.items() if share}
        version = self.arm(control).version
        return tuple(arm.name for arm in self.arms if arm.name in beside and arm.name != control and arm.version != version)

    @property
    def guardrails(self) -> tuple[Guardrail, ...]:
        """What must not get worse while the arms share the traffic."""
        return self.comparison.guardrails if self.comparison is not None else ()

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
