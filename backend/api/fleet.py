"""`/fleet`: all endpoints together: how much runs what was approved, the worst first, and how everything stood at a moment."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from backend.api.asking import After, Asks, Instant, Narrow, Page, Shown
from backend.delivery import fleet, past
from backend.delivery.lines import EndpointLine
from backend.delivery.past import PastLine
from backend.delivery.rows import ENDPOINT_STATES

router = APIRouter(prefix="/fleet", tags=["fleet"])
_MOST = 199


class FleetView(Shown):
    """Endpoints by state, and how many of the managed ones run what was approved, all of it proved."""

    counts: dict[str, int] = Field(description="By state as shown; states that none is in are left out.")
    total: int
    managed: int
    as_approved: int
    troubled: int = Field(description="Of which nobody can say that they run what was approved.")


class FleetNarrow(Narrow):
    """What the fleet is narrowed by."""

    environment: Annotated[str, Field(max_length=63)] = ""
    model: Annotated[str, Field(max_length=256)] = ""
    server: Annotated[str, Field(max_length=256)] = ""
    router: Annotated[str, Field(max_length=256)] = ""
    mode: Literal["", "observe", "managed"] = ""
    text: Annotated[str, Field(max_length=200, description="Part of an endpoint's or its model's name.")] = ""
    after: After = None
    limit: Annotated[int, Field(ge=1, le=_MOST)] = 50


class WorstNarrow(FleetNarrow):
    """The same, with the state as shown."""

    state: Annotated[str, Field(pattern=f"^({'|'.join(ENDPOINT_STATES)}|troubled|)$")] = ""


class PastNarrow(FleetNarrow):
    """The same, at a moment."""

    moment: Annotated[Instant, Field(description="With its zone.", examples=["2026-03-01T06:00:00Z"])]


@router.get("")
def show_fleet(asks: Asks) -> FleetView:
    """How the fleet stands now, as far as you may see it."""
    with asks.reading("endpoint.read") as look:
        return FleetView.model_validate(fleet.standing(look.session, now=look.now, interval=_interval(asks)))


@router.get("/endpoints")
def list_fleet(asks: Asks, narrow: Annotated[WorstNarrow, Query()]) -> Page[EndpointLine]:
    """Endpoints, the worst first, then by name. One whose state moves meanwhile may be met twice or not at all."""
    filters = fleet.Filters(**narrow.model_dump(exclude={"after", "limit"}))
    with asks.reading("endpoint.read") as look:
        page = fleet.fleet(
            look.session, filters, now=look.now, interval=_interval(asks), after=narrow.after or "", limit=narrow.limit
        )
    return Page(items=page.rows, next=page.after)


@router.get("/at")
def list_fleet_at(asks: Asks, narrow: Annotated[PastNarrow, Query()]) -> Page[PastLine]:
    """Endpoints that existed at a moment, by name: what was wanted then, approved by whom, and what had been seen."""
    filters = fleet.Filters(**narrow.model_dump(exclude={"after", "limit", "moment"}))
    with asks.reading("endpoint.read") as look:
        page = past.fleet_at(look.session, narrow.moment, filters, after=narrow.after or "", limit=narrow.limit)
    return Page(items=page.rows, next=page.after)


def _interval(asks: Asks) -> timedelta:
    return timedelta(seconds=asks.backend.settings.observe_seconds)
