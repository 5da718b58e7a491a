"""What a requester asks for, in the requester's terms; `drawing` makes the absolute plan of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from backend.core.errors import Refusal
from backend.delivery.closed import Frozen, Slug
from backend.delivery.plan import BUCKETS, Buckets, percent
from backend.policy.guardrails import GuardrailAsked
from backend.policy.rules import RampStep

Seconds = Annotated[int, Field(ge=0, le=30 * 86_400, strict=True)]


class Rest(Frozen):
    """The share of another version that runs there, in buckets."""

    version: Annotated[int, Field(ge=1, strict=True)]
    share: Buckets


class Wanted(Frozen):
    """Give one version a share of an endpoint's traffic.

    Args:
        version: registered version number.
        share: its final share in buckets out of 10,000. 0 takes it off.
        rest: how the final rest is split among what runs besides; empty: it keeps its proportions.
        ramp: shares on the way from its present share to the final one.
        bake_seconds: how long previous versions stay warm afterwards; None: as long as the policy says.
        shadow: `this`: the version gets copies and answers nobody (share 0); `keep` or end (`none`) a shadow that is there.
        experiment: name of an experiment that this starts, or that it is a further split of. A new one assigns every unit anew.
            None keeps the assignment.
        guardrails: what must not get worse, besides what the policy and the experiment ask for.
        same_age: a second copy of the version that runs, loaded as newly, gets as much as the new one while it ramps, and is
            what that one is compared with.
        unit_header: request header that carries the unit of randomisation; None keeps it.
    """

    version: Annotated[int, Field(ge=1, strict=True)]
    share: Buckets = BUCKETS
    rest: Annotated[tuple[Rest, ...], Field(max_length=15)] = ()
    ramp: Annotated[tuple[RampStep, ...], Field(max_length=49)] = ()
    bake_seconds: Seconds | None = None
    shadow: Literal["keep", "this", "none"] = "keep"
    experiment: Slug | None = None
    guardrails: Annotated[tuple[GuardrailAsked, ...], Field(max_length=20)] = ()
    same_age: Annotated[bool, Field(strict=True)] = False
    unit_header: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")] | None = None

    @model_validator(mode="after")
    def _shadow_has_no_share(self) -> Self:
        if self.shadow == "this" and (self.share or self.ramp):
            raise ValueError("a shadow answers nobody: give it a share of 0 and no ramp")
        if self.rest and sum(one.share for one in self.rest) + self.share != BUCKETS:
            raise ValueError(f"the shares do not sum to {percent(BUCKETS)}")
        if len({self.version, *(one.version for one in self.rest)}) != len(self.rest) + 1:
            raise ValueError("a version has two shares")
        if self.same_age and (not self.ramp or self.experiment is not None):
            raise ValueError("a copy of the same age runs beside a ramp, and beside no experiment")
        return self

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, as the change's row holds it; what is not asked for is left out, as before it could be."""
        told = self.model_dump(mode="json")
        return {name: one for name, one in told.items() if one or name not in ("rest", "guardrails", "same_age")}


def parse_wanted(content: object) -> Wanted:
    """What is wanted, from outside. Refusal names the first field that is wrong."""
    try:
        return Wanted.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "change"
        raise Refusal(
            f"This cannot be asked for: {where}: {first['msg'].removeprefix('Value error, ')}.",
            "Correct that and propose it again.",
            code="bad-change",
            field=where,
        ) from error
