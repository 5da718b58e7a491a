"""`/experiments` and `/endpoints/.../experiments`: designing experiments, planning them, and saying what came of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, StringConstraints
from sqlmodel import select

from backend.api.asking import Asks, EndpointName, Page, Paged, Plain, Reading, Reason, Sent, Shown
from backend.api.once import Making
from backend.api.tags import Held, Tagged
from backend.core.context import Actor
from backend.core.errors import NotFound
from backend.delivery.rows import Endpoint
from backend.experiments.designs import queries
from backend.experiments.designs.rows import Experiment
from backend.experiments.designs.rules import MAX_TITLE

router = APIRouter(tags=["experiments"])
ExperimentName = Annotated[
    str, Path(max_length=63, description="The experiment's name at that endpoint.", examples=["sharper"])
]
Title = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TITLE), Plain]
_DESIGN = {
    "hypothesis": "Boosted trees lose less than the linear model, because delays add up.",
    "arms": [{"version": 2, "share": 5_000}],
    "metrics": [
        {"name": "log-loss", "kind": "log_loss", "outcome": "late", "horizon_seconds": 21_600},
        {"name": "errors", "kind": "errors"},
    ],
    "guardrails": [{"metric": "errors", "margin": 0.01}],
    "primary": {"metric": "log-loss", "smallest": 0.01},
    "planned_days": 14,
}
_DESIGN_FIELD = Field(description="docs/experiments.md says what it may hold.", examples=[_DESIGN])


class ExperimentsNarrow(Paged):
    """What a list of experiments is narrowed by."""

    endpoint: Annotated[str, Field(max_length=256)] = ""
    state: Literal["", "draft", "running", "decided", "withdrawn"] = ""


class ExperimentFares(Shown):
    """One experiment in a list."""

    endpoint: str
    environment: str
    slug: str
    title: str
    state: str = Field(description="`draft`, `running`, `decided` or `withdrawn`.")
    owner: str
    running_day: int = Field(description="Which day of `planned_days` it is; 0 before it starts.")
    planned_days: int
    arms: int = Field(description="With the champion.")
    looks_for: str = Field(description="What it is for, in words.")
    layer: str = Field(description="Running ones of one layer exclude each other; empty for none.")
    outcome: str = Field(description="`ship`, `roll_back` or `no_decision` once it is decided.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    revision: int


class ExperimentShare(Shown):
    """Who gets what."""

    version: int = Field(description="0 is the champion, whichever it is when the experiment starts.")
    buckets: int


class ExperimentWhole(ExperimentFares):
    """One experiment whole."""

    hypothesis: str
    shares: tuple[ExperimentShare, ...]
    design: dict[str, Any] = Field(description="As it was filled in.", examples=[_DESIGN])
    planned: dict[str, Any] | None = Field(
        description="What the planner said when it started.", examples=[{"figures": [], "days": 14.0}]
    )
    changes: tuple[str, ...] = Field(description="Ids of the changes that started it and moved its split.")
    ends_on: datetime | None = Field(description="When it has run as long as it was planned to.")
    reason: str
    decided_by: str
    edited_at: datetime


class PlannedPoint(Shown):
    """What is seen by the end of one step; null where that is unknown, or never."""

    units: float | None
    days: float | None
    detectable: float | None
    harm: float | None


class PlannedFigure(Shown):
    """What a plan sees of one metric, beside the treatment that gets least; null where that is unknown, or never."""

    metric: str
    role: Literal["primary", "guardrail"]
    arm: str
    wanted: float = Field(description="The smallest effect that matters, or the margin.")
    relative: bool
    alpha: float
    sides: Literal["one", "two"]
    power: float
    level: float | None = Field(description="The champion's figure, as measured.")
    unit_variance: float | None
    detectable: float | None = Field(description="The smallest effect, or margin, that is proved by the planned end.")
    harm: float | None = Field(description="Of a guardrail, the smallest harm that is found by then.")
    units: float | None = Field(description="What it takes to see `wanted`.")
    days: float | None
    expected_units: float | None
    steps: tuple[PlannedPoint, ...]
    blind: str = Field(description="Why it cannot see what matters, with the figure; empty where it can.")
    known: bool
    binding: bool
    note: str


class ExperimentPlan(Shown):
    """What a design comes to."""

    figures: tuple[PlannedFigure, ...]
    units_a_day: float | None
    units_by_end: float | None
    days: float | None
    weight: float | None
    blind: tuple[str, ...] = Field(description="Why a change with it would be refused; empty where it would not.")
    measured: dict[str, Any] = Field(
        description="What was measured of the endpoint.", examples=[{"version": 1, "units": 20_000}]
    )


class ExperimentDecided(ExperimentWhole):
    """An experiment that was decided, and the change that follows from it."""

    change: int | None = Field(description="Number of the proposed change; null where nothing has to move.", examples=[12])


class ExperimentSent(Sent):
    """A design under a name."""

    slug: Annotated[str, StringConstraints(min_length=1, max_length=63), Plain] = Field(
        description="Part of the salt that assigns units: never used twice on an endpoint.", examples=["sharper"]
    )
    title: Title = Field(examples=["Boosted trees for delays"])
    design: dict[str, Any] = _DESIGN_FIELD


class ExperimentEdited(Sent):
    """What a draft shall say instead; what is left out stays."""

    title: Title | None = Field(default=None, examples=["Boosted trees for delays"])
    design: dict[str, Any] | None = Field(default=None, description="The whole design.", examples=[_DESIGN])


class DesignSent(Sent):
    """A design that is to be planned."""

    design: dict[str, Any] = _DESIGN_FIELD


class Withdrawing(Sent):
    """Why a draft is given up."""

    reason: Reason


class Deciding(Sent):
    """What came of it, and why."""

    outcome: Literal["ship", "roll_back", "no_decision"]
    reason: Reason
    version: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        default=None, description="Which treatment is shipped; it may be left out where there is one.", examples=[2]
    )


@router.get("/experiments")
def list_experiments(asks: Asks, narrow: Annotated[ExperimentsNarrow, Query()]) -> Page[ExperimentFares]:
    """Experiments, the newest first."""
    with asks.reading("experiment.read") as look:
        found = queries.lines(look.session, narrow.endpoint, narrow.state, now=look.now)
    items, following = narrow.cut(found, lambda one: (one.created_at, one.endpoint, one.slug), newest_first=True)
    return Page(items=tuple(map(ExperimentFares.model_validate, items)), next=following)


@router.post("/endpoints/{endpoint}/experiments", status_code=201)
def create_experiment(
    asks: Asks, once: Making, endpoint: EndpointName, sent: ExperimentSent, response: Response
) -> ExperimentWhole:
    """Designs an experiment. Nothing starts by it: propose a change that names it."""
    told = (endpoint, sent.slug, sent.title, sent.design)
    once.make(Experiment, lambda: asks.backend.experiments.create(asks.actor, *told).id)
    response.headers["location"] = f"/api/v1/endpoints/{endpoint}/experiments/{sent.slug}"
    with asks.reading("experiment.read") as look:
        return _shown(endpoint, sent.slug)(look, asks.actor)


@router.post("/endpoints/{endpoint}/experiments/plan")
def plan_experiment(asks: Asks, endpoint: EndpointName, sent: DesignSent) -> ExperimentPlan:
    """What a design would come to, by the endpoint's log of the last days. Nothing is stored."""
    return ExperimentPlan.model_validate(asks.backend.experiments.plan(asks.actor, endpoint, sent.design).to_json())


