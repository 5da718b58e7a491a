"""`/endpoints`: what shall run and what was seen to run, now and at any moment, and what an operator does by hand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlmodel import select

from backend.api.asking import (
    After,
    Asks,
    Digest,
    EndpointName,
    Instant,
    Name,
    Narrow,
    Page,
    Paged,
    Reading,
    Reason,
    Sent,
    Shown,
    Whole,
    name_of,
    page_of,
)
from backend.api.changes import Why
from backend.api.once import Making
from backend.api.tags import Fresh, Held, Tagged
from backend.core.context import Actor
from backend.delivery import queries
from backend.delivery.queries import EndpointDetail, EndpointLine, GenerationView, Moment, PushView, TimelineEntry
from backend.delivery.rows import ENDPOINT_STATES, Endpoint
from backend.inference_log.exposure import served
from backend.registry.keys import read_key, write_key

router = APIRouter(prefix="/endpoints", tags=["endpoints"])
_MOST = 199
_TICK = timedelta(microseconds=1)
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


class TimelineNarrow(Narrow):
    """Which stretch of an endpoint's time."""

    since: Annotated[Instant | None, Field(description="Only what is later than this moment.")] = None
    after: After = None
    limit: Annotated[int, Field(ge=1, le=_MOST)] = 100


class ServedNarrow(Paged):
    """How far back."""

    minutes: Annotated[int, Field(ge=1, le=24 * 60, description="How many minutes back.")] = 15


class NewEndpoint(Sent):
    """One model at one URL in one environment, to be looked at."""

    name: Name = Field(description="A slug; also its path under the router's public URL.", examples=["flight-delay"])
    environment: Name = Field(examples=["production"])
    model: Name = Field(description="The registered model's name.", examples=["flight-delay"])
    server: Name = Field(examples=["triton"])
    router: Name | None = Field(default=None, examples=["envoy"])
    served_name: Name | None = Field(
        default=None, description="How the server knows the model; by default the endpoint's name."
    )


class EndpointEdit(Sent):
    """What shall be different."""

    repair: Literal["repair", "report"] = Field(description="What becomes of a hand-made change there.")
    reason: Reason


class RunningVersion(Shown):
    """One version found under an endpoint's served name."""

    served_name: str
    served_version: int
    state: str
    reason: str
    package_digest: str | None = Field(description="Null where its storage cannot be re-hashed.")
    arm: str | None = Field(description="The router's name for it; null where no router sends it anything.")
    share: int | None = Field(description="Buckets out of 10,000.")


class UnmanagedModel(Shown):
    """A model on a server under a name of no endpoint. Listed, never touched."""

    served_name: str
    versions: tuple[tuple[int, str], ...] = Field(description="Number and state of each.")


class BaselineView(Shown):
    """What would be signed off, as it runs now."""

    endpoint: str
    environment: str
    model: str
    server: str
    router: str | None
    served_name: str
    seen_at: datetime
    running: tuple[RunningVersion, ...]
    champion: str | None
    unmanaged: tuple[UnmanagedModel, ...]
    foreign_routes: tuple[str, ...]
    obstacles: tuple[str, ...] = Field(description="What keeps it from being signed off now.")
    says: str = Field(description="What a signature would mean.")
    digest: str = Field(description="What a signature is bound to.")


class ServedArm(Shown):
    """Requests that one arm answered lately."""

    arm: str
    version: int | None
    requests: int


class ServedAs(Sent):
    """Where a version answers on its server."""

    served_name: Name = Field(examples=["flight_delay"])
    served_version: Whole = Field(examples=[1])


class SignedVersion(ServedAs):
    """Which registered version something is that runs."""

    version: Whole = Field(description="The registered version that it was built from.", examples=[1])


class SigningOff(Sent):
    """That what runs is right."""

    digest: Digest = Field(description="`digest` of the baseline that was looked at.")
    versions: tuple[SignedVersion, ...] = Field(
        strict=False, max_length=100, description="Everything that runs; none where nothing does."
    )
    champion: ServedAs | None = Field(default=None, description="Which of several answers, where no router says it.")


