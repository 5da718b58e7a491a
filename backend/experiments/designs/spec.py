"""What a person fills in to design an experiment. Values only; what is measured before, and tunings, come with the plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from backend.core.errors import Refusal
from backend.delivery.closed import Frozen, Slug
from backend.delivery.comparison import (
    MOST_CUTS,
    MOST_GUARDRAILS,
    MOST_METRICS,
    MOST_SEGMENTS,
    YEAR,
    Action,
    Comparison,
    Guardrail,
    Metric,
    MetricKind,
    Name,
    Number,
    Positive,
    Primary,
    Segment,
    Triggers,
)
from backend.delivery.comparison import Design as Looks
from backend.delivery.plan import BUCKETS
from backend.policy.guardrails import GuardrailAsked

MOST_ARMS = 15
MOST_DAYS = 180
_UNKNOWN_CUTS = (0.0,)
"""Stands for cuts that are still to be measured, so that everything else can be checked before."""


class MetricAsked(Frozen):
    """A metric as a person asks for it: `delivery.comparison.Metric`, whose `cuts` may be left to what is measured."""

    name: Slug
    kind: MetricKind
    outcome: Name | None = None
    better: Literal["lower", "higher"] = "lower"
    above_seconds: Positive | None = None
    quantile: Annotated[float, Field(ge=0.5, le=0.999)] | None = None
    cuts: Annotated[tuple[Number, ...], Field(max_length=MOST_CUTS)] = ()
    horizon_seconds: Annotated[int, Field(ge=0, le=YEAR, strict=True)] = 0
    cap: tuple[Number, Number] | None = None
    adjusted: bool = False

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        _held(lambda: self.metric(_UNKNOWN_CUTS))
        return self

    def metric(self, cuts: tuple[float, ...], unit_variance: float | None = None) -> Metric:
        """The plan's metric. `cuts` are those that were measured; the person's own count before them."""
        told = {name: getattr(self, name) for name in type(self).model_fields}
        told["cuts"] = (self.cuts or cuts) if self.kind == "predictions" else self.cuts
        return Metric(**told, unit_variance=unit_variance)


class GuardedAsked(Frozen):
    """A guardrail on one of the design's metrics: `delivery.comparison.Guardrail` without its tuning."""

    metric: Slug
    margin: Positive
    relative: bool = False
    on_fail: Action = "rollback"


class PrimaryAsked(Frozen):
    """What it is for: `delivery.comparison.Primary` without its tuning. `margin`: of `not_worse` alone."""

    metric: Slug
    goal: Literal["better", "not_worse"] = "better"
    smallest: Positive
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _has_its_margin(self) -> Self:
        if (self.goal == "not_worse") != (self.margin > 0):
            raise ValueError("what shall not be worse has a margin above 0, and what shall be better has none")
        return self


class ArmAsked(Frozen):
    """A version that is tried, and its share in buckets out of 10,000."""

    version: Annotated[int, Field(ge=1, lt=2**31, strict=True)]
    share: Annotated[int, Field(ge=1, lt=BUCKETS, strict=True)]


