"""`/requests`: what one admin asked for and a second one has to confirm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field
from sqlmodel import col, select

from backend.access import requests, touched
from backend.access.rows import Request
from backend.api.asking import NO_REASON, Asks, Page, Paged, Reading, Reason, Reasoned, Sent, Shown, page_of
from backend.api.group_mappings import TouchedView, touched_page
from backend.api.tags import Held, Tagged
from backend.core.context import Actor
from backend.registry.keys import read_key, write_key

router = APIRouter(prefix="/requests", tags=["requests"])
RequestId = Annotated[str, Path(pattern=r"^ask_[0-9a-z]{26}$", description="The request's id.")]


class RequestView(Shown):
    """One request."""

    id: str
    kind: str = Field(examples=["role.grant"])
    says: str = Field(description="What is asked for, in a sentence.")
    what: Mapping[str, Any] = Field(description="All of it: exactly this is confirmed.")
    state: str = Field(description="waiting, confirmed, refused or expired.")
    asked_by: str
    asked_by_name: str
    asked_at: datetime
    expires_at: datetime
    settled_by_name: str | None
    settled_at: datetime | None
    reason: str


class Refusing(Sent):
    """Why it is refused."""

    reason: Reason


class RequestsNarrow(Paged):
    """Which requests."""

    settled: Annotated[bool, Field(description="With what was settled or ran out, the newest first.")] = False


@router.get("")
def list_requests(asks: Asks, narrow: Annotated[RequestsNarrow, Query()]) -> Page[RequestView]:
    """What waits for a second person, the oldest first; with `settled` all of them, the newest first. Whoever is admin of an
    environment alone sees what would weaken its policy.
    """
    before = read_key(narrow.after, datetime, str) if narrow.after is not None else None
    with asks.reading("policy.read") as look:
        where = requests.demand_sight(look.session, asks.actor, now=look.now)
        found = requests.lines(
            look.session, now=look.now, all_of_them=narrow.settled, after=before, limit=narrow.limit + 1, environments=where
        )
    items, following = page_of(found, narrow.limit, lambda one: write_key(one.asked_at, one.id))
    return Page(items=tuple(map(RequestView.model_validate, items)), next=following)


@router.get("/{request}")
def show_request(asks: Asks, request: RequestId, tagged: Tagged) -> RequestView:
    """One request whole."""
    return tagged(_view(asks, request))


@router.get("/{request}/touched")
def list_touched_by_request(asks: Asks, request: RequestId, narrow: Annotated[Paged, Query()]) -> Page[TouchedView]:
    """Whom the mapping that this asks for would give its role to, as far as is known; nobody for other requests."""
    with asks.reading("group_mapping.make") as look:
        asked = requests.line(look.session, request, now=look.now)
        is_mapping = asked.kind == "group_mapping.make"
        found = touched.by_place(look.session, *(asked.what[one] for one in touched.FIELDS)) if is_mapping else ()
    return touched_page(narrow, found)


@router.post("/{request}/confirm")
def confirm_request(asks: Asks, held: Held, request: RequestId, sent: Reasoned = NO_REASON) -> RequestView:
    """Confirms what somebody else asked for; it is done at once."""
    _view(asks, request)
    with _seen(held, request):
        asks.backend.confirm_request(asks.actor, request, sent.reason)
    return held.answer(_view(asks, request))


@router.post("/{request}/refuse")
def refuse_request(asks: Asks, held: Held, request: RequestId, sent: Refusing) -> RequestView:
    """Refuses it, or takes back what one asked for."""
    _view(asks, request)
    with _seen(held, request):
        asks.backend.refuse_request(asks.actor, request, sent.reason)
    return held.answer(_view(asks, request))


def _view(asks: Asks, request: str) -> RequestView:
    with asks.reading("policy.read") as look:
        return _shown(request)(look, asks.actor)


def _shown(request: str) -> Callable[[Reading, Actor], RequestView]:
    def shown(look: Reading, actor: Actor) -> RequestView:
        where = requests.demand_sight(look.session, actor, now=look.now)
        return RequestView.model_validate(requests.line(look.session, request, now=look.now, environments=where))

    return shown


def _seen(held: Held, request: str) -> AbstractContextManager[None]:
    return held.held("policy.read", _shown(request), select(col(Request.id)).where(Request.id == request))
