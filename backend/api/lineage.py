"""`/models/{model}/versions/{number}/lineage`: where a version comes from and where it went, as it was recorded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from backend.api.asking import Asks, ModelName, Number, Page, Shown
from backend.delivery import placed
from backend.delivery.placed import PackageLine
from backend.registry import queries

router = APIRouter(prefix="/models/{model}", tags=["versions"])


class Placed(Shown):
    """One endpoint whose newest generation wants a version loaded."""

    endpoint: str
    environment: str
    version: int
    role: str = Field(description="arm, shadow or warm.")
    buckets: int = Field(description="Its share, out of 10,000.")
    champion: bool
    package_digest: str
    state: str = Field(description="Of the endpoint, as shown.")


class LineageView(Shown):
    """One version's way: what it was made of, and what was made of it."""

    model: str
    version: int
    run_id: str | None
    code_version: str
    author: str
    datasets: tuple[dict[str, Any], ...]
    artifact_digest: str | None = Field(description="Null while it is not registered here.")
    packages: tuple[PackageLine, ...]
    endpoints: tuple[Placed, ...]


@router.get("/versions/{number}/lineage")
def show_lineage(asks: Asks, model: ModelName, number: Number) -> LineageView:
    """Run, commit and data sets before a version; packages and endpoints after it."""
    with asks.reading("model.read") as look:
        found = queries.version(look.session, model, number)
        digest = found.registered.artifact_digest if found.registered is not None else None
        places = placed.of_model(look.session, model, now=look.now, interval=_interval(asks))
        packages = placed.packages(look.session, [digest] if digest else [])
    told = found.told
    return LineageView(
        model=model,
        version=number,
        run_id=told.run_id,
        code_version=told.code_version,
        author=told.author,
        datasets=tuple(told.datasets),
        artifact_digest=digest,
        packages=packages,
        endpoints=tuple(one for one in _placed(places) if one.version == number),
    )


@router.get("/endpoints")
def list_placements(asks: Asks, model: ModelName) -> Page[Placed]:
    """Where each version of a model is wanted now, by endpoint."""
    with asks.reading("model.read") as look:
        queries.numbers(look.session, model, limit=1)  # NotFound for a model that is not there
        found = placed.of_model(look.session, model, now=look.now, interval=_interval(asks))
    return Page(items=tuple(_placed(found)), next=None)


def _placed(found: tuple[placed.Placement, ...]) -> list[Placed]:
    return [
        Placed(
            endpoint=one.endpoint.name,
            environment=one.endpoint.environment,
            version=share.version,
            role=share.role,
            buckets=share.buckets,
            champion=share.arm == one.champion,
            package_digest=share.package_digest,
            state=one.endpoint.state,
        )
        for one in found
        for share in one.shares
    ]


def _interval(asks: Asks) -> timedelta:
    return timedelta(seconds=asks.backend.settings.observe_seconds)
