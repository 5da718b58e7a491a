"""`/changes`: propose, look, edit, discuss, withdraw, draw anew."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import AwareDatetime, Field, StringConstraints

from backend.api.asking import After, Asks, Name, Narrow, Page, Plain, Reason, Ref, Sent, Shown, Whole
from backend.changes import course, queries, timeline, view
from backend.changes.difference import Line, Move
from backend.changes.proposing import MAX_TEXT, MAX_TITLE
from backend.changes.queries import ChangeLine
from backend.changes.rules import CHANGE
from backend.changes.view import CommentView, Impact, VoteView
from backend.delivery.plan import BUCKETS, buckets_from_percent
from backend.evidence.queries import EvidenceView
from backend.rollouts.queries import RolloutView

router = APIRouter(prefix="/changes", tags=["changes"])

Percent = Annotated[float, Field(ge=0, le=100, description="In percent, with two decimals at most.", examples=[25])]
Title = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TITLE), Plain]
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), Plain]
Seconds = Annotated[int, Field(ge=0, le=366 * 86_400)]


class RampStep(Sent):
    """A share on the way to the final one, how long it is held, and whether somebody has to let the rollout on after it."""

    share_percent: Percent
    hold_seconds: Seconds = 0
    person: bool = False


class Wishes(Sent):
    """How a version shall go live. What is not sent is as usual: all traffic at once, when it is approved."""

    share_percent: Percent = 100.0
    ramp: Annotated[tuple[RampStep, ...], Field(max_length=49, strict=False)] = ()
    bake_seconds: Annotated[Seconds | None, Field(description="How long what runs now stays loaded afterwards.")] = None
    start_mode: Annotated[Literal["at_once", "by_hand", "at_time"], Field(description="How it starts once it is approved.")] = (
        "at_once"
    )
    start_at: Annotated[AwareDatetime | None, Field(strict=False, description="With `at_time`: when, with its zone.")] = None
    supersede: Annotated[bool, Field(description="Whether it may take over a rollout under way.")] = False
    shadow: Annotated[Literal["keep", "this", "none"], Field(description="A shadow gets copies and answers nobody.")] = "keep"
    experiment: Annotated[str | None, Field(max_length=64, description="A new experiment: every unit is assigned anew.")] = None
    unit_header: Annotated[str | None, Field(max_length=64, description="Header that carries the unit of randomisation.")] = (
        None
    )


class Proposal(Wishes):
    """That an endpoint shall serve a registered version of its model."""

    endpoint: Annotated[Name, Field(examples=["flight-delay"])]
    version: Annotated[Whole, Field(examples=[2])]
    title: Annotated[Title, Field(examples=["Promote version 2"])]
    reason: Annotated[Text, Field(examples=["Better calibrated in summer"])]


class Edit(Wishes):
    """What shall be different; what is not sent stays as it is."""

    version: Whole | None = None
    title: Title | None = None
    reason: Text | None = None


class Why(Sent):
    """A reason."""

    reason: Reason


class Remark(Sent):
    """A remark for the discussion."""

    text: Text


class RemarkView(Shown):
    """A remark that was added."""

    id: str
    change_id: str
    at: datetime


class DifferenceView(Shown):
    """What a plan changes: sentences with the values before and after, and which buckets change arm."""

    summary: str
    lines: tuple[Line, ...]
    moves: tuple[Move, ...]
    anew: bool = Field(description="Every unit is assigned anew.")


class ChangeView(Shown):
    """Everything about one change. `plan_digest` and `base_digest` are what a vote is bound to."""

    line: ChangeLine
    reason: str
    plan: dict[str, Any]
    plan_digest: str
    base: dict[str, Any]
    base_digest: str
    policy: str
    start_mode: str
    start_at: datetime | None
    supersede: bool
    changes: DifferenceView
    since_earlier: DifferenceView | None = Field(description="Against the plan before the latest edit.")
    drawn_on: str
    votes: tuple[VoteView, ...]
    evidence: tuple[EvidenceView, ...]
    comments: tuple[CommentView, ...]
    missing: tuple[str, ...] = Field(description="What it still takes until it is live.")
    may: dict[str, str] = Field(description='Action -> "" when the caller may do it now, else why not.')
    rollout: RolloutView | None
    impact: Impact


class MomentView(Shown):
    """Something that happened to a change, as the ledger has it."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str
    facts: dict[str, Any]


State = Annotated[str, StringConstraints(pattern=f"^({'|'.join(CHANGE.states)})$")]


class ChangesNarrow(Narrow):
    """What a list of changes is narrowed by."""

    state: Annotated[tuple[State, ...], Field(max_length=20, description="Repeat it for several.")] = ()
    environment: Annotated[str, Field(max_length=63)] = ""
    endpoint: Annotated[str, Field(max_length=256)] = ""
    model: Annotated[str, Field(max_length=256)] = ""
    text: Annotated[str, Field(max_length=200, description="Part of a title or of an endpoint's name.")] = ""
    after: After = None
    limit: Annotated[int, Field(ge=1, le=queries.MAX_PAGE)] = 50