@router.get("")
def list_endpoints(asks: Asks, narrow: Annotated[EndpointsNarrow, Query()]) -> Page[EndpointLine]:
    """Endpoints by name, each with its state and whether it is healthy."""
    with asks.reading("endpoint.read") as look:
        page = queries.endpoints(look.session, now=look.now, interval=_interval(asks), **narrow.model_dump())
    return Page(items=page.rows, next=page.after)


@router.get("/{endpoint}")
def show_endpoint(asks: Asks, endpoint: EndpointName, tagged: Tagged) -> EndpointDetail:
    """One endpoint: wanted against seen, each proof with its age, what nobody approved, the last error and the next attempt."""
    return tagged(_detail(asks, endpoint))


@router.post("", status_code=201)
def create_endpoint(asks: Asks, fresh: Fresh, once: Making, sent: NewEndpoint, response: Response) -> EndpointDetail:
    """Adopts an endpoint in observe mode: it is looked at from now on, and nothing is ever written to it."""
    asked = sent.model_dump()
    made = once.make(Endpoint, lambda: asks.backend.endpoints.create(asks.actor, **asked).id)
    with asks.reading("endpoint.read") as look:
        name = name_of(look, Endpoint, made.id)
    response.headers["location"] = f"/api/v1/endpoints/{quote(name)}"
    return fresh(_detail(asks, name))


@router.patch("/{endpoint}")
def edit_endpoint(asks: Asks, held: Held, endpoint: EndpointName, sent: EndpointEdit) -> EndpointDetail:
    """Whether a hand-made change there is repaired, or only reported until somebody asks for the repair. Needs `If-Match`."""
    with _seen(asks, held, endpoint, needed=True):
        asks.backend.endpoints.set_repair(asks.actor, endpoint, sent.repair, reason=sent.reason)
    return held.answer(_detail(asks, endpoint))


@router.delete("/{endpoint}", status_code=204)
def remove_endpoint(asks: Asks, held: Held, endpoint: EndpointName, reason: Annotated[Reason, Query()]) -> None:
    """Forgets an endpoint that is only observed, with what was seen of it. What runs goes on running."""
    with _seen(asks, held, endpoint):
        asks.backend.endpoints.remove(asks.actor, endpoint, reason)


@router.post("/{endpoint}/baseline")
def propose_baseline(asks: Asks, endpoint: EndpointName) -> BaselineView:
    """Asks the server what runs under an observed endpoint's names now, and what signing it off would mean. Writes nothing."""
    return BaselineView.model_validate(asks.backend.endpoints.proposal(asks.actor, endpoint))


@router.post("/{endpoint}/sign-off")
def sign_off_endpoint(asks: Asks, held: Held, endpoint: EndpointName, sent: SigningOff) -> EndpointDetail:
    """Makes what runs the endpoint's first generation, and the endpoint managed. `digest` is that of the baseline."""
    versions = {(one.served_name, one.served_version): one.version for one in sent.versions}
    champion = (sent.champion.served_name, sent.champion.served_version) if sent.champion is not None else None
    with _seen(asks, held, endpoint):
        asks.backend.endpoints.sign_off(asks.actor, endpoint, base_digest=sent.digest, versions=versions, champion=champion)
    return held.answer(_detail(asks, endpoint))


@router.get("/{endpoint}/served")
def list_served_arms(asks: Asks, endpoint: EndpointName, narrow: Annotated[ServedNarrow, Query()]) -> Page[ServedArm]:
    """Requests of the last minutes by the arm that answered them, as the inference log has them: traffic, not configuration."""
    with asks.reading("endpoint.read") as look:
        _shown(asks, endpoint)(look, asks.actor)  # NotFound for one that is not seen
        now = look.now
    found = served(asks.backend.inference_log, endpoint, now, timedelta(minutes=narrow.minutes))
    items, following = narrow.cut(found, lambda one: (one.arm, one.version or 0))
    return Page(items=tuple(map(ServedArm.model_validate, items)), next=following)


@router.get("/{endpoint}/history")
def list_generations(
    asks: Asks,
    endpoint: EndpointName,
    after: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="The next page: `next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 50,
) -> Page[GenerationView]:
    """What was admitted for an endpoint, newest first."""
    with asks.reading("endpoint.read") as look:
        found = queries.history(look.session, endpoint, before=after, limit=limit + 1)
    items, following = page_of(found, limit, lambda one: one.number)
    return Page(items=tuple(items), next=following)


