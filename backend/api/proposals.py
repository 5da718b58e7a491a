"""`/changes`, what is asked for: previewing, proposing and editing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field, StringConstraints

from backend.api.asking import Asks, Instant, Name, Plain, Ref, Sent, Shown, Whole
from backend.api.changes import ChangeView, DifferenceView, seen, whole
from backend.api.once import Making
from backend.api.tags import Fresh, Held
from backend.changes.proposing import MAX_TEXT, MAX_TITLE
from backend.changes.rows import Change
from backend.delivery.plan import buckets_from_percent
from backend.policy.guardrails import Kind
from backend.policy.rules import RampName

router = APIRouter(prefix="/changes", tags=["changes"])

Percent = Annotated[float, Field(ge=0, le=100, description="In percent, with two decimals at most.", examples=[25])]
Title = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TITLE), Plain]
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), Plain]
Seconds = Annotated[int, Field(ge=0, le=366 * 86_400)]
StartMode = Annotated[Literal["at_once", "by_hand", "at_time"], Field(description="How it starts once it is approved.")]


NamedRamp = Annotated[RampName, Field(description="The name of a ramp.", examples=["careful"])]


Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class RampStep(Sent):
    """A share on the way to the final one, and the gates before the next in their order: time, units, statistics, a person."""

    share_percent: Annotated[Percent, Field(description="In percent; left out of a step at which it gets copies.")] = 0.0
    hold_seconds: Seconds = 0
    min_units: Annotated[Count, Field(description="Units that the smallest arm needs, of those that entered at this step.")] = 0
    statistics: Annotated[
        Literal["not_failed", "passed"] | None,
        Field(description="`not_failed`: no guardrail failed and none is missing; `passed`: each is proved to be kept."),
    ] = None
    person: Annotated[bool, Field(description="Whether somebody has to let the rollout on after it.")] = False
    shadow: Annotated[bool, Field(description="The version gets copies at it and answers nobody.")] = False


class Guardrail(Sent):
    """What must not get worse while two versions share the traffic."""

    name: Annotated[str, Field(max_length=63, description="What people call it.", examples=["errors"])]
    kind: Annotated[Kind, Field(description="What is measured.", examples=["errors"])]
    margin: Annotated[float, Field(description="Tolerated harm in the metric's unit; 0.01 of errors is 1 %.", examples=[0.01])]
    relative: Annotated[bool, Field(description="Whether the margin is a share of the champion's figure.")] = False
    on_fail: Annotated[Literal["rollback", "hold", "warn"], Field(description="What follows once more harm is proved.")] = (
        "rollback"
    )
    outcome: Annotated[str | None, Field(max_length=128, description="Of kinds that need to know what became of it.")] = None
    better: Annotated[Literal["lower", "higher"], Field(description="Which way is better; of `outcome` alone.")] = "lower"
    above_seconds: Annotated[float | None, Field(description="Of `slow`: from when on an answer is slow.")] = None
    quantile: Annotated[float | None, Field(description="Of `latency`: 0.95 is p95.")] = None
    horizon_seconds: Annotated[Seconds, Field(description="After a request, when its outcome is known if it ever is.")] = 0


class Rest(Sent):
    """The final share of another version that runs there."""

    version: Annotated[Whole, Field(examples=[1])]
    share_percent: Percent


class Wishes(Sent):
    """How a version shall go live. What is not sent is as usual: all traffic at once, when it is approved."""

    share_percent: Percent = 100.0
    ramp: Annotated[
        Annotated[tuple[RampStep, ...], Field(max_length=49, strict=False)] | NamedRamp,
        Field(description="Steps on the way, or the name of a ramp, whose steps it takes over."),
    ] = ()
    bake_seconds: Annotated[Seconds | None, Field(description="How long what runs now stays loaded afterwards.")] = None
    start_mode: StartMode = "at_once"
    start_at: Annotated[Instant | None, Field(strict=False, description="With `at_time`: when, with its zone.")] = None
    supersede: Annotated[bool, Field(description="Whether it may take over a rollout under way.")] = False
    shadow: Annotated[Literal["keep", "this", "none"], Field(description="A shadow gets copies and answers nobody.")] = "keep"
    experiment: Annotated[str | None, Field(max_length=64, description="A new experiment: all are assigned anew.")] = None
    unit_header: Annotated[str | None, Field(max_length=64, description="Header with the unit of randomisation.")] = None
    guardrails: Annotated[
        tuple[Guardrail, ...],
        Field(max_length=20, strict=False, description="What must not get worse, besides what the policy asks for."),
    ] = ()
    same_age: Annotated[bool, Field(description="Whether it is compared with a copy of the champion, loaded as newly.")] = False
    rest: Annotated[
        tuple[Rest, ...],
        Field(max_length=15, strict=False, description="Final shares of what runs besides; else it keeps its proportions."),
    ] = ()


class Draft(Wishes):
    """What would be proposed, without words."""

    endpoint: Annotated[Name, Field(examples=["flight-delay"])]
    version: Annotated[Whole, Field(examples=[2])]


class Proposal(Draft):
    """That an endpoint shall serve a registered version of its model."""

    title: Annotated[Title, Field(examples=["Promote version 2"])]
    reason: Annotated[Text, Field(examples=["Better calibrated in summer"])]


class Edit(Wishes):
    """What shall be different; what is not sent stays as it is."""

    version: Whole | None = None
    title: Title | None = None
    reason: Text | None = None


class PreviewView(Shown):
    """A plan as it would be drawn now."""

    plan: dict[str, Any]
    base: dict[str, Any]
    changes: DifferenceView
    drawn_on: str = Field(description='Where a rollout under way leads that it would be drawn on; "" for what is live.')
    policy: str
    is_packaged: bool = Field(description="Whether the package is there; else it is built by proposing.")
    lacks: tuple[str, ...] = Field(description="What its approval would take.")
    waits: str = Field(description='What it would wait for before it could start; "" for nothing.')


@router.post("/preview")
def preview_change(asks: Asks, sent: Draft) -> PreviewView:
    """What a proposal would come to, without making it: its plan against what is live, and what it would take."""
    wishes = _wishes(sent, Wishes.model_fields.keys())
    found = asks.backend.changes.preview(asks.actor, endpoint=sent.endpoint, version=sent.version, **wishes)
    return PreviewView(
        plan=found.plan.to_json(),
        base=dict(found.base),
        changes=DifferenceView.model_validate(found.changes),
        drawn_on=found.drawn_on,
        policy=found.policy.id,
        is_packaged=found.is_packaged,
        lacks=found.lacks,
        waits=found.waits,
    )


@router.post("", status_code=201)
def propose_change(asks: Asks, fresh: Fresh, once: Making, sent: Proposal, response: Response) -> ChangeView:
    """Proposes that an endpoint serves a registered version. The plan is drawn on what is live; checks are asked for."""
    named = sent.model_dump(include={"endpoint", "version", "title", "reason"})
    wishes = _wishes(sent, Wishes.model_fields.keys())
    made = once.make(Change, lambda: asks.backend.changes.propose(asks.actor, **named, **wishes, key=once.key).id)
    found = whole(asks, made.id)
    response.headers["location"] = f"/api/v1/changes/{found.line.number}"
    return fresh(found)


@router.patch("/{change}")
def edit_change(asks: Asks, held: Held, change: Ref, sent: Edit) -> ChangeView:
    """Changes what is asked for. The plan is drawn anew, votes and checks are void, and reviewers see the difference.

    Needs `If-Match`: 428 without it.
    """
    named = sent.model_dump(include={"version", "title", "reason"}, exclude_none=True)
    with seen(held, change, needed=True):
        asks.backend.changes.edit(asks.actor, change, **named, **_wishes(sent, sent.model_fields_set))
    return held.answer(whole(asks, change))


def _wishes(sent: Wishes, named: Collection[str]) -> dict[str, Any]:
    """The wishes that were named, as the services take them: shares in buckets."""
    found = {name: getattr(sent, name) for name in Wishes.model_fields if name in named}
    if "share_percent" in found:
        found["share"] = _buckets(found.pop("share_percent"))
    if "ramp" in found:
        found["ramp"] = found["ramp"] if isinstance(found["ramp"], str) else tuple(map(step_in_buckets, found["ramp"]))
    if "guardrails" in found:
        found["guardrails"] = tuple(one.model_dump() for one in found["guardrails"])
    if "rest" in found:
        found["rest"] = tuple({"version": one.version, "share": _buckets(one.share_percent)} for one in found["rest"])
    return found


def step_in_buckets(step: RampStep) -> Mapping[str, Any]:
    """A step as the services take it. Refusal `bad-share`."""
    return {"share": _buckets(step.share_percent), **step.model_dump(exclude={"share_percent"})}


def _buckets(percent: float) -> int:
    return buckets_from_percent(str(percent))
