"""`/registry`: how old the lists of models are, and having the registry read again."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from backend.api.asking import Asks, Name, Sent
from backend.registry import freshness
from backend.registry.freshness import Reading as Freshness

router = APIRouter(prefix="/registry", tags=["registry"])


class Refreshing(Sent):
    """What shall be read again."""

    model: Name | None = Field(default=None, description="Null: everything.", examples=["flight-delay"])


@router.get("")
def show_registry(asks: Asks) -> Freshness:
    """When the registry was last read, when it will be next, and what keeps it from being."""
    with asks.reading("model.read") as look:
        return freshness.reading(look.session, look.now)


@router.post("/refresh", status_code=202)
def refresh_registry(asks: Asks, sent: Refreshing) -> Freshness:
    """Makes the next look at everything, or at one model, due now; a worker takes it. Sending it again changes nothing."""
    asks.backend.mirror.ask(asks.actor, sent.model)
    return show_registry(asks)
