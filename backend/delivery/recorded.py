"""Recorded requests, row by row: those inside a model's packages, and those in an endpoint's inference log.

They are of single people. Each read needs a grant of the data set besides a role, and is in the ledger before a row is shown.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Protocol

from sqlmodel import Session, select

from backend.access.checks import require
from backend.access.data_sets import require_data_set
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound
from backend.delivery.named import named
from backend.delivery.probes import MAX_PROBES_BYTES, PROBES, parse_probes
from backend.delivery.rows import Endpoint, Package
from backend.inference_log.service import InferenceLog
from backend.registry.queries import registered

MOST = 1_000
"""Rows of one read."""


class Stored(Protocol):
    """Where packages are; `store.PackageStore` is one."""

    def read(self, digest: str, path: str, limit: int) -> bytes:
        """One file of a package."""
        ...


class Recorded:
    """Reads of recorded requests.

    Args:
        database: where grants and the ledger are.
        packages: the package store.
        log: the inference log.
    """

    def __init__(self, database: Database, packages: Stored, log: InferenceLog) -> None:
        self._database = database
        self._packages = packages
        self._log = log

    def probes(self, actor: Actor, model: str, number: int, *, limit: int = MOST) -> tuple[dict[str, Any], ...]:
        """Recorded requests inside a version's package, each with its recorded answer. Refusal `data-set` without a grant."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "recorded.read", model=model)
            require_data_set(tx, actor, f"probes/{model}", version=number, limit=limit)
            digest = _probed(tx.session, model, number)
        inputs, outputs, _ = parse_probes(self._packages.read(digest, PROBES, MAX_PROBES_BYTES))
        pairs = zip(inputs, outputs, strict=True)
        return tuple({"request": plain(one), "answer": plain(other)} for one, other in pairs)[: min(limit, MOST)]

    def requests(
        self, actor: Actor, endpoint: str, start: datetime, end: datetime, *, limit: int = 100
    ) -> tuple[dict[str, Any], ...]:
        """Requests that an endpoint was asked in a span of time, the first first. Refusal `data-set` without a grant."""
        most = max(1, min(limit, MOST))
        with self._database.unit(actor) as tx:
            place = named(tx.session, Endpoint, endpoint)
            where = {"environment": place.environment, "model": place.model, "endpoint": place.name}
            require(tx, actor, "recorded.read", missing=NotFound("endpoint", endpoint[:80]), **where)
            span = {"start": start.isoformat(), "end": end.isoformat()}
            require_data_set(tx, actor, f"requests/{endpoint}", limit=most, **span)
        with self._log.read(endpoint, None, start, end, unsampled=True) as reading:
            rows = reading.query(f"SELECT * FROM joined ORDER BY event_time, request_id LIMIT {most}").to_pylist()  # noqa: S608
        return tuple(plain(row) for row in rows)


def plain(value: Any) -> Any:
    """JSON-able form; a number that JSON has not becomes its name."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _probed(session: Session, model: str, number: int) -> str:
    version = registered(session, model, number)
    query = select(Package).where(Package.artifact_digest == version.artifact_digest).order_by(Package.id)
    found = next((one.id for one in session.exec(query) if one.probes), None)
    if found is None:
        raise NotFound("recorded requests", f"{model} {number}", "The version's packages hold none.")
    return found
