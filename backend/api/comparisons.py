"""`/endpoints/.../experiments/.../figures`, `looks` and `aggregates`, and `/endpoints/.../rollout/comparison`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from backend.api.asking import Asks, EndpointName, Page, Paged, Shown
from backend.api.experiments import ExperimentName
from backend.core.errors import NotFound
from backend.experiments.comparing import showing
from backend.experiments.comparing.figures import Figures
from backend.experiments.comparing.views import ComparisonView

router = APIRouter(prefix="/endpoints/{endpoint}", tags=["experiments"])
_MOST = 1_000
_ASKED = {"counts": "once", "alpha": 0.05, "metrics": [{"name": "errors", "kind": "errors"}]}


class ComparisonStands(Shown):
    """What a ramp makes of it."""

    action: Literal["go", "hold", "rollback"]
    reason: str
    passed: bool = Field(description="Every guardrail that stops anything is proved to be kept.")
    not_failed: bool
    units: int = Field(description="Complete units of the smallest arm in the newest generation.")
    looked_at: datetime | None
    warnings: tuple[str, ...]


class ComparisonWhole(Shown):
    """Arms beside each other, by the newest look."""

    id: str
    endpoint: str
    experiment: str = Field(description="Empty for a rollout's own.")
    control: str
    versions: dict[str, int] = Field(examples=[{"v1": 1, "v2": 2}])
    treatments: tuple[str, ...]
    asked: dict[str, Any] = Field(description="What is compared, by the newest plan.", examples=[_ASKED])
    state: Literal["running", "ended"]
    why: str = Field(description="Why it ended.")
    decision: Literal["", "ship", "roll_back", "keep_running"]
    reasons: tuple[str, ...]
    person: bool = Field(description="Whether it waits for nothing but somebody's word.")
    changes: tuple[str, ...] = Field(description="Ids of its changes.")
    began_at: datetime
    ended_at: datetime | None
    looked_at: datetime | None
    stale: bool = Field(description="Whether the newest look says nothing any more.")
    problem: str = Field(description="Why the latest look failed.")
    standing: ComparisonStands
    figures: Figures | None = Field(description="Of the newest look; null before the first.")


class LookFigure(Shown):
    """One figure of one treatment at one look."""

    of: Literal["effect", "primary", "guardrail"] = Field(
        description="The difference, the gain that decides (above 0 is better), or harm (above 0 is worse)."
    )
    metric: str
    treatment: str
    value: float | None
    low: float | None
    high: float | None
    line: float | None = Field(description="What a gain has to pass, and harm to stay below.")


class LookTaken(Shown):
    """One look, of everyone."""

    at: datetime
    generation: int
    decision: Literal["ship", "roll_back", "keep_running"]
    reasons: tuple[str, ...]
    figures: tuple[LookFigure, ...]


class RawAggregates(Shown):
    """Sums over units, of which every figure can be made again."""

    comparison: str
    endpoint: str
    experiment: str
    at: datetime
    rows: tuple[dict[str, Any], ...] = Field(
        description="By generation, arm, metric and segment: counts, means, and sums of products around the means.",
        examples=[[{"generation": 7, "arm": "v2", "metric": "errors", "segment": "", "n": 1_000, "value": 0.02}]],
    )


@router.get("/experiments/{experiment}/figures")
def show_experiment_figures(asks: Asks, endpoint: EndpointName, experiment: ExperimentName) -> ComparisonWhole:
    """What the arms of an experiment did beside each other; 404 before it starts."""
    with asks.reading("experiment.read") as look:
        return _whole(_of_experiment(look.session, endpoint, experiment, look.now))


@router.get("/experiments/{experiment}/looks")
def list_experiment_looks(
    asks: Asks, endpoint: EndpointName, experiment: ExperimentName, narrow: Annotated[Paged, Query()]
) -> Page[LookTaken]:
    """Its looks, the newest first; of older ones some are left out the longer it runs."""
    with asks.reading("experiment.read") as look:
        found = _of_experiment(look.session, endpoint, experiment, look.now)
        rows = showing.looks(look.session, found.id, limit=_MOST)
        items, following = narrow.cut(rows, lambda one: (one.at, one.comparison_id), newest_first=True)
        return Page(items=tuple(LookTaken.model_validate(showing.look_json(one)) for one in items), next=following)


@router.get("/experiments/{experiment}/aggregates")
def show_experiment_aggregates(asks: Asks, endpoint: EndpointName, experiment: ExperimentName) -> RawAggregates:
    """Counts an experiment anew from the inference log, and gives the sums that its figures are made of."""
    return RawAggregates.model_validate(asks.backend.aggregating.of(asks.actor, endpoint, experiment).to_json())


@router.get("/rollout/comparison")
def show_rollout_comparison(asks: Asks, endpoint: EndpointName) -> ComparisonWhole:
    """What is compared on an endpoint now, or was last; 404 where nothing ever was."""
    with asks.reading("experiment.read") as look:
        return _whole(showing.of_rollout(look.session, endpoint, now=look.now))


def _of_experiment(session: Any, endpoint: str, experiment: str, now: datetime) -> ComparisonView:
    found = showing.of_experiment(session, endpoint, experiment, now=now)
    if found is None:
        raise NotFound("comparison", experiment[:80], "It has not started: propose a change with it first.")
    return found


def _whole(found: ComparisonView) -> ComparisonWhole:
    return ComparisonWhole.model_validate(found.to_json())
