"""`/endpoints/{endpoint}/rollouts` and `/rollout`: how a version goes live step by step, and the ways to hold it or go back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints
from sqlmodel import col, select

from backend.api.asking import Asks, EndpointName, Page, Paged, Reading, Reason, Sent
from backend.api.changes import Why
from backend.api.tags import Held, Tagged
from backend.core.context import Actor
from backend.core.errors import NotFound
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.rollouts import queries
from backend.rollouts.queries import RolloutView
from backend.rollouts.rows import Rollout
from backend.rollouts.service import At

router = APIRouter(prefix="/endpoints/{endpoint}", tags=["rollouts"])
_MOST = 1_000
RolloutId = Annotated[str, StringConstraints(pattern=r"^rol_[0-9a-z]{26}$")]


class Stopping(Sent):
    """Why; and what the caller looked at, so that another rollout is left alone."""

    reason: Reason
    rollout: RolloutId | None = Field(
        default=None, description="`id` of the rollout that was looked at: 409 `moved-on` for another."
    )


class LettingOn(Sent):
    """What a person looked at: just this step of this rollout."""

    reason: Reason
    rollout: RolloutId = Field(description="`id` of the rollout that was looked at.")
    step: Annotated[int, Field(ge=0, le=100, description="`step` of it, counted from 0: 409 `moved-on` for another.")]


@router.get("/rollouts")
def list_rollouts(asks: Asks, endpoint: EndpointName, narrow: Annotated[Paged, Query()]) -> Page[RolloutView]:
    """Rollouts of an endpoint, newest first."""
    with asks.reading("endpoint.read") as look:
        place = named(look.session, Endpoint, endpoint)
        found = queries.of_endpoint(look.session, place.id, limit=_MOST)
        items, following = narrow.cut(found, lambda one: (one.started_at, one.id), newest_first=True)
        return Page(items=tuple(queries.view(look.session, one, look.now) for one in items), next=following)


@router.get("/rollout")
def show_rollout(asks: Asks, endpoint: EndpointName, tagged: Tagged) -> RolloutView:
    """The rollout that is under way, else the latest one; 404 before the first."""
    return tagged(_view(asks, endpoint))


@router.post("/rollout/pause")
def pause_rollout(asks: Asks, held: Held, endpoint: EndpointName, sent: Stopping) -> RolloutView:
    """Admits no further step until it is resumed; the present one stays as it is. Sending it again changes nothing."""
    with _seen(held, endpoint):
        asks.backend.rollouts.pause(asks.actor, endpoint, sent.reason, at=_at(sent))
    return held.answer(_view(asks, endpoint))


@router.post("/rollout/resume")
def resume_rollout(asks: Asks, held: Held, endpoint: EndpointName, sent: Stopping) -> RolloutView:
    """Goes on where it was paused. Sending it again changes nothing."""
    with _seen(held, endpoint):
        asks.backend.rollouts.resume(asks.actor, endpoint, sent.reason, at=_at(sent))
    return held.answer(_view(asks, endpoint))


@router.post("/rollout/let-on")
def let_rollout_on(asks: Asks, held: Held, endpoint: EndpointName, sent: LettingOn) -> RolloutView:
    """Says, for a step that asks for it, that a person looked at just that step and that it may go on. No program does."""
    with _seen(held, endpoint):
        asks.backend.rollouts.let_on(asks.actor, endpoint, sent.reason, at=At(sent.rollout, sent.step))
    return held.answer(_view(asks, endpoint))


@router.post("/rollout/skip")
def skip_steps(asks: Asks, held: Held, endpoint: EndpointName, sent: LettingOn) -> RolloutView:
    """Has the steps skipped up to the next one after which a person looks (`may_skip_to`), where the policy lets that.

    Times and samples are not waited for; a guardrail that failed or cannot be judged, and a person, are never passed over: 409
    `not-skipped`. The worker does it. No program asks for it.
    """
    with _seen(held, endpoint):
        asks.backend.rollouts.skip(asks.actor, endpoint, sent.reason, at=At(sent.rollout, sent.step))
    return held.answer(_view(asks, endpoint))


@router.post("/rollout/abort")
def abort_rollout(asks: Asks, held: Held, endpoint: EndpointName, sent: Stopping) -> RolloutView:
    """Ends a rollout that is under way, and goes back; from a first version that is to nothing."""
    with _seen(held, endpoint):
        asks.backend.rollouts.abort(asks.actor, endpoint, sent.reason, at=_at(sent))
    return held.answer(_view(asks, endpoint))


@router.post("/rollout/roll-back")
def roll_back_endpoint(asks: Asks, held: Held, endpoint: EndpointName, sent: Why) -> RolloutView:
    """Goes back from what is live, whether its rollout is under way or complete; that way was approved with it."""
    with _seen(held, endpoint):
        asks.backend.rollouts.roll_back(asks.actor, endpoint, sent.reason)
    return held.answer(_view(asks, endpoint))


def _at(sent: Stopping) -> At | None:
    """Only `let-on` and `skip` look at the step."""
    return At(sent.rollout, 0) if sent.rollout is not None else None


def _view(asks: Asks, endpoint: str) -> RolloutView:
    with asks.reading("endpoint.read") as look:
        return _shown(endpoint)(look, asks.actor)


def _shown(endpoint: str) -> Callable[[Reading, Actor], RolloutView]:
    def shown(look: Reading, _actor: Actor) -> RolloutView:
        place = named(look.session, Endpoint, endpoint)
        row = queries.open_on(look.session, place.id) or next(iter(queries.of_endpoint(look.session, place.id, limit=1)), None)
        if row is None:
            raise NotFound("rollout", endpoint[:80], "Nothing went live there yet.")
        return queries.view(look.session, row, look.now)

    return shown


def _seen(held: Held, endpoint: str) -> AbstractContextManager[None]:
    row = select(Rollout.id).join(Endpoint, col(Endpoint.id) == Rollout.endpoint_id).where(Endpoint.name == endpoint)
    return held.held("endpoint.read", _shown(endpoint), row.where(col(Rollout.ended_at).is_(None)))
