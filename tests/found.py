"""Findings for tests: opened as a monitor opens them."""

from __future__ import annotations

from datetime import timedelta

from backend.bootstrap import Backend
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.findings import sightings
from backend.findings.rows import Finding
from backend.findings.rules import Cause, Sighting
from backend.policy.rules import Severity
from tests.installations import EU, PRODUCTION


def drifted(database: Database, endpoint: str, *subjects: str, severity: Severity = "warning") -> tuple[Finding, ...]:
    """One look that sees that features of an endpoint drift."""
    look = [
        Sighting(
            Cause("drift.feature", endpoint, subject=one), severity, f"PSI of {one} is 0.31, above 0.2.",
            f"drift of {endpoint}", {"psi": 0.31, "threshold": 0.2, "rows": 12_480}, clear_after=timedelta(hours=2),
        )
        for one in subjects or ("dep_delay",)
    ]  # fmt: skip
    with database.unit(SYSTEM) as tx:
        return sightings.seen(tx, look)


def found_lately(backend: Backend) -> None:
    """What a populated installation (`tests.installations`) found: two features that drift, one for information, one critical.

    Finding 2 is looked after; 4 holds up what the policy of production says.
    """
    drifted(backend.database, PRODUCTION, "dep_delay", "distance")
    drifted(backend.database, EU, "carrier <b>UA</b>", severity="info")
    with backend.database.unit(SYSTEM) as tx:
        says = "The schema of requests lost origin, which version 1 reads; 3.4 % of them have none."
        cause = Cause("schema.missing", PRODUCTION, subject="origin")
        evidence = {"missing": "origin", "share": 0.034, "requests": 12_480, "since": tx.now}
        sightings.seen(tx, [Sighting(cause, "critical", says, f"drift of {PRODUCTION}", evidence, needs_person=True)])
    backend.findings.acknowledge(backend.identities.act_as("olga"), 2, "The feed from the airport lags; I look.")
