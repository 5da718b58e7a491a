"""An endpoint that is told of more different names than it may have is a finding: what is beyond is left out of its rows.

Whoever sends ids as names does no harm to other rows, but a new feature of somebody else may find no room (`naming.Names`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlmodel import col, select

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery.rows import Endpoint
from backend.findings import sightings
from backend.findings.rows import Finding
from backend.findings.rules import LIVE, Cause, Sighting

FOUND_BY, KIND = "the inference log", "log.names"
CLEAR_AFTER = timedelta(hours=1)
_SAYS = (
    "{count:,} values were left out of rows: the endpoint has as many different features, or outcomes, as it may have. "
    "Whoever sends what changes from row to row as a name should send it as a value."
)


def tell(database: Database, crowded: Mapping[str, int]) -> None:
    """One look: how many values were left out since the one before, by endpoint; and that of no other any were."""
    with database.read() as session:
        told = select(Endpoint.name).join(Finding, col(Finding.endpoint_id) == Endpoint.id)
        told = told.where(Finding.found_by == FOUND_BY, col(Finding.state).in_(LIVE))
        before = set(session.exec(told))
        there = set(session.exec(select(Endpoint.name).where(col(Endpoint.name).in_(crowded)))) if crowded else set()
    for endpoint in sorted(there | before):
        with database.unit(SYSTEM) as tx:
            if tx.session.exec(select(Endpoint.id).where(Endpoint.name == endpoint)).first() is not None:
                sightings.looked(tx, FOUND_BY, _seen(endpoint, crowded.get(endpoint, 0)), endpoint=endpoint)


def _seen(endpoint: str, count: int) -> tuple[Sighting, ...]:
    if not count:
        return ()
    told = {"values_left_out": count}
    return (Sighting(Cause(KIND, endpoint), "warning", _SAYS.format(count=count), FOUND_BY, told, CLEAR_AFTER),)
