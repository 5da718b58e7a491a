"""`/endpoints/.../shadow`: what shadow arms answered to copies of an endpoint's requests, beside the live answers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from backend.api.asking import Asks, EndpointName, Instant, Narrow, Shown
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.experiments import copies
from backend.experiments.copies import Copies

router = APIRouter(tags=["metrics"])


class CopiesNarrow(Narrow):
    """Which copies, and what passes for the same answer."""

    start: Annotated[Instant | None, Field(description="By default a day before `end`; at most 31 days before it.")] = None
    end: Annotated[Instant | None, Field(description="By default now. Copies of the last minute are left out.")] = None
    tolerance: Annotated[
        float | None,
        Field(
            description="Numbers that lie no further apart agree. By default a hundredth of the distance between the 5 % "
            "and the 95 % quantile of the live predictions."
        ),
    ] = None
    threshold: Annotated[
        float | None, Field(description="Of decisions: numbers agree that are both below it, or both not.")
    ] = None
    outcome: Annotated[
        str | None, Field(max_length=128, description="By which errors are measured; by default the only one that there is.")
    ] = None


class ShadowsView(Shown):
    """Every shadow arm of a window of time, the newest first."""

    endpoint: str
    start: datetime
    end: datetime
    shadows: tuple[Copies, ...]


@router.get("/endpoints/{endpoint}/shadow")
def show_shadows(asks: Asks, endpoint: EndpointName, narrow: Annotated[CopiesNarrow, Query()]) -> ShadowsView:
    """How often shadow arms differed from the live ones and by how much, how they failed, how fast both were, and whose errors
    are smaller where outcomes are known.
    """
    with asks.reading("endpoint.read") as look:
        name, now = named(look.session, Endpoint, endpoint).name, look.now
    end = narrow.end or now
    start = narrow.start or end - timedelta(days=1)
    chosen = {"tolerance": narrow.tolerance, "threshold": narrow.threshold}
    found = copies.all_compared(asks.backend.inference_log, name, start, end, now, outcome=narrow.outcome, **chosen)
    return ShadowsView(endpoint=name, start=start, end=end, shadows=found)
