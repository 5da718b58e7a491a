"""`/fleet`: all endpoints together: how much runs what was approved, the worst first, and how everything stood at a moment."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from backend.api.asking import After, Asks, Instant, Narrow, Page, Paged, Shown
from backend.changes import briefly
from backend.delivery import fleet, past
from backend.delivery.lines import EndpointLine
from backend.delivery.past import PastLine
from backend.delivery.rows import ENDPOINT_STATES
from backend.rollouts import running
from backend.rollouts.queries import RolloutView

router = APIRouter(prefix="/fleet", tags=["fleet"])
_MOST = 199
_PACE = timedelta(days=30)


class FleetPage(Page[EndpointLine]):
    """Endpoints, and how many are in each state of those that are asked for, whatever state is."""

    counts: dict[str, int] = Field(description="By state as shown; states that none is in are left out.")


class RunningRollout(Shown):
    """One rollout under way, and the endpoint that it walks on."""

    endpoint: str
    environment: str
    model: str
    rollout: RolloutView


class MoveView(Shown):
    """One change of an endpoint's state."""

    endpoint: str
    at: datetime
    before: str
    after: str
    reason: str


class FleetView(Shown):
    """Endpoints by state, and how many of the managed ones run what was approved, all of it proved."""

    counts: dict[str, int] = Field(description="By state as shown; states that none is in are left out.")
    total: int
    managed: int
    as_approved: int
    troubled: int = Field(description="Of which nobody can say that they run what was approved.")
    approval_to_done_seconds: float | None = Field(
        description="The median from approval to done, of changes of the last 30 days; null where there were none."
    )


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
        found = fleet.standing(look.session, now=look.now, interval=_interval(asks))
        pace = briefly.approval_to_done(look.session, look.now - _PACE)
    return FleetView(
        counts=dict(found.counts),
        total=found.total,
        managed=found.managed,
        as_approved=found.as_approved,
        troubled=found.troubled,
        approval_to_done_seconds=pace.total_seconds() if pace is not None else None,
    )


@router.get("/endpoints")
def list_fleet(asks: Asks, narrow: Annotated[WorstNarrow, Query()]) -> FleetPage:
    """Endpoints, the worst first, then by name. One whose state moves meanwhile may be met twice or not at all."""
    filters = fleet.Filters(**narrow.model_dump(exclude={"after", "limit"}))
    with asks.reading("endpoint.read") as look:
        page = fleet.fleet(
            look.session, filters, now=look.now, interval=_interval(asks), after=narrow.after or "", limit=narrow.limit
        )
        counts = fleet.counts(look.session, filters, now=look.now, interval=_interval(asks))
    return FleetPage(items=page.rows, next=page.after, counts=dict(counts))


@router.get("/rollouts")
def list_running_rollouts(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[RunningRollout]:
    """Rollouts under way, the newest first: which step, and what it waits for; at most 199."""
    with asks.reading("endpoint.read") as look:
        found = running.running(look.session, look.now, limit=_MOST)
    items, following = narrow.cut(found, lambda one: (one.rollout.started_at, one.rollout.id), newest_first=True)
    return Page(items=tuple(map(RunningRollout.model_validate, items)), next=following)


@router.get("/moves")
def list_fleet_moves(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[MoveView]:
    """What happened to the states of endpoints lately, the newest first; at most 199."""
    with asks.reading("endpoint.read") as look:
        found = list(enumerate(past.latest(look.session, limit=_MOST)))
    items, following = narrow.cut(found, lambda one: (one[0],))
    return Page(items=tuple(_move(name, one) for _, (name, one) in items), next=following)


@router.get("/at")
def list_fleet_at(asks: Asks, narrow: Annotated[PastNarrow, Query()]) -> Page[PastLine]:
    """Endpoints that existed at a moment, by name: what was wanted then, approved by whom, and what had been seen."""
    filters = fleet.Filters(**narrow.model_dump(exclude={"after", "limit", "moment"}))
    with asks.reading("endpoint.read") as look:
        page = past.fleet_at(look.session, narrow.moment, filters, after=narrow.after or "", limit=narrow.limit)
    return Page(items=page.rows, next=page.after)


def _move(endpoint: str, one: past.Move) -> MoveView:
    return MoveView(endpoint=endpoint, at=one.at, before=one.before, after=one.after, reason=one.reason)


def _interval(asks: Asks) -> timedelta:
    return timedelta(seconds=asks.backend.settings.observe_seconds)
