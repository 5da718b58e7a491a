"""Reads of environments, policies and freezes, shaped for the pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from backend.access import queries as access
from backend.policy import rules, service
from backend.policy.rows import Environment, Freeze, PolicyVersion
from backend.policy.rules import Policy, Problem


@dataclass(frozen=True)
class EnvironmentView:
    """One environment with its policy in force, the report on it, and the freeze that stops starts there."""

    name: str
    policy_id: str
    policy: Policy
    problems: tuple[Problem, ...]
    frozen: str
    """The freeze's reason, or ""."""


def environments(session: Session, now: datetime) -> tuple[EnvironmentView, ...]:
    """Every environment in promotion order."""
    rows = session.exec(select(Environment).order_by(col(Environment.position)))
    return tuple(_view(session, row.id, now) for row in rows)


def names(session: Session) -> tuple[str, ...]:
    """Every environment's name in promotion order."""
    return tuple(session.exec(select(col(Environment.id)).order_by(col(Environment.position))))


def _view(session: Session, name: str, now: datetime) -> EnvironmentView:
    current = service.in_force(session, name)
    people = access.people(session, now=now, environment=name)
    stop = service.freeze_in_force(session, name)
    return EnvironmentView(name, current.id, current.policy, rules.report(current.policy, people), stop.reason if stop else "")


def versions(session: Session, environment: str) -> Sequence[PolicyVersion]:
    """Every version of an environment's policy, newest first."""
    query = select(PolicyVersion).where(PolicyVersion.environment == environment)
    return session.exec(query.order_by(col(PolicyVersion.version).desc())).all()


def freezes(session: Session, *, limit: int = 100) -> Sequence[Freeze]:
    """Freezes, those in force first, then the newest."""
    query = select(Freeze).order_by(col(Freeze.lifted_at).isnot(None), col(Freeze.set_at).desc())
    return session.exec(query.limit(limit)).all()