class Design(Frozen):
    """The design of an experiment. The champion is the control, with all that the arms leave.

    Args:
        hypothesis: what is expected, and why: a sentence or two.
        unit_header: the request header that carries the unit of randomisation. Requests without it go to the champion and are
            no part of it.
        arms: what is tried beside the champion.
        metrics: everything that is compared; a guardrail and the primary metric name one of these.
        segments: declared before: their guardrails may stop it (`guarded`), everything else of them is exploratory.
        window_seconds: how long after its first request a unit's requests count; 0: the first one alone.
        alpha: of one whole decision.
        before_days: days before a unit's first request that covariates are of.
        looks: how the primary metric may be looked at: `sequence` at any time, the others up to the planned end.
        planned_days: how long it may take.
        layer: experiments of one layer exclude each other, on whatever endpoints.
        failures: how many looks one after the other a guardrail has to fail.
        triggers: what follows where nothing can be judged.
    """

    hypothesis: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
    unit_header: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")] = "x-unit-id"
    arms: Annotated[tuple[ArmAsked, ...], Field(min_length=1, max_length=MOST_ARMS)]
    metrics: Annotated[tuple[MetricAsked, ...], Field(min_length=1, max_length=MOST_METRICS)]
    guardrails: Annotated[tuple[GuardedAsked, ...], Field(max_length=MOST_GUARDRAILS)] = ()
    primary: PrimaryAsked
    segments: Annotated[tuple[Segment, ...], Field(max_length=MOST_SEGMENTS)] = ()
    window_seconds: Annotated[int, Field(ge=0, le=90 * 86_400, strict=True)] = 0
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    before_days: Annotated[int, Field(ge=0, le=90, strict=True)] = 0
    looks: Looks = "sequence"
    planned_days: Annotated[int, Field(ge=1, le=MOST_DAYS, strict=True)]
    layer: Slug | None = None
    failures: Annotated[int, Field(ge=1, le=100, strict=True)] = 1
    triggers: Triggers = Triggers()

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        versions = [one.version for one in self.arms]
        if len(set(versions)) != len(versions):
            raise ValueError("a version has two arms")
        if self.control_share <= 0:
            raise ValueError("the arms leave nothing to the champion that they are compared with")
        if any(one.adjusted for one in self.metrics) and not self.before_days:
            raise ValueError("an adjusted metric needs before_days, which its covariate is of")
        _held(lambda: self.comparison("checked", cuts=_UNKNOWN_CUTS, planned_weight=1.0))
        return self

    @property
    def control_share(self) -> int:
        """What the champion keeps, in buckets."""
        return BUCKETS - sum(one.share for one in self.arms)

    def comparison(self, slug: str, *, cuts: tuple[float, ...], planned_weight: float | None) -> Comparison:
        """The plan's comparison, without variances and tunings. ValidationError where it cannot be one."""
        return Comparison(
            experiment=slug,
            counts="once",
            window_seconds=self.window_seconds,
            alpha=self.alpha,
            before_days=self.before_days,
            metrics=tuple(one.metric(cuts) for one in self.metrics),
            guardrails=tuple(Guardrail(**one.model_dump()) for one in self.guardrails),
            primary=Primary(**self.primary.model_dump()),
            segments=self.segments,
            design=self.looks,
            planned_weight=planned_weight if self.looks != "sequence" else None,
            failures=self.failures,
            on=self.triggers,
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-able, with what goes without saying: it shall mean the same when defaults are others."""
        return self.model_dump(mode="json")


def parse_design(content: object) -> Design:
    """A design from outside. Refusal `bad-design` names the first field that is wrong."""
    try:
        found = Design.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _no_design(where, str(first["msg"]).removeprefix("Value error, ")) from error
    for where, told in found.to_json().items():
        if (odd := next((one for one in _texts(told) if not one.replace("\n", " ").isprintable()), None)) is not None:
            raise _no_design(where, f"{odd[:40]!a} holds characters that cannot be printed")
    return found


def metrics_asked(guardrails: tuple[GuardrailAsked, ...]) -> tuple[MetricAsked, ...]:
    """The metrics of a rollout's guardrails, each under its guardrail's name."""
    names = ("name", "kind", "outcome", "better", "above_seconds", "quantile", "horizon_seconds")
    return tuple(MetricAsked(**{name: getattr(one, name) for name in names}) for one in guardrails)


def _no_design(where: str, says: str) -> Refusal:
    where = ascii(where)[1:-1][:200]
    return Refusal(
        f"This cannot be an experiment: {f'{where}: ' if where else ''}{says[:400]}.",
        'Correct it and send it again (docs/experiments.md, "Designing").',
        code="bad-design",
        field=where,
    )


def _held(made: Any) -> None:
    """What another value refuses is refused in the same words."""
    try:
        made()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(str(first["msg"]).removeprefix("Value error, ")) from None


def _texts(told: object) -> Iterator[str]:
    if isinstance(told, str):
        yield told
    elif isinstance(told, dict):
        for name, one in told.items():
            yield str(name)
            yield from _texts(one)
    elif isinstance(told, list | tuple):
        for one in told:
            yield from _texts(one)
