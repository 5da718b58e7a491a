"""Where models and their versions run: endpoints by model, what each wants, and the packages that were made of a version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access.visible import also
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.lines import EndpointLine, of_models
from backend.delivery.records import Share, shares
from backend.delivery.rows import Endpoint, Generation, Package


@dataclass(frozen=True)
class Placement:
    """One endpoint of a model, and every version that its newest generation wants loaded, the champion first."""

    endpoint: EndpointLine
    champion: str | None
    shares: tuple[Share, ...]


@dataclass(frozen=True)
class PackageLine:
    """A package in the store; `size` in bytes. `probes` counts the recorded requests inside."""

    digest: str
    packager: str
    target: str
    artifact_digest: str
    size: int
    probes: int
    created_at: datetime


def live_models(session: Session, environment: str) -> sa.Select[Any]:
    """A query for the names of models of which something was admitted in an environment, as far as this look shows it."""
    live = select(Endpoint.model).where(Endpoint.environment == environment, Endpoint.generation > 0)
    return live.where(*also(session, Endpoint))


def of_model(session: Session, model: str, *, now: datetime, interval: timedelta) -> tuple[Placement, ...]:
    """Every endpoint of one model with its versions, by name."""
    lines = of_models(session, [model], now=now, interval=interval)
    desired = _desired(session, lines)
    return tuple(_placement(line, desired.get(line.id)) for line in lines)


def packages(session: Session, artifact_digests: Iterable[str]) -> tuple[PackageLine, ...]:
    """Packages that were made of these artifacts, the oldest first."""
    wanted = sorted(set(artifact_digests))
    query = select(Package).where(col(Package.artifact_digest).in_(wanted)).order_by(col(Package.created_at), Package.id)
    return tuple(_package(row) for row in session.exec(query)) if wanted else ()


def _desired(session: Session, lines: Sequence[EndpointLine]) -> dict[str, DesiredEndpoint]:
    """By endpoint id."""
    ids = [f"{one.id}/{one.generation}" for one in lines if one.generation]
    rows = session.exec(select(Generation).where(col(Generation.id).in_(ids))) if ids else ()
    return {row.endpoint_id: DesiredEndpoint.model_validate(row.desired) for row in rows}


def _placement(line: EndpointLine, desired: DesiredEndpoint | None) -> Placement:
    return Placement(line, desired.champion, shares(desired)) if desired is not None else Placement(line, None, ())


def _package(row: Package) -> PackageLine:
    probes = int((row.probes or {}).get("count", 0))
    return PackageLine(row.id, row.packager, row.target, row.artifact_digest, row.size, probes, row.created_at)
