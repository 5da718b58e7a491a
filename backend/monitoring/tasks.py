"""A monitor's words of what is predicted as the tasks and segments that `quality` counts by. Pure."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from backend.core.canonical import digest
from backend.drift.findings import counted
from backend.drift.formulas import cumulated
from backend.drift.layout import CategoryCells, NumberCells
from backend.drift.profile import Profile
from backend.drift.values import Key
from backend.monitoring.rules import MonitorSpec, TaskSpec
from backend.quality.tasks import Bands, Binary, Categories, Classes, Regression, Segmentation, Task

_MOST_CATEGORIES, _BANDS = 10, 5


def task_of(told: TaskSpec) -> Task:
    """The task."""
    horizon = timedelta(hours=told.horizon_hours) if told.horizon_hours is not None else None
    match told.kind:
        case "binary":
            return Binary(told.outcome, told.threshold, horizon)
        case "classes":
            return Classes(told.outcome, told.classes, horizon)
        case "regression":
            return Regression(told.outcome, horizon)


def words_of(told: TaskSpec) -> str:
    """What is predicted, for people."""
    within = f", known within {counted(told.horizon_hours, 'hour', 'hours')}" if told.horizon_hours is not None else ""
    what = {"binary": "the probability of", "classes": "the classes of", "regression": "the number"}[told.kind]
    return f"{what} {told.outcome}{within}"


def segments_of(spec: MonitorSpec, profile: Profile | None) -> tuple[Segmentation, ...]:
    """Segments by the values that a reference has most often, or by fifths of its numbers; none where there is no reference."""
    if profile is None:
        return ()
    found = (_segmentation(profile, name) for name in sorted(spec.segments))
    return tuple(one for one in found if one is not None)


def counted_as(spec: MonitorSpec, segmentations: tuple[Segmentation, ...]) -> str:
    """Under which name hours of a task with these segments are kept."""
    task = spec.task.model_dump(mode="json", exclude_defaults=True) if spec.task is not None else {}
    told = [[one.feature, list(one.values if isinstance(one, Categories) else one.edges)] for one in segmentations]
    return f"quality:{digest({'task': task, 'segments': told})}"


def _segmentation(profile: Profile, name: str) -> Segmentation | None:
    place = profile.layout.places.get(Key("feature", name))
    if place is None:
        return None
    feature = profile.layout.features[place]
    if isinstance(feature.cells, CategoryCells):
        values = feature.cells.values[:_MOST_CATEGORIES]
        return Categories(name, values, "flag" if feature.kind == "flag" else "text") if values else None
    return _bands(name, feature.cells, profile, place) if isinstance(feature.cells, NumberCells) else None


def _bands(name: str, cells: NumberCells, profile: Profile, place: int) -> Bands | None:
    counts = profile.counts.of(profile.layout, place)
    if not counts.values:
        return None
    shares = cumulated(counts.cells)
    wanted = [cells.edges[min(int(np.searchsorted(shares, one / _BANDS)), len(cells.edges) - 1)] for one in range(1, _BANDS)]
    edges = sorted({float(f"{edge:.6g}") for edge in wanted if edge > cells.minimum})
    return Bands(name, tuple(edges)) if edges else None
