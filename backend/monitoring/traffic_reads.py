"""Reads of latency and errors by arm, against what was promised, with deployments marked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from backend.delivery.generations import DesiredEndpoint
from backend.delivery.named import named
from backend.delivery.rows import Endpoint, Generation
from backend.metrics import faring
from backend.metrics import queries as metrics
from backend.monitoring.views import Deployment, Traffic, Where

_REASONS = {"baseline": "signed off", "start": "started", "ramp": "next step", "rollback": "rolled back"}
MOST_DEPLOYMENTS = 200


def traffic(session: Session, where: Where, now: datetime, interval: timedelta) -> Traffic:
    """See `queries.traffic`."""
    row = named(session, Endpoint, where.endpoint)
    chart = metrics.chart(session, where.endpoint, where.start, where.end, by="arm")
    groups = tuple(
        replace(one, moments=tuple(each._replace(at=min(each.at, where.end)) for each in one.moments))  # the last is not over
        for one in chart.groups
        if (where.arm is None or one.arm == where.arm) and (where.version is None or one.version == where.version)
    )
    promised = metrics.slo_row(session, row.id)
    return Traffic(
        chart=replace(chart, groups=groups),
        objectives=metrics.objectives(promised) if promised is not None else (),
        deployments=deployments(session, row, where.start, where.end),
        sources=faring.sources(session, where.endpoint, now=now, interval=interval),
        note="Latency is not told by segment: this is of all of them." if where.segment else "",
    )


def deployments(session: Session, row: Endpoint, start: datetime, end: datetime) -> tuple[Deployment, ...]:
    """Generations that were admitted in a span, the oldest first."""
    query = select(Generation).where(
        Generation.endpoint_id == row.id, col(Generation.admitted_at) >= start, col(Generation.admitted_at) < end
    )
    rows = session.exec(query.order_by(col(Generation.number).desc()).limit(MOST_DEPLOYMENTS)).all()
    return tuple(_deployment(one) for one in reversed(rows))


def _deployment(row: Generation) -> Deployment:
    desired = DesiredEndpoint.model_validate(row.desired)
    shares = {one.name: one for one in desired.arms if one.buckets}
    told = ", ".join(f"version {one.version} {one.buckets / 100:g} %" for one in shares.values()) or "nothing"
    versions = {name: one.version for name, one in shares.items()}
    return Deployment(row.admitted_at, row.number, row.reason, f"{_REASONS.get(row.reason, row.reason)}: {told}", versions)