@router.get("/{endpoint}/pushes")
def list_pushes(asks: Asks, endpoint: EndpointName, narrow: Annotated[Paged, Query()]) -> Page[PushView]:
    """Attempts to make generations true, newest first."""
    before = read_key(narrow.after, datetime, str) if narrow.after is not None else None
    limit = min(narrow.limit, _MOST)
    with asks.reading("endpoint.read") as look:
        found = queries.push_log(look.session, name=endpoint, before=before, limit=limit + 1)
    items, following = page_of(found, limit, lambda one: write_key(one.started_at, one.id))
    return Page(items=tuple(items), next=following)


@router.get("/{endpoint}/timeline")
def list_endpoint_timeline(
    asks: Asks, endpoint: EndpointName, narrow: Annotated[TimelineNarrow, Query()]
) -> Page[TimelineEntry]:
    """What was seen, pushed and changed there, newest first, so that one can follow it: `since` asks only for what is newer."""
    until = read_key(narrow.after, datetime)[0] if narrow.after is not None else None
    with asks.reading("endpoint.read") as look:
        found = queries.timeline(look.session, endpoint, narrow.since, until=until, limit=narrow.limit + 1)
    items, following = page_of(found, narrow.limit, lambda one: write_key(one.at - _TICK))
    return Page(items=tuple(items), next=following)


@router.get("/{endpoint}/at")
def show_endpoint_at(
    asks: Asks,
    endpoint: EndpointName,
    moment: Annotated[Instant, Query(description="With its zone.", examples=["2026-03-01T06:00:00Z"])],
) -> Moment:
    """How an endpoint stood at a moment: what was wanted, approved by whom under which policy, and what had been seen."""
    with asks.reading("endpoint.read") as look:
        return queries.at(look.session, endpoint, moment)


@router.post("/{endpoint}/pause")
def pause_endpoint(asks: Asks, held: Held, endpoint: EndpointName, sent: Why) -> EndpointDetail:
    """Pushes and repairs nothing there any more; it is still looked at, and a rollback stays possible."""
    with _seen(asks, held, endpoint):
        asks.backend.endpoints.pause(asks.actor, endpoint, reason=sent.reason)
    return held.answer(_detail(asks, endpoint))


@router.post("/{endpoint}/resume")
def resume_endpoint(asks: Asks, held: Held, endpoint: EndpointName, sent: Why) -> EndpointDetail:
    """Makes what was admitted true again."""
    with _seen(asks, held, endpoint):
        asks.backend.endpoints.resume(asks.actor, endpoint, reason=sent.reason)
    return held.answer(_detail(asks, endpoint))


@router.post("/{endpoint}/repair")
def repair_endpoint(asks: Asks, held: Held, endpoint: EndpointName, sent: Why) -> EndpointDetail:
    """Repairs it now: without waiting for the next attempt, and also after a fight or where it is only reported."""
    with _seen(asks, held, endpoint):
        asks.backend.endpoints.repair_now(asks.actor, endpoint, reason=sent.reason)
    return held.answer(_detail(asks, endpoint))


@router.post("/{endpoint}/look")
def look_at_endpoint(asks: Asks, endpoint: EndpointName) -> EndpointDetail:
    """Asks for a look at an endpoint's server without waiting for the next one."""
    asks.backend.endpoints.look_now(asks.actor, endpoint)
    return _detail(asks, endpoint)


def _detail(asks: Asks, name: str) -> EndpointDetail:
    with asks.reading("endpoint.read") as look:
        return _shown(asks, name)(look, asks.actor)


def _shown(asks: Asks, name: str) -> Callable[[Reading, Actor], EndpointDetail]:
    return lambda look, _actor: queries.endpoint(look.session, name, now=look.now, interval=_interval(asks))


def _seen(asks: Asks, held: Held, name: str, *, needed: bool = False) -> AbstractContextManager[None]:
    row = select(Endpoint.id).where(Endpoint.name == name)
    return held.held("endpoint.read", _shown(asks, name), row, needed=needed)


def _interval(asks: Asks) -> timedelta:
    return timedelta(seconds=asks.backend.settings.observe_seconds)
