"""Reads of comparisons for pages and the API. Every one takes a session that a door narrowed, and looks only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, cast

from sqlmodel import Session, col, select

from backend.core.errors import NotFound
from backend.delivery.named import named
from backend.delivery.rows import Authorization, Endpoint
from backend.experiments.comparing import queries
from backend.experiments.comparing.figures import Figures
from backend.experiments.comparing.rows import ComparisonLook, ComparisonRow
from backend.experiments.comparing.standing import is_stale
from backend.experiments.comparing.standing import standing as stands
from backend.experiments.comparing.views import ComparisonView, Point
from backend.experiments.designs import service as designs

MOST_POINTS = 150
"""Looks of one series: a chart shows no more."""


def of_experiment(session: Session, endpoint: str, slug: str, *, now: datetime) -> ComparisonView | None:
    """The newest comparison of an experiment; None before it starts. NotFound for what is not there."""
    place, _ = designs.find(session, endpoint, slug)
    row = queries.of_experiment(session, place.id, slug)
    return _view(session, place, row, now) if row is not None else None


def of_rollout(session: Session, endpoint: str, *, now: datetime) -> ComparisonView:
    """What is compared on an endpoint now, or was last. NotFound."""
    place = named(session, Endpoint, endpoint)
    row = queries.running_on(session, place.id) or next(iter(queries.of_endpoint(session, place.id)), None)
    if row is None:
        raise NotFound("comparison", endpoint[:80], "Nothing was compared there yet.")
    return _view(session, place, row, now)


def of_change(session: Session, change_id: str, *, now: datetime) -> ComparisonView | None:
    """What a change's arms came to beside each other; None where nothing is compared."""
    query = select(Authorization).where(Authorization.change_id == change_id)
    for authorization in session.exec(query.order_by(col(Authorization.created_at).desc())).all():
        row = queries.with_authorization(session, authorization)
        if row is not None:
            return _view(session, session.get_one(Endpoint, row.endpoint_id), row, now)
    return None


def series(session: Session, comparison_id: str, *, most: int = MOST_POINTS) -> tuple[Point, ...]:
    """Every figure of everyone at each look, in order of time; of many looks some evenly spaced ones, and the newest."""
    points: list[Point] = []
    for look in _looks(session, comparison_id, most):
        points += _points(look)
    return tuple(points)


def looks(
    session: Session, comparison_id: str, *, before: datetime | None = None, limit: int = 100
) -> Sequence[ComparisonLook]:
    """Looks as they are kept, the newest first: those before a moment, where one is given."""
    query = select(ComparisonLook).where(ComparisonLook.comparison_id == comparison_id)
    if before is not None:
        query = query.where(col(ComparisonLook.at) < before)
    return session.exec(query.order_by(col(ComparisonLook.at).desc()).limit(limit)).all()


def look_json(look: ComparisonLook) -> dict[str, Any]:
    """One look without what only the newest one has: its decision, and every figure of everyone."""
    told = [{name: one for name, one in vars(each).items() if name not in ("at", "generation")} for each in _points(look)]
    decided = {name: look.figures[name] for name in ("decision", "reasons")}
    return {"at": look.at, "generation": look.generation, **decided, "figures": told}


def _looks(session: Session, comparison_id: str, most: int) -> Sequence[ComparisonLook]:
    """Times are read first: a look with all its figures is large."""
    query = select(ComparisonLook.at).where(ComparisonLook.comparison_id == comparison_id).order_by(col(ComparisonLook.at))
    times = session.exec(query).all()
    every = max(1, -(-len(times) // most))
    wanted = times[::-every][::-1] if every > 1 else times
    mine = select(ComparisonLook).where(ComparisonLook.comparison_id == comparison_id, col(ComparisonLook.at).in_(wanted))
    return session.exec(mine.order_by(col(ComparisonLook.at))).all()


def _points(look: ComparisonLook) -> Iterator[Point]:
    """From the JSON as it lies there: nothing of it is checked again, since this room wrote it."""
    told = look.figures
    for one in told["effects"]:
        if not one["segment"]:
            yield _point(look, "effect", one, one["difference"], one["low"], one["high"], None)
    for one in told["primaries"]:
        yield _point(look, "primary", one, one["gain"], one["low"], one["high"], one["line"])
    for one in told["guardrails"]:
        if not one["segment"]:
            yield _point(look, "guardrail", one, one["harm"], one["fail_low"], one["pass_high"], one["margin"])


def _point(
    look: ComparisonLook,
    of: Literal["effect", "primary", "guardrail"],
    one: dict[str, Any],
    value: float | None,
    low: float | None,
    high: float | None,
    line: float | None,
) -> Point:
    return Point(look.at, look.generation, of, one["metric"], one["treatment"], value, low, high, line)


def _view(session: Session, place: Endpoint, row: ComparisonRow, now: datetime) -> ComparisonView:
    asked, looked = queries.asked(row), queries.looked(session, row)
    newest = next(iter(looks(session, row.id, limit=1)), None)
    figures = Figures.from_json(newest.figures) if newest is not None else None
    runs = row.state == "running"
    return ComparisonView(
        id=row.id,
        endpoint=place.name,
        experiment=row.experiment or "",
        control=row.control,
        versions={str(name): int(one) for name, one in row.spec["arms"].items()},
        treatments=tuple(row.spec["treatments"]),
        asked=asked,
        state=cast(Literal["running", "ended"], row.state),
        why=row.why,
        decision=row.decision or "",
        reasons=tuple(row.reasons),
        person=row.person,
        changes=_changes(session, row),
        began_at=row.began_at,
        ended_at=row.ended_at,
        looked_at=looked.looked_at,
        stale=runs and is_stale(asked, looked, now),
        problem=(looked.problem or "") if runs else "",
        standing=stands(asked, looked, figures.generation if figures is not None else 0, now),
        figures=figures,
    )


def _changes(session: Session, row: ComparisonRow) -> tuple[str, ...]:
    found = session.exec(
        select(Authorization.id, Authorization.change_id).where(col(Authorization.id).in_(row.authorizations))
    ).all()
    known = dict(found)
    return tuple(known[one] for one in row.authorizations if known.get(one))


def decisions(session: Session) -> dict[tuple[str, str], str]:
    """(endpoint, experiment) -> what its comparison says, of every one that runs and said something."""
    query = (
        select(Endpoint.name, ComparisonRow.experiment, ComparisonRow.decision)
        .join(Endpoint, col(ComparisonRow.endpoint_id) == Endpoint.id)
        .where(ComparisonRow.state == "running", col(ComparisonRow.experiment).is_not(None))
    )
    return {(endpoint, slug or ""): decision for endpoint, slug, decision in session.exec(query) if decision}
