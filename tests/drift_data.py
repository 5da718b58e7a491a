"""Small references and windows for the tests of drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from backend.drift.counts import ColumnCounts, Counts, counted
from backend.drift.findings import Finding
from backend.drift.judging import Judgement
from backend.drift.layout import Feature
from backend.drift.profile import Profile, build
from backend.drift.sources import Roles, TableSource
from backend.drift.values import Key

Columns = Mapping[str, Any]


def table(columns: Columns) -> pa.Table:
    """Columns as an Arrow table."""
    return pa.table({name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in columns.items()})


def profile_of(columns: Columns, **roles: Any) -> Profile:
    """The profile of some columns."""
    return build(TableSource(table(columns), Roles(**roles)), timed="time" in roles)


def counts_of(profile: Profile, columns: Columns, *, rows: int = 1_000, **roles: Any) -> Counts:
    """Columns counted in a profile's cells."""
    return counted(TableSource(table(columns), Roles(**roles), rows=rows), profile.layout)


def column(profile: Profile, counts: Counts, name: str = "x") -> tuple[Feature, ColumnCounts, ColumnCounts]:
    """A feature, the reference's counts of it, and a window's."""
    place = profile.layout.places[Key("feature", name)]
    return profile.layout.features[place], profile.counts.of(profile.layout, place), counts.of(profile.layout, place)


def normal(rows: int, seed: int = 1, mean: float = 0.0, spread: float = 1.0) -> Any:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(mean, spread, rows)


def letters(rows: int, seed: int = 1, among: str = "abc", shares: Sequence[float] | None = None) -> Any:
    """Single letters."""
    return np.random.default_rng(seed).choice(list(among), rows, p=shares)


def kinds(judgement: Judgement, name: str | None = None) -> list[str]:
    """The kinds of what was found, of one feature or of all."""
    return [one.kind for one in judgement.findings if name is None or one.column == Key("feature", name)]


def only(judgement: Judgement, kind: str) -> Finding:
    """The one finding of a kind."""
    (found,) = (one for one in judgement.findings if one.kind == kind)
    return found
