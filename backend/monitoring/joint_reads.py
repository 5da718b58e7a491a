"""Reads of what monitors saw of rows as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlmodel import Session, col, select

from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.monitoring.feature_reads import span_of
from backend.monitoring.joint import KIND
from backend.monitoring.rows import Monitor, MonitorRun
from backend.monitoring.rules import MonitorSpec
from backend.monitoring.views import JointPoint, Where


def joint(session: Session, where: Where) -> tuple[JointPoint, ...]:
    """See `queries.joint`."""
    row, span = named(session, Endpoint, where.endpoint), span_of(where)
    query = select(MonitorRun, Monitor).join(Monitor, col(Monitor.id) == MonitorRun.monitor_id)
    query = query.where(MonitorRun.endpoint_id == row.id, Monitor.kind == "drift")
    query = query.where(col(MonitorRun.slot) > span.start, col(MonitorRun.slot) <= span.end)
    found = session.exec(query.order_by(col(MonitorRun.slot), col(Monitor.name))).all()
    points = (one for run, monitor in found if _is_asked_for(monitor, where) for one in _points(run, monitor.name))
    return tuple(one for one in points if where.version in (None, one.version))


def _is_asked_for(monitor: Monitor, where: Where) -> bool:
    return where.arm in (None, MonitorSpec.model_validate(monitor.spec).arm)


def _points(run: MonitorRun, name: str) -> Iterator[JointPoint]:
    for version, figures in sorted(run.figures.items()):
        told = figures.get(KIND) if isinstance(figures, Mapping) else None
        if told is not None:
            yield _point(run, name, int(version), told)


def _point(run: MonitorRun, name: str, version: int, told: Mapping[str, Any]) -> JointPoint:
    severity = next((one["severity"] for one in run.found if one["kind"] == f"drift.{KIND}" and one["version"] == version), "")
    return JointPoint(
        slot=run.slot,
        version=version,
        monitor=name,
        auc=told.get("auc"),
        low=told.get("low"),
        high=told.get("high"),
        threshold=told.get("threshold"),
        usual=told.get("usual"),
        rows=told.get("rows", 0),
        reference_rows=told.get("reference_rows", 0),
        columns=tuple((one, lost) for one, lost in told.get("columns", ())),
        compared_with=told.get("compared_with", ""),
        label=told.get("label", ""),
        severity=severity,
        why=told.get("why", ""),
    )
