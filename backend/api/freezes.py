"""`/freezes`: stops of all starts, somewhere or everywhere; going back stays possible."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field
from sqlmodel import select

from backend.api.asking import Asks, Name, Page, Paged, Reading, Reason, Sent, Shown
from backend.api.changes import Why
from backend.api.once import Making
from backend.api.tags import Fresh, Held, Tagged
from backend.core.context import Actor
from backend.core.errors import NotFound
from backend.policy import queries
from backend.policy.rows import Freeze

router = APIRouter(prefix="/freezes", tags=["freezes"])
FreezeId = Annotated[str, Path(pattern=r"^frz_[0-9a-z]{26}$", description="The freeze's id.")]
_MOST = 1_000


class FreezeView(Shown):
    """One freeze. In force until somebody lifts it."""

    id: str
    scope: str = Field(description="`*`, or an environment's name.")
    reason: str
    set_by: str = Field(description="The id of an identity.")
    set_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None


class Freezing(Sent):
    """Where nothing shall start, and why."""

    scope: Name = Field(description="`*`, or an environment's name.", examples=["production"])
    reason: Reason


@router.get("")
def list_freezes(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[FreezeView]:
    """Freezes, newest first, lifted ones included."""
    with asks.reading("policy.read") as look:
        found = queries.freezes(look.session, limit=_MOST)
    items, following = narrow.cut(found, lambda one: (one.set_at, one.id), newest_first=True)
    return Page(items=tuple(map(FreezeView.model_validate, items)), next=following)


@router.post("", status_code=201)
def set_freeze(asks: Asks, fresh: Fresh, once: Making, sent: Freezing, response: Response) -> FreezeView:
    """Stops all starts in an environment, or everywhere; rollbacks stay possible."""
    made = once.make(Freeze, lambda: asks.backend.policies.freeze(asks.actor, sent.scope, sent.reason).id)
    response.headers["location"] = f"/api/v1/freezes/{made.id}"
    return fresh(_view(asks, made.id))


@router.get("/{freeze}")
def show_freeze(asks: Asks, freeze: FreezeId, tagged: Tagged) -> FreezeView:
    """One freeze."""
    return tagged(_view(asks, freeze))


@router.post("/{freeze}/lift")
def lift_freeze(asks: Asks, held: Held, freeze: FreezeId, sent: Why) -> FreezeView:
    """Ends a freeze; what waited for it may start. Sending it again changes nothing."""
    with held.held("policy.read", _shown(freeze), select(Freeze.id).where(Freeze.id == freeze)):
        asks.backend.policies.lift(asks.actor, freeze, sent.reason)
    return held.answer(_view(asks, freeze))


def _view(asks: Asks, freeze: str) -> FreezeView:
    with asks.reading("policy.read") as look:
        return _shown(freeze)(look, asks.actor)


def _shown(freeze: str) -> Callable[[Reading, Actor], FreezeView]:
    def shown(look: Reading, _actor: Actor) -> FreezeView:
        row = look.session.get(Freeze, freeze)
        if row is None:
            raise NotFound("freeze", freeze)
        return FreezeView.model_validate(row)

    return shown