@router.get("/endpoints/{endpoint}/experiments/{experiment}")
def show_experiment(asks: Asks, endpoint: EndpointName, experiment: ExperimentName, tagged: Tagged) -> ExperimentWhole:
    """One experiment whole."""
    with asks.reading("experiment.read") as look:
        return tagged(_shown(endpoint, experiment)(look, asks.actor))


@router.patch("/endpoints/{endpoint}/experiments/{experiment}")
def edit_experiment(
    asks: Asks, held: Held, endpoint: EndpointName, experiment: ExperimentName, sent: ExperimentEdited
) -> ExperimentWhole:
    """Changes a draft. What runs keeps the design that was approved. Needs `If-Match` with the `ETag` of what was read."""
    with _seen(held, endpoint, experiment, needed=True):
        asks.backend.experiments.edit(asks.actor, endpoint, experiment, title=sent.title, design=sent.design)
    return _answer(asks, held, endpoint, experiment)


@router.post("/endpoints/{endpoint}/experiments/{experiment}/withdraw")
def withdraw_experiment(
    asks: Asks, held: Held, endpoint: EndpointName, experiment: ExperimentName, sent: Withdrawing
) -> ExperimentWhole:
    """Gives up a draft. Sending it again changes nothing."""
    with _seen(held, endpoint, experiment):
        asks.backend.experiments.withdraw(asks.actor, endpoint, experiment, sent.reason)
    return _answer(asks, held, endpoint, experiment)


@router.post("/endpoints/{endpoint}/experiments/{experiment}/decide")
def decide_experiment(
    asks: Asks, held: Held, endpoint: EndpointName, experiment: ExperimentName, sent: Deciding
) -> ExperimentDecided:
    """Says what came of a running experiment, which ends it, and proposes the change that follows: all of the traffic for the
    version that is shipped, or for the champion. Both are done, or neither."""
    with _seen(held, endpoint, experiment):
        change = asks.backend.changes.decide(asks.actor, endpoint, experiment, sent.outcome, sent.reason, version=sent.version)
    number = change.number if change is not None else None
    told = _answer(asks, held, endpoint, experiment).model_dump()
    return ExperimentDecided.model_validate({**told, "change": number})


def _answer(asks: Asks, held: Held, endpoint: str, experiment: str) -> ExperimentWhole:
    with asks.reading("experiment.read") as look:
        return held.answer(_shown(endpoint, experiment)(look, asks.actor))


def _shown(endpoint: str, experiment: str) -> Callable[[Reading, Actor], ExperimentWhole]:
    def shown(look: Reading, _actor: Actor) -> ExperimentWhole:
        return ExperimentWhole.model_validate(queries.view(look.session, endpoint, experiment, now=look.now).to_json())

    return shown


def _seen(held: Held, endpoint: str, experiment: str, *, needed: bool = False) -> AbstractContextManager[None]:
    def there(look: Reading, actor: Actor) -> ExperimentWhole | None:
        try:
            return _shown(endpoint, experiment)(look, actor)
        except NotFound:
            return None

    row: sa.Select[Any] = select(Experiment.id).join(Endpoint).where(Endpoint.name == endpoint, Experiment.slug == experiment)
    return held.held("experiment.read", there, row, needed=needed)
