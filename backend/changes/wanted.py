"""What a requester asks for, in the requester's terms; `drawing` makes the absolute plan of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from backend.core.errors import Refusal
from backend.delivery.closed import Frozen, Slug
from backend.delivery.plan import BUCKETS, Buckets

Seconds = Annotated[int, Field(ge=0, le=30 * 86_400, strict=True)]


class RampStep(Frozen):
    """One stop on the way: the version's share in buckets, how long it is held, whether a person lets it go on."""

    share: Annotated[int, Field(ge=1, lt=BUCKETS, strict=True)]
    hold_seconds: Seconds = 0
    person: Annotated[bool, Field(strict=True)] = False


class Wanted(Frozen):
    """Give one version a share of an endpoint's traffic.

    Args:
        version: registered version number.
        share: its final share in buckets out of 10,000; what runs besides keeps its proportions. 0 takes it off.
        ramp: shares on the way from its present share to the final one.
        bake_seconds: how long previous versions stay warm afterwards; None: as long as the policy says.
        shadow: `this`: the version gets copies and answers nobody (share 0); `keep` or end (`none`) a shadow that is there.
        experiment: name of a new experiment: every unit is assigned anew. None keeps the assignment.
        unit_header: request header that carries the unit of randomisation; None keeps it.
    """

    version: Annotated[int, Field(ge=1, strict=True)]
    share: Buckets = BUCKETS
    ramp: Annotated[tuple[RampStep, ...], Field(max_length=49)] = ()
    bake_seconds: Seconds | None = None
    shadow: Literal["keep", "this", "none"] = "keep"
    experiment: Slug | None = None
    unit_header: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")] | None = None

    @model_validator(mode="after")
    def _shadow_has_no_share(self) -> Self:
        if self.shadow == "this" and (self.share or self.ramp):
            raise ValueError("a shadow answers nobody: give it a share of 0 and no ramp")
        return self

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, as the change's row holds it."""
        return self.model_dump(mode="json")


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