@router.get("")
def list_changes(asks: Asks, narrow: Annotated[ChangesNarrow, Query()]) -> Page[ChangeLine]:
    """Changes, page by page: what needs somebody first, then those that are over."""
    filters = queries.Filters(narrow.state, narrow.environment, narrow.endpoint, narrow.model, text=narrow.text)
    with asks.reading("change.read") as look:
        page = queries.page(look.session, filters, after=narrow.after, limit=narrow.limit)
    return Page(items=page.items, next=page.next)


@router.get("/waiting")
def list_waiting(asks: Asks) -> Page[ChangeLine]:
    """Changes that the caller may vote on and has not voted on as they are."""
    with asks.reading("change.read") as look:
        return Page(items=queries.queue(look.session, asks.actor, look.now), next=None)


@router.post("", status_code=201)
def propose(
    asks: Asks,
    sent: Proposal,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(
            max_length=128,
            description="Of your own choice, e.g. the build's number. The same request again under it returns the change that "
            "it made and makes no second one; another request under it is a 409 `key-used`.",
            examples=["build-1842"],
        ),
    ] = None,
) -> ChangeView:
    """Proposes that an endpoint serves a registered version. The plan is drawn on what is live; checks are asked for."""
    wishes = _wishes(sent, frozenset(Wishes.model_fields))
    named = sent.model_dump(include={"endpoint", "version", "title", "reason"})
    made = asks.backend.changes.propose(asks.actor, **named, **wishes, key=idempotency_key)
    response.headers["location"] = f"/api/v1/changes/{made.number}"
    return whole(asks, made.number)


@router.get("/{change}")
def show_change(asks: Asks, change: Ref) -> ChangeView:
    """One change whole: what it changes, its digests, checks and votes, what is missing, and what the caller may do."""
    return whole(asks, change)


@router.get("/{change}/timeline")
def show_timeline(asks: Asks, change: Ref) -> tuple[MomentView, ...]:
    """What happened to a change, the first first."""
    with asks.reading("change.read") as look:
        found = timeline.timeline(look.session, course.find(look.session, change))
    return tuple(MomentView.model_validate(one) for one in found)


@router.patch("/{change}")
def edit(asks: Asks, change: Ref, sent: Edit) -> ChangeView:
    """Changes what is asked for. The plan is drawn anew, votes and checks are void, and reviewers see the difference."""
    named = sent.model_dump(include={"version", "title", "reason"}, exclude_none=True)
    asks.backend.changes.edit(asks.actor, change, **named, **_wishes(sent, sent.model_fields_set))
    return whole(asks, change)


@router.post("/{change}/withdraw")
def withdraw(asks: Asks, change: Ref, sent: Why) -> ChangeView:
    """Takes a change back before it starts. Sending it again changes nothing."""
    asks.backend.changes.withdraw(asks.actor, change, sent.reason)
    return whole(asks, change)


@router.post("/{change}/recheck")
def recheck(asks: Asks, change: Ref) -> ChangeView:
    """Runs every check again."""
    asks.backend.changes.recheck(asks.actor, change)
    return whole(asks, change)


@router.post("/{change}/rebase")
def rebase(asks: Asks, change: Ref) -> ChangeView:
    """Draws a suspended change anew on what is live now; it goes back to review without votes."""
    asks.backend.changes.rebase(asks.actor, change)
    return whole(asks, change)


@router.post("/{change}/comments", status_code=201)
def comment(asks: Asks, change: Ref, sent: Remark) -> RemarkView:
    """Adds a remark to the discussion."""
    return RemarkView.model_validate(asks.backend.changes.comment(asks.actor, change, sent.text))


def whole(asks: Asks, ref: str | int) -> ChangeView:
    """A change as the caller sees it now."""
    with asks.reading("change.read") as look:
        return ChangeView.model_validate(view.view(look.session, asks.actor, ref, look.now))


def _wishes(sent: Wishes, named: frozenset[str] | set[str]) -> dict[str, Any]:
    """The wishes that were named, as `Changes.propose` and `edit` take them: shares in buckets."""
    found = {name: getattr(sent, name) for name in Wishes.model_fields if name in named}
    if "share_percent" in found:
        found["share"] = _buckets(found.pop("share_percent"))
    if "ramp" in found:
        found["ramp"] = [_step(one) for one in found["ramp"]]
    return found


def _step(step: RampStep) -> Mapping[str, Any]:
    return {"share": _buckets(step.share_percent), "hold_seconds": step.hold_seconds, "person": step.person}


def _buckets(percent: float) -> int:
    return buckets_from_percent(f"{percent:g}" if percent != 100 else str(BUCKETS // 100))
