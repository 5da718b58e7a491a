"""`/endpoints`: what shall run and what was seen to run, now and at any moment, and what an operator does by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from backend.api.asking import Asks, EndpointName, Instant, Narrow, Page, page_of
from backend.api.changes import Why
from backend.delivery import queries
from backend.delivery.queries import EndpointDetail, EndpointLine, GenerationView, Moment, PushView
from backend.delivery.rows import ENDPOINT_STATES

router = APIRouter(prefix="/endpoints", tags=["endpoints"])
_MOST = 199
State = Annotated[str, Field(pattern=f"^({'|'.join(ENDPOINT_STATES)})$")]


class EndpointsNarrow(Narrow):
    """What a list of endpoints is narrowed by."""

    environment: Annotated[str | None, Field(max_length=63)] = None
    model: Annotated[str | None, Field(max_length=256)] = None
    server: Annotated[str | None, Field(max_length=256)] = None
    mode: Literal["observe", "managed"] | None = None
    state: State | None = None
    text: Annotated[str, Field(max_length=200, description="Part of an endpoint's or its model's name.")] = ""
    after: Annotated[str | None, Field(max_length=256, description="The next page: `next` of the page before.")] = None
    limit: Annotated[int, Field(ge=1, le=_MOST)] = 50


@router.get("")
def list_endpoints(asks: Asks, narrow: Annotated[EndpointsNarrow, Query()]) -> Page[EndpointLine]:
    """Endpoints by name, each with its state and whether it is healthy."""
    with asks.reading("endpoint.read") as look:
        page = queries.endpoints(look.session, now=look.now, interval=_interval(asks), **narrow.model_dump())
    return Page(items=page.rows, next=page.after)


@router.get("/{endpoint}")
def show_endpoint(asks: Asks, endpoint: EndpointName) -> EndpointDetail:
    """One endpoint: wanted against seen, each proof with its age, what nobody approved, the last error and the next attempt."""
    return _detail(asks, endpoint)


@router.get("/{endpoint}/history")
def list_generations(
    asks: Asks,
    endpoint: EndpointName,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="The next page: `next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 50,
) -> Page[GenerationView]:
    """What was admitted for an endpoint, newest first."""
    with asks.reading("endpoint.read") as look:
        found = queries.history(look.session, endpoint, before=before, limit=limit + 1)
    items, following = page_of(found, limit, lambda one: one.number)
    return Page(items=tuple(items), next=following)


@router.get("/{endpoint}/pushes")
def list_pushes(asks: Asks, endpoint: EndpointName, limit: Annotated[int, Query(ge=1, le=_MOST)] = 50) -> tuple[PushView, ...]:
    """The latest attempts to make generations true, newest first."""
    with asks.reading("endpoint.read") as look:
        return tuple(queries.push_log(look.session, name=endpoint, limit=limit))


@router.get("/{endpoint}/at")
def show_moment(
    asks: Asks,
    endpoint: EndpointName,
    moment: Annotated[Instant, Query(description="With its zone.", examples=["2026-03-01T06:00:00Z"])],
) -> Moment:
    """How an endpoint stood at a moment: what was wanted, approved by whom under which policy, and what had been seen."""
    with asks.reading("endpoint.read") as look:
        return queries.at(look.session, endpoint, moment)


@router.post("/{endpoint}/pause")
def pause(asks: Asks, endpoint: EndpointName, sent: Why) -> EndpointDetail:
    """Pushes and repairs nothing there any more; it is still looked at, and a rollback stays possible."""
    asks.backend.endpoints.pause(asks.actor, endpoint, reason=sent.reason)
    return _detail(asks, endpoint)


@router.post("/{endpoint}/resume")
def resume(asks: Asks, endpoint: EndpointName, sent: Why) -> EndpointDetail:
    """Makes what was admitted true again."""
    asks.backend.endpoints.resume(asks.actor, endpoint, reason=sent.reason)
    return _detail(asks, endpoint)


@router.post("/{endpoint}/repair")
def repair(asks: Asks, endpoint: EndpointName, sent: Why) -> EndpointDetail:
    """Repairs it now: without waiting for the next attempt, and also after a fight or where it is only reported."""
    asks.backend.endpoints.repair_now(asks.actor, endpoint, reason=sent.reason)
    return _detail(asks, endpoint)


@router.post("/{endpoint}/look")
def look_now(asks: Asks, endpoint: EndpointName) -> EndpointDetail:
    """Asks for a look at an endpoint's server without waiting for the next one."""
    asks.backend.endpoints.look_now(asks.actor, endpoint)
    return _detail(asks, endpoint)


def _detail(asks: Asks, name: str) -> EndpointDetail:
    with asks.reading("endpoint.read") as look:
        return queries.endpoint(look.session, name, now=look.now, interval=_interval(asks))


def _interval(asks: Asks) -> timedelta:
    return timedelta(seconds=asks.backend.settings.observe_seconds)
