"""What is wrong with how an endpoint's log is fed, as findings.

More different names than it may have: what is beyond is left out of its rows. Whoever sends ids as names does no harm to other
rows, but a new feature of somebody else may find no room (`naming.Names`). And sampling, where only some of those who tell of a
request name its unit (`mixed`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from sqlmodel import col, select

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery.rows import Endpoint
from backend.findings import sightings
from backend.findings.rows import Finding
from backend.findings.rules import LIVE, Cause, Sighting

FOUND_BY, KIND, MIXED = "the inference log", "log.names", "log.sampling"
CLEAR_AFTER = timedelta(hours=1)
MIXED_CLEAR_AFTER = timedelta(days=1)
"""Of one request in a hundred thousand both parts are kept by chance: that none shows for an hour says little."""
_SAYS = (
    "{count:,} values were left out of rows: the endpoint has as many different features, or outcomes, as it may have. "
    "Whoever sends what changes from row to row as a name should send it as a value."
)
_SAYS_MIXED = (
    "It is sampled by units, and requests were told of both with their unit and without: {count:,} lately. "
    "Most others are kept in part only, so figures lack features or versions. Have everybody name the unit, or keep all rows."
)
_NONE: Mapping[str, int] = MappingProxyType({})


def tell(database: Database, crowded: Mapping[str, int], mixed: Mapping[str, int] = _NONE) -> None:
    """One look, by endpoint: how many values were left out since the one before, and of how many requests only some named the
    unit; and that there was nothing of the kind at any other."""
    with database.read() as session:
        told = select(Endpoint.name).join(Finding, col(Finding.endpoint_id) == Endpoint.id)
        told = told.where(Finding.found_by == FOUND_BY, col(Finding.state).in_(LIVE))
        before = set(session.exec(told))
        named = {*crowded, *mixed}
        there = set(session.exec(select(Endpoint.name).where(col(Endpoint.name).in_(named)))) if named else set()
    for endpoint in sorted(there | before):
        with database.unit(SYSTEM) as tx:
            if tx.session.exec(select(Endpoint.id).where(Endpoint.name == endpoint)).first() is not None:
                sightings.looked(tx, FOUND_BY, _seen(endpoint, crowded, mixed), endpoint=endpoint)


def _seen(endpoint: str, crowded: Mapping[str, int], mixed: Mapping[str, int]) -> tuple[Sighting, ...]:
    kinds = (
        (KIND, _SAYS, "values_left_out", crowded.get(endpoint, 0), CLEAR_AFTER),
        (MIXED, _SAYS_MIXED, "requests", mixed.get(endpoint, 0), MIXED_CLEAR_AFTER),
    )
    return tuple(
        Sighting(Cause(kind, endpoint), "warning", says.format(count=count), FOUND_BY, {of: count}, after)
        for kind, says, of, count, after in kinds
        if count
    )
