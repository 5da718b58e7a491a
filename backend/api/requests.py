"""`/requests`: what one admin asked for and a second one has to confirm."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from backend.access import requests
from backend.api.asking import Asks, Reason, Sent, Shown

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


@router.get("")
def list_requests(
    asks: Asks,
    settled: Annotated[bool, Query(description="With what was settled or ran out, the newest first.")] = False,
) -> tuple[RequestView, ...]:
    """What waits for a second person, the oldest first."""
    with asks.reading("request.list") as look:
        found = requests.lines(look.session, now=look.now, all_of_them=settled)
    return tuple(map(RequestView.model_validate, found))


@router.get("/{request}")
def show_request(asks: Asks, request: RequestId) -> RequestView:
    """One request whole."""
    return _view(asks, request)


@router.post("/{request}/confirm")
def confirm_request(asks: Asks, request: RequestId) -> RequestView:
    """Confirms what somebody else asked for; it is done at once."""
    _view(asks, request)
    asks.backend.confirm_request(asks.actor, request)
    return _view(asks, request)


@router.post("/{request}/refuse")
def refuse_request(asks: Asks, request: RequestId, sent: Refusing) -> RequestView:
    """Refuses it, or takes back what one asked for."""
    _view(asks, request)
    asks.backend.refuse_request(asks.actor, request, sent.reason)
    return _view(asks, request)


def _view(asks: Asks, request: str) -> RequestView:
    with asks.reading("request.list") as look:
        return RequestView.model_validate(requests.line(look.session, request, now=look.now))
