"""`/changes/{change}/start`, `/revoke`, `/roll-back`: what is done about a change that is approved or live."""

from __future__ import annotations

from fastapi import APIRouter

from backend.api.asking import Asks, Ref
from backend.api.changes import ChangeView, Why, seen, whole
from backend.api.tags import Held

router = APIRouter(prefix="/changes", tags=["starts"])


@router.post("/{change}/start")
def start_change(asks: Asks, held: Held, change: Ref) -> ChangeView:
    """Starts an approved change that waits for somebody to do so. Sending it again changes nothing."""
    with seen(held, change):
        asks.backend.changes.start(asks.actor, change)
    return held.answer(whole(asks, change))


@router.post("/{change}/revoke")
def revoke_change(asks: Asks, held: Held, change: Ref, sent: Why) -> ChangeView:
    """Takes an approval back: nothing more is pushed under it; what runs stays until it is rolled back."""
    with seen(held, change):
        asks.backend.changes.revoke(asks.actor, change, sent.reason)
    return held.answer(whole(asks, change))


@router.post("/{change}/roll-back")
def roll_back_change(asks: Asks, held: Held, change: Ref, sent: Why) -> ChangeView:
    """Goes back to what ran before, as was approved together with the change. Sending it again changes nothing."""
    with seen(held, change):
        asks.backend.changes.roll_back(asks.actor, change, sent.reason)
    return held.answer(whole(asks, change))
