"""How comparisons stand, and what a page shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from backend.delivery.comparison import Comparison
from backend.delivery.plan import parse_plan
from backend.delivery.rows import Authorization
from backend.experiments.comparing.rows import ComparisonRow, ComparisonState
from backend.experiments.comparing.standing import Kept, Looked, Standing
from backend.experiments.comparing.standing import standing as stands

MOST = 50
"""Comparisons of one endpoint that are looked through, the newest."""


def standing(session: Session, authorization_id: str, generation: int, now: datetime) -> Standing | None:
    """How the arms of an authorized plan stand in one generation; None where the plan compares nothing."""
    authorization = session.get(Authorization, authorization_id)
    if authorization is None:
        return None
    asked = parse_plan(authorization.plan).comparison
    if asked is None:
        return None
    row = with_authorization(session, authorization)
    if row is None:
        return Standing("hold", "Nothing compares these arms.", False, False, 0, None)
    return stands(asked, looked(session, row), generation, now)


def looked(session: Session, row: ComparisonRow) -> Looked:
    """How the looking at one comparison goes."""
    state = session.get(ComparisonState, row.id)
    if state is None:
        return Looked(row.began_at)
    kept = Kept.model_validate(state.standing) if state.standing is not None else None
    return Looked(row.began_at, state.looked_at, state.problem, kept)


def asked(row: ComparisonRow) -> Comparison:
    """What is compared, by its newest plan."""
    return Comparison.model_validate(row.spec["comparison"])


def running_on(session: Session, endpoint_id: str, *, lock: bool = False) -> ComparisonRow | None:
    """The comparison that runs on an endpoint."""
    query = select(ComparisonRow).where(ComparisonRow.endpoint_id == endpoint_id, ComparisonRow.state == "running")
    return session.exec(query.with_for_update() if lock else query).one_or_none()


def running_with(session: Session, authorization_id: str, *, lock: bool = False) -> ComparisonRow | None:
    """The running comparison that has an authorization."""
    authorization = session.get(Authorization, authorization_id)
    found = running_on(session, authorization.endpoint_id, lock=lock) if authorization is not None else None
    return found if found is not None and authorization_id in found.authorizations else None


def with_authorization(session: Session, authorization: Authorization) -> ComparisonRow | None:
    """The comparison that an authorization is part of, whether it runs or not."""
    found = of_endpoint(session, authorization.endpoint_id)
    return next((one for one in found if authorization.id in one.authorizations), None)


def of_endpoint(session: Session, endpoint_id: str) -> Sequence[ComparisonRow]:
    """An endpoint's comparisons, the newest first."""
    query = select(ComparisonRow).where(ComparisonRow.endpoint_id == endpoint_id)
    return session.exec(query.order_by(col(ComparisonRow.began_at).desc(), col(ComparisonRow.id).desc()).limit(MOST)).all()


def of_experiment(session: Session, endpoint_id: str, experiment: str) -> ComparisonRow | None:
    """The newest comparison of an experiment."""
    return next((one for one in of_endpoint(session, endpoint_id) if one.experiment == experiment), None)
