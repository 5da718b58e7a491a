"""`/ramps`: steps under a name, which proposals take over and policies ask for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field
from sqlmodel import select

from backend.api.asking import Asks, Page, Paged, Reading, Sent, Shown
from backend.api.proposals import RampStep, step_in_buckets
from backend.api.tags import Held, Tagged
from backend.core.context import Actor
from backend.core.errors import NotFound
from backend.policy import ramps
from backend.policy.ramps import MOST_STEPS
from backend.policy.rows import Ramp

router = APIRouter(prefix="/ramps", tags=["ramps"])
Name = Annotated[str, Path(max_length=256, description="The ramp's name.", examples=["careful"])]


class RampSteps(Sent):
    """All of a ramp's steps, in the order in which they are walked."""

    steps: Annotated[
        tuple[RampStep, ...], Field(min_length=1, max_length=MOST_STEPS, strict=False, description="With growing shares.")
    ]


class RampStepView(Shown):
    """One step on the way."""

    share: int = Field(description="In buckets out of 10,000; 0 of a step at which the version gets copies.")
    hold_seconds: int
    min_units: int = Field(description="Units that the smallest arm needs, of those that entered at this step.")
    statistics: str | None = Field(description="`not_failed` or `passed`: what its guardrails have to do before the next.")
    person: bool = Field(description="Whether somebody has to let the rollout on after it.")
    shadow: bool = Field(description="Whether the version gets copies at it and answers nobody.")


class RampView(Shown):
    """One ramp."""

    name: str
    steps: tuple[RampStepView, ...]
    revision: int = Field(description="0 of a template that every installation has, and nobody changed.")
    asked_for_by: tuple[str, ...] = Field(description="Environments whose policies ask for it.")


@router.get("")
def list_ramps(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[RampView]:
    """Ramps by name."""
    with asks.reading("policy.read") as look:
        items, following = narrow.cut(ramps.lines(look.session), lambda one: (one.name,))
    return Page(items=tuple(map(RampView.model_validate, items)), next=following)


@router.get("/{ramp}")
def show_ramp(asks: Asks, ramp: Name, tagged: Tagged) -> RampView:
    """One ramp, with the environments that ask for it."""
    with asks.reading("policy.read") as look:
        return tagged(_shown(ramp)(look, asks.actor))


@router.put("/{ramp}")
def set_ramp(asks: Asks, held: Held, ramp: Name, sent: RampSteps) -> RampView:
    """Names a ramp, or changes its steps. What was proposed with it keeps those that it took over.

    Needs `If-Match` with the `ETag` of the ramp that was read, or `If-None-Match: *` for a new one. The steps of one that a
    policy asks for, where changes need approvals, stay: 409 `ramp-asked-for`.
    """
    with _seen(held, ramp, needed=True):
        asks.backend.ramps.set(asks.actor, ramp, [step_in_buckets(one) for one in sent.steps])
    with asks.reading("policy.read") as look:
        return held.answer(_shown(ramp)(look, asks.actor))


@router.delete("/{ramp}", status_code=204)
def remove_ramp(asks: Asks, held: Held, ramp: Name) -> None:
    """Forgets a ramp that no policy asks for. What was proposed with it keeps its steps."""
    with _seen(held, ramp, needed=False):
        asks.backend.ramps.remove(asks.actor, ramp)


def _shown(name: str) -> Callable[[Reading, Actor], RampView]:
    def shown(look: Reading, _actor: Actor) -> RampView:
        line = next((one for one in ramps.lines(look.session) if one.name == name), None)
        if line is None:
            raise NotFound("ramp", name[:80])
        return RampView.model_validate(line)

    return shown


def _seen(held: Held, name: str, *, needed: bool) -> AbstractContextManager[None]:
    return held.held("policy.read", _shown(name), select(Ramp.id).where(Ramp.id == name), needed=needed)
