"""When a comparison begins and ends."""

from __future__ import annotations

from backend.core.unit import Unit
from backend.delivery.plan import Plan
from backend.delivery.rows import Authorization


def begin(tx: Unit, authorization: Authorization, plan: Plan) -> None:
    """Nothing is kept of it yet."""


def end(tx: Unit, authorization_id: str, why: str) -> None:
    """Nothing is kept of it yet."""
