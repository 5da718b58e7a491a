"""`/monitors`, `/endpoints/.../monitors` and `/models/.../profile`: what is watched, how monitors fare, and against what."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query
from pydantic import Field, Strict, StringConstraints
from sqlmodel import select

from backend.api.asking import Asks, EndpointName, Instant, ModelName, Number, Page, Paged, Plain, Reading, Reason, Sent, Shown
from backend.api.tags import Held, Tagged
from backend.core.context import Actor
from backend.core.errors import NotFound, Refusal
from backend.delivery.rows import Endpoint
from backend.monitoring import queries
from backend.monitoring.references import MAX_SOURCE, MOST_BYTES
from backend.monitoring.rows import Monitor, ReferenceProfile
from backend.monitoring.rules import Word, parse_spec
from backend.monitoring.views import ProfileLine

router = APIRouter(tags=["monitors"])
MonitorName = Annotated[str, Path(max_length=63, description="The monitor's name at that endpoint.", examples=["drift"])]
PROFILE = r"/models/[^/]+/versions/[^/]+/profile"
MOST_PROFILE_BYTES = MOST_BYTES * 4 // 3 + 4_096
_SPEC = {"kind": "drift", "window_hours": 24, "every_hours": 24}


class MonitorsNarrow(Paged):
    """What a list of monitors is narrowed by."""

    endpoint: Annotated[str, Field(max_length=256)] = ""


class MonitorFares(Shown):
    """One monitor, as it fares."""

    endpoint: str
    environment: str
    name: str
    kind: str
    watches: str = Field(description="What it does, in words.")
    every_hours: int
    window_hours: int
    word: Word = Field(description="`late`, `failing` and `no_data` are findings of their own.")
    says: str
    since: datetime | None
    last_slot: datetime | None = Field(description="The end of the newest window that it judged.")
    next_due: datetime | None = Field(description="When it judges the next one; null while it is paused.")
    findings: int = Field(description="How many of its findings are not over.")
    severity: str = Field(description="The worst of them; empty for none.")
    owner: str
    paused: bool
    revision: int


class MonitorFound(Shown):
    """One thing that a run found; a `notice` alarms nobody."""

    kind: str
    severity: str
    feature: str = Field(description="Empty for the whole window.")
    version: int | None
    says: str


class MonitorRunView(Shown):
    """One run."""

    slot: datetime
    window_start: datetime
    state: str = Field(description="`running`, `ok`, `alarm`, `no_data`, `early`, `idle` or `failed`.")
    why: str
    rows: int
    started_at: datetime
    ended_at: datetime | None
    found: tuple[MonitorFound, ...]
    figures: dict[str, Any] = Field(description="Version -> what was worked out.", examples=[{"1": {"columns": 13, "news": 0}}])


class MonitorWhole(Shown):
    """One monitor whole, with its newest runs."""

    endpoint: str
    name: str
    kind: str
    spec: dict[str, Any] = Field(description="What it is told; what goes without saying is left out.", examples=[_SPEC])
    paused: bool
    paused_reason: str
    revision: int
    set_by: str
    set_at: datetime
    fares: MonitorFares
    latest_runs: tuple[MonitorRunView, ...]


class MonitorSent(Sent):
    """What a monitor is told."""

    spec: dict[str, Any] = Field(description="docs/monitoring.md says what it may hold.", examples=[_SPEC])
    since: Annotated[Instant, Strict(False)] | None = Field(
        default=None,
        description="Of a new one: windows that ended since then are judged too, the latest 48 of them.",
        examples=[None],
    )


class MonitorPausing(Sent):
    """Why nobody shall look."""

    reason: Reason


class MonitorAsked(Shown):
    """Which window is judged now."""

    slot: datetime = Field(description="The end of that window.")


class ProfileSent(Sent):
    """What a version was made from, as aggregates."""

    content: Annotated[str, StringConstraints(min_length=1, max_length=MOST_PROFILE_BYTES)] = Field(
        description="A profile as `countersign monitor profile` makes it, in base64.", examples=["Q1NEUklGVDEK"]
    )
    source: Annotated[str, StringConstraints(max_length=MAX_SOURCE), Plain] = Field(
        default="", description="What it was made from, in words.", examples=["flights of January to March 2013"]
    )


@router.get("/monitors")
def list_monitors(asks: Asks, narrow: Annotated[MonitorsNarrow, Query()]) -> Page[MonitorFares]:
    """Monitors, by endpoint and name, as they fare."""
    with asks.reading("endpoint.read") as look:
        found = queries.monitors(look.session, narrow.endpoint, now=look.now)
    items, following = narrow.cut(found, lambda one: (one.endpoint, one.name))
    return Page(items=tuple(map(MonitorFares.model_validate, items)), next=following)


@router.get("/endpoints/{endpoint}/monitors/{monitor}")
def show_monitor(asks: Asks, endpoint: EndpointName, monitor: MonitorName, tagged: Tagged) -> MonitorWhole:
    """One monitor whole, with its newest runs."""
    with asks.reading("endpoint.read") as look:
        return tagged(_shown(endpoint, monitor)(look, asks.actor))


@router.put("/endpoints/{endpoint}/monitors/{monitor}")
def set_monitor(asks: Asks, held: Held, endpoint: EndpointName, monitor: MonitorName, sent: MonitorSent) -> MonitorWhole:
    """Watches an endpoint from now on, or in another way than before.

    Needs `If-Match` with the `ETag` of what was read, or `If-None-Match: *` for a new monitor.
    """
    spec = parse_spec(sent.spec)
    with _seen(held, endpoint, monitor, needed=True):
        asks.backend.monitors.set(asks.actor, endpoint, monitor, spec, since=sent.since)
    return _answer(asks, held, endpoint, monitor)


@router.delete("/endpoints/{endpoint}/monitors/{monitor}", status_code=204)
def remove_monitor(asks: Asks, held: Held, endpoint: EndpointName, monitor: MonitorName) -> None:
    """Watches that no more, and forgets its runs. What it found stays until somebody ends it."""
    with _seen(held, endpoint, monitor):
        asks.backend.monitors.remove(asks.actor, endpoint, monitor)


@router.post("/endpoints/{endpoint}/monitors/{monitor}/pause")
def pause_monitor(asks: Asks, held: Held, endpoint: EndpointName, monitor: MonitorName, sent: MonitorPausing) -> MonitorWhole:
    """Looks no more until it is resumed. Sending it again changes nothing."""
    with _seen(held, endpoint, monitor):
        asks.backend.monitors.pause(asks.actor, endpoint, monitor, sent.reason)
    return _answer(asks, held, endpoint, monitor)


@router.post("/endpoints/{endpoint}/monitors/{monitor}/resume")
def resume_monitor(asks: Asks, held: Held, endpoint: EndpointName, monitor: MonitorName) -> MonitorWhole:
    """Looks again, from the latest window on. Sending it again changes nothing."""
    with _seen(held, endpoint, monitor):
        asks.backend.monitors.resume(asks.actor, endpoint, monitor)
    return _answer(asks, held, endpoint, monitor)


@router.post("/endpoints/{endpoint}/monitors/{monitor}/run")
def run_monitor(asks: Asks, endpoint: EndpointName, monitor: MonitorName) -> MonitorAsked:
    """Has the window judged that ends with the latest hour which is over; again, where that was done before."""
    return MonitorAsked(slot=asks.backend.monitors.run(asks.actor, endpoint, monitor))


@router.get("/models/{model}/profiles")
def list_profiles(asks: Asks, model: ModelName, narrow: Annotated[Paged, Query()]) -> Page[ProfileLine]:
    """What the versions of a model were made from, as far as somebody said so: the oldest version first."""
    with asks.reading("model.read") as look:
        items, following = narrow.cut(queries.profiles(look.session, model), lambda one: (one.version,))
    return Page(items=items, next=following)


@router.get("/models/{model}/versions/{number}/profile")
def show_profile(asks: Asks, model: ModelName, number: Number, tagged: Tagged) -> ProfileLine:
    """What a version was made from."""
    with asks.reading("model.read") as look:
        return tagged(_profile(model, number)(look, asks.actor))


@router.put("/models/{model}/versions/{number}/profile")
def set_profile(asks: Asks, held: Held, model: ModelName, number: Number, sent: ProfileSent) -> ProfileLine:
    """Says what a version was made from. Another profile in the place of one takes an operator.

    Needs `If-Match` with the `ETag` of what was read, or `If-None-Match: *` for a first one.
    """
    row = select(ReferenceProfile.id).where(ReferenceProfile.model == model, ReferenceProfile.version == number)
    content = _content(sent.content)
    with held.held("model.read", _profile(model, number), row, needed=True):
        asks.backend.reference_profiles.set(asks.actor, model, number, content, source=sent.source)
    with asks.reading("model.read") as look:
        return held.answer(_profile(model, number)(look, asks.actor))


def _profile(model: str, number: int) -> Callable[[Reading, Actor], ProfileLine]:
    def shown(look: Reading, _actor: Actor) -> ProfileLine:
        found = next((one for one in queries.profiles(look.session, model) if one.version == number), None)
        if found is None:
            raise NotFound("reference profile", f"{model[:80]} {number}", "Make one of the version's training data.")
        return found

    return shown


def _content(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(
            "The profile is not in base64.", "Send the file that `countersign monitor profile` wrote.", code="bad-profile"
        ) from None


def _answer(asks: Asks, held: Held, endpoint: str, monitor: str) -> MonitorWhole:
    with asks.reading("endpoint.read") as look:
        return held.answer(_shown(endpoint, monitor)(look, asks.actor))


def _shown(endpoint: str, monitor: str) -> Callable[[Reading, Actor], MonitorWhole]:
    def shown(look: Reading, _actor: Actor) -> MonitorWhole:
        found = queries.monitor(look.session, endpoint, monitor, now=look.now)
        return MonitorWhole(
            endpoint=found.line.endpoint,
            name=found.line.name,
            kind=found.line.kind,
            spec=dict(found.spec),
            paused=found.line.paused,
            paused_reason=found.paused_reason,
            revision=found.line.revision,
            set_by=found.set_by,
            set_at=found.set_at,
            fares=MonitorFares.model_validate(found.line),
            latest_runs=tuple(map(MonitorRunView.model_validate, found.runs)),
        )

    return shown


def _seen(held: Held, endpoint: str, monitor: str, *, needed: bool = False) -> AbstractContextManager[None]:
    def there(look: Reading, actor: Actor) -> MonitorWhole | None:
        try:
            return _shown(endpoint, monitor)(look, actor)
        except NotFound:
            return None

    row: sa.Select[Any] = (
        select(Monitor.id)
        .join(Endpoint, Endpoint.id == Monitor.endpoint_id)  # type: ignore[arg-type]
        .where(Endpoint.name == endpoint, Monitor.name == monitor)
    )
    return held.held("endpoint.read", there, row, needed=needed)
