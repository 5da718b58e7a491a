"""The raw aggregates of a comparison, for whoever wants to do the statistics again: counted anew from the inference log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

from sqlmodel import Session

from backend.access.checks import require_to_read
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.experiments.comparing import queries
from backend.experiments.comparing.counting import count
from backend.experiments.comparing.counts import Asked, Counts
from backend.experiments.comparing.looking import strata
from backend.experiments.comparing.rows import ComparisonRow
from backend.experiments.designs import service as designs
from backend.experiments.statistics.moments import FIELDS
from backend.inference_log.service import InferenceLog


@dataclass(frozen=True)
class Aggregate:
    """One metric of one arm in one generation, summed over units.

    Args:
        buckets: the arm's share in that generation, of 10,000.
        part: of predictions, which cut, counted from 0; else 0.
        segment: "" for everyone.
        centre: what was taken off each request's value before it was summed, so that a unit's value is `value - centre *
            denominator`; the arm's figure is `centre + value / denominator`.
        moments: `statistics.moments.Moments` of the cell: counts, means, and sums of products around the means.
    """

    generation: int
    arm: str
    version: int
    buckets: int
    metric: str
    part: int
    segment: str
    centre: float
    moments: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """JSON-able, all in one object."""
        told = {name: one for name, one in vars(self).items() if name != "moments"}
        return {**told, **self.moments}


COLUMNS = ("generation", "arm", "version", "buckets", "metric", "part", "segment", "centre", *FIELDS)


@dataclass(frozen=True)
class Aggregates:
    """All of one comparison, as of a moment. `rows` are ordered by generation, metric, segment and arm."""

    comparison: str
    endpoint: str
    experiment: str
    at: datetime
    rows: tuple[Aggregate, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        told = {**vars(self), "at": self.at.isoformat()}
        return {**told, "rows": [one.to_json() for one in self.rows]}


class Aggregating:
    """Counts a comparison for an export."""

    def __init__(self, database: Database, log: InferenceLog) -> None:
        self._database, self._log = database, log

    def of(self, actor: Actor, endpoint: str, experiment: str = "") -> Aggregates:
        """Of an experiment, or of what is or was compared last on the endpoint. Nothing is stored.

        What ended is counted as of its end. Refusal codes: not-allowed, not-found. Raises ExternalFailure when the log cannot
        be read.
        """
        with self._database.read() as session:
            now = self._database.now(session)
            require_to_read(session, actor, "experiment.read", now=now)
            row = _row(session, endpoint, experiment)
            arms = (row.control, *row.spec["treatments"])
            moment = row.ended_at or now
            asked = Asked(endpoint, queries.asked(row), arms, strata(session, row, arms), row.began_at, moment)
            session.expunge(row)
        found = count(self._log, asked)
        versions = {str(name): int(one) for name, one in row.spec["arms"].items()}
        rows = tuple(_rows(found, versions)) if found is not None else ()
        return Aggregates(row.id, endpoint, row.experiment or "", moment, rows)


def _row(session: Session, endpoint: str, experiment: str) -> ComparisonRow:
    place = named(session, Endpoint, endpoint)
    if experiment:
        designs.find(session, endpoint, experiment)
        row = queries.of_experiment(session, place.id, experiment)
    else:
        row = queries.running_on(session, place.id) or next(iter(queries.of_endpoint(session, place.id)), None)
    if row is None:
        raise NotFound("comparison", (experiment or endpoint)[:80], "Nothing was compared there yet.")
    return row


def _rows(found: Counts, versions: dict[str, int]) -> Iterator[Aggregate]:
    segments = sorted({segment for _, segment in found.cells})
    parts = [(metric, part, place) for metric, places in found.of_metric.items() for part, place in enumerate(places)]
    for at, (metric, part, place), segment in product(range(len(found.asked.strata)), parts, segments):
        stratum, cell = found.asked.strata[at], found.cells[place, segment]
        for number, arm in enumerate(found.asked.arms):
            yield Aggregate(
                generation=stratum.generation,
                arm=arm,
                version=versions.get(arm, 0),
                buckets=stratum.shares.get(arm, 0),
                metric=metric,
                part=part,
                segment=segment,
                centre=found.centres[place],
                moments={one: float(getattr(cell, one)[number, at]) for one in FIELDS},
            )
