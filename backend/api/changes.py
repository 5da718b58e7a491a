"""`/changes`: look at changes, discuss them, withdraw them, check and draw them anew. Proposing is in `proposals.py`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints
from sqlmodel import col, select

from backend.access.rows import Identity
from backend.api.asking import After, Asks, Narrow, Page, Paged, Plain, Reading, Reason, Ref, Sent, Shown
from backend.api.once import Making
from backend.api.tags import Held, Tagged
from backend.changes import asked, course, queries, timeline, view
from backend.changes.difference import Line, Move
from backend.changes.proposing import MAX_TEXT
from backend.changes.queries import ChangeLine
from backend.changes.rows import Change, Comment
from backend.changes.rules import CHANGE
from backend.changes.view import CommentView, Impact, VoteView
from backend.core.context import Actor
from backend.evidence.queries import EvidenceView
from backend.rollouts.queries import RolloutView

router = APIRouter(prefix="/changes", tags=["changes"])

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), Plain]


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


class ChangesPage(Page[ChangeLine]):
    """Changes, and how many there are in each state, whatever is asked for."""

    counts: dict[str, int] = Field(description="By state; states without any are left out.", examples=[{"review": 2}])


class AskedView(Shown):
    """One change that waits for the caller, and what is asked."""

    line: ChangeLine
    what: str = Field(
        description="vote; start what is approved; let_on: look at a rollout's step; redraw one's own that was suspended; "
        "mend one's own that is blocked."
    )
    missing: tuple[str, ...] = Field(description="What it still takes until it is live.")


class ChangesNarrow(Narrow):
    """What a list of changes is narrowed by."""

    state: Annotated[tuple[State, ...], Field(max_length=20, description="Repeat it for several.")] = ()
    environment: Annotated[str, Field(max_length=63)] = ""
    endpoint: Annotated[str, Field(max_length=256)] = ""
    model: Annotated[str, Field(max_length=256)] = ""
    within: Annotated[bool, Field(description="Whether `endpoint` and `model` are parts of names, not whole ones.")] = False
    text: Annotated[str, Field(max_length=200, description="Part of a title or of an endpoint's name.")] = ""
    requester: Annotated[str, Field(max_length=256, description="Asked for by this identity, by its short name.")] = ""
    after: After = None
    limit: Annotated[int, Field(ge=1, le=queries.MAX_PAGE)] = 50


@router.get("")
def list_changes(asks: Asks, narrow: Annotated[ChangesNarrow, Query()]) -> ChangesPage:
    """Changes, page by page: what needs somebody first, then those that are over."""
    filters = queries.Filters(
        narrow.state, narrow.environment, narrow.endpoint, narrow.model, text=narrow.text, within=narrow.within
    )
    with asks.reading("change.read") as look:
        if narrow.requester:
            query = select(Identity.id).where(Identity.name == narrow.requester)
            filters = replace(filters, requester_id=look.session.exec(query).one_or_none() or _NOBODY)
        page = queries.page(look.session, filters, after=narrow.after, limit=narrow.limit)
        counts = queries.counts(look.session)
    return ChangesPage(items=page.items, next=page.next, counts=counts)


_NOBODY = "nobody"
"""No identity's id."""


@router.get("/asked")
def list_asked_changes(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[AskedView]:
    """What is asked of the caller now: votes, starts, looks at a rollout's step, and changes of its own that are stuck; at most
    twenty of each.
    """
    with asks.reading("change.read") as look:
        found = list(enumerate(asked.asked_of(look.session, asks.actor, look.now)))
    items, following = narrow.cut(found, lambda one: (one[0],))
    return Page(items=tuple(AskedView.model_validate(one) for _, one in items), next=following)


@router.get("/waiting")
def list_waiting_changes(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[ChangeLine]:
    """Changes that the caller may vote on and has not voted on as they are, the oldest first."""
    with asks.reading("change.read") as look:
        items, following = narrow.cut(queries.queue(look.session, asks.actor, look.now), _by_deadline)
    return Page(items=items, next=following)


@router.get("/{change}")
def show_change(asks: Asks, change: Ref, tagged: Tagged) -> ChangeView:
    """One change whole: what it changes, its digests, checks and votes, what is missing, and what the caller may do."""
    return tagged(whole(asks, change))


@router.get("/{change}/timeline")
def list_change_timeline(asks: Asks, change: Ref, narrow: Annotated[Paged, Query()]) -> Page[MomentView]:
    """What happened to a change, the first first."""
    with asks.reading("change.read") as look:
        found = timeline.timeline(look.session, course.find(look.session, change))
    items, following = narrow.cut(found, lambda one: (one.seq,))
    return Page(items=tuple(map(MomentView.model_validate, items)), next=following)


@router.post("/{change}/withdraw")
def withdraw_change(asks: Asks, held: Held, change: Ref, sent: Why) -> ChangeView:
    """Takes a change back before it starts. Sending it again changes nothing."""
    with seen(held, change):
        asks.backend.changes.withdraw(asks.actor, change, sent.reason)
    return held.answer(whole(asks, change))


@router.post("/{change}/recheck")
def recheck_change(asks: Asks, held: Held, change: Ref) -> ChangeView:
    """Runs every check again."""
    with seen(held, change):
        asks.backend.changes.recheck(asks.actor, change)
    return held.answer(whole(asks, change))


@router.post("/{change}/rebase")
def rebase_change(asks: Asks, held: Held, change: Ref) -> ChangeView:
    """Draws a suspended change anew on what is live now; it goes back to review without votes."""
    with seen(held, change):
        asks.backend.changes.rebase(asks.actor, change)
    return held.answer(whole(asks, change))


@router.post("/{change}/comments", status_code=201)
def comment_on_change(asks: Asks, once: Making, change: Ref, sent: Remark) -> RemarkView:
    """Adds a remark to the discussion; each time another one, unless it brings an `Idempotency-Key`."""
    made = once.make(Comment, lambda: asks.backend.changes.comment(asks.actor, change, sent.text).id)
    with asks.reading("change.read") as look:
        row = look.session.exec(select(Comment).where(Comment.id == made.id)).one()
        return RemarkView.model_validate(row)


def _by_deadline(line: ChangeLine) -> tuple[datetime, int]:
    return line.decide_by or datetime.max.replace(tzinfo=UTC), line.number


def whole(asks: Asks, ref: str | int) -> ChangeView:
    """A change as the caller sees it now."""
    with asks.reading("change.read") as look:
        return _shown(ref)(look, asks.actor)


def seen(held: Held, ref: str, *, needed: bool = False) -> AbstractContextManager[None]:
    """Whatever is done to the change meanwhile is done only if it is as the caller saw it."""
    row = select(Change.id).where(col(Change.number) == int(ref) if ref.isdecimal() else col(Change.id) == ref)
    return held.held("change.read", _shown(ref), row, needed=needed)


def _shown(ref: str | int) -> Callable[[Reading, Actor], ChangeView]:
    return lambda look, actor: ChangeView.model_validate(view.view(look.session, actor, ref, look.now))
