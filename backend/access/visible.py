"""What a person's look shows: one SQL filter a table, put on every query of a session that was narrowed to a person's sight.

A room says once, at its table, through what its rows belong to somebody (`Row.__seen_through__`); its queries then need not
know who looks. A look is narrowed by `narrow`, which the three doors do before they read anything, so that a query can forget
nothing: what is not seen is not there, for lists and counts as for a name, a number or an id. Commands decide on everything
that is there; they ask `access.checks.require` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, with_loader_criteria
from sqlalchemy.sql import visitors
from sqlmodel import Session, SQLModel

from backend.access.rules import Sight
from backend.core.columns import Row

Clause = sa.ColumnElement[bool]
_SIGHT = "countersign.sight"
SHOWN_TO_READERS_OF_THE_LEDGER = ("environment", "policy", "freeze")
"""Subjects of the ledger that belong to nobody in particular: whoever may read the ledger at all reads of them."""

_ONCE_OF_AN_ENVIRONMENT = "alias.set_champion"
"""It names a model, and stood under its environment before it stood under that model: rows of the ledger stay as they are."""


class UnseenQuery(RuntimeError):
    """A defect: a narrowed look asked for somebody's rows past the ORM, where no filter reaches."""


def narrow(session: Session, sight: Sight) -> None:
    """From now on this session shows only what the sight reaches. Doing it again with another one only narrows."""
    sights = _sights(session)
    new = [one for one in (sight, sight.within) if one is not None and not one.everything and one not in sights]
    if new:
        session.info[_SIGHT] = (*sights, *new)


def _sights(session: Session) -> tuple[Sight, ...]:
    found: tuple[Sight, ...] = session.info.get(_SIGHT, ())
    return found


def clause(table: type[Row], sight: Sight) -> Clause | None:
    """Which rows of a table the sight shows; None where everybody may see all of them."""
    through = table.__seen_through__
    return _THROUGH[through](_Attributes(table), sight) if through else None


def is_narrow(session: Session) -> bool:
    """Whether this look shows a part only, so that no number of all must be told."""
    return _SIGHT in session.info


def also(session: Session, table: type[Row]) -> tuple[Clause, ...]:
    """What a query of plain columns, which no criteria reach, has to ask for besides; nothing where everything is seen."""
    return tuple(_of_columns(table, sight) for sight in _sights(session)) if table.__seen_through__ else ()


@lru_cache(maxsize=1024)
def _of_columns(table: type[Row], sight: Sight) -> Clause:
    """Made once: drawing it anew for each query takes longer than the query."""
    return _THROUGH[table.__seen_through__](_table(str(table.__tablename__)).c, sight)


def shows_endpoint(session: Session, sight: Sight, name: str) -> bool:
    """Whether an endpoint of this name is there for this sight."""
    return _shows(session, "endpoint", sight, name)


def shows_model(session: Session, sight: Sight, name: str) -> bool:
    """Whether a model of this name is there for this sight."""
    return _shows(session, "model", sight, name)


def shows_server(session: Session, sight: Sight, name: str, table: str = "server") -> bool:
    """Whether a server (or a router) of this name is there for this sight."""
    return _shows(session, table, sight, name)


def _shows(session: Session, name_of_table: str, sight: Sight, name: str) -> bool:
    if sight.within is not None and not _shows(session, name_of_table, sight.within, name):
        return False
    table, where = _table(name_of_table), _THROUGH[name_of_table]
    return sight.everything or _is_there(session, sa.select(table.c.id).where(table.c.name == name, where(table.c, sight)))


def seen_endpoints(session: Session, names: Iterable[str]) -> list[str]:
    """Those of these names of endpoints that this look shows, in their order: for names that stand in somebody's row."""
    wanted, sights = list(names), _sights(session)
    if not sights or not wanted:
        return wanted
    columns = _table("endpoint").c
    query = sa.select(columns.name).where(columns.name.in_(wanted), *(_endpoint(columns, one) for one in sights))
    there = set(session.connection().execute(query).scalars())
    return [one for one in wanted if one in there]


def owned(kind: str, teams: frozenset[str] | None = None) -> sa.Select[Any]:
    """Names of the models or endpoints that these teams own; that any team owns, for None."""
    table = _table("ownership").alias()
    query = sa.select(table.c.name).where(table.c.kind == kind)
    return query if teams is None else query.where(table.c.team_id.in_(sorted(teams)))


def _is_there(session: Session, query: sa.Select[Any]) -> bool:
    return session.connection().execute(query.limit(1)).first() is not None


@event.listens_for(Session, "do_orm_execute")
def _filter(state: ORMExecuteState) -> None:
    """Criteria only for the tables that a statement meets, however deep: each costs time in every statement's cache key.

    Listened for once for every session: a listener of each narrowed look would cost that look more than its queries.
    """
    sights: tuple[Sight, ...] = state.session.info.get(_SIGHT, ())
    if not sights or not state.is_select:
        return
    statement: Any = state.statement
    met = {one.name for one in visitors.iterate(statement) if isinstance(one, sa.Table)}
    somebodys = tuple(table for table in tables() if table.__seen_through__ and table.__tablename__ in met)
    if somebodys and not state.is_orm_statement:
        raise UnseenQuery(f"a narrowed look read {sorted(met)} past the ORM")
    if somebodys:
        state.statement = statement.options(*(one for sight in sights for one in _criteria(sight, somebodys)))


@lru_cache(maxsize=1024)
def _criteria(sight: Sight, somebodys: tuple[type[Row], ...]) -> tuple[Any, ...]:
    found = ((table, clause(table, sight)) for table in somebodys)
    return tuple(with_loader_criteria(table, where, include_aliases=True) for table, where in found if where is not None)


def tables() -> tuple[type[Row], ...]:
    """Every table of every room that was imported."""
    found, left = dict[type[Row], None](), list(Row.__subclasses__())
    while left:
        one = left.pop()
        left += one.__subclasses__()
        if hasattr(one, "__table__"):
            found[one] = None
    return tuple(sorted(found, key=lambda one: str(one.__tablename__)))


class _Attributes:
    """A mapped class's attributes by the names of its columns, so that one filter serves entities and plain tables."""

    def __init__(self, table: type[Row]) -> None:
        self._table = table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)


def _table(name: str) -> sa.Table:
    return SQLModel.metadata.tables[name]


def _any(*clauses: Clause | None) -> Clause:
    return sa.or_(sa.false(), *(one for one in clauses if one is not None))


def _endpoint(columns: Any, sight: Sight) -> Clause:
    """In its environments, of its models, or owned by its teams. What no team owns belongs to the team of its model."""
    own = sa.or_(
        columns.name.in_(owned("endpoint", sight.teams)),
        sa.and_(columns.model.in_(owned("model", sight.teams)), columns.name.not_in(owned("endpoint"))),
    )
    return _any(
        columns.environment.in_(sorted(sight.environments)) if sight.environments else None,
        columns.model.in_(sorted(sight.models)) if sight.models else None,
        own if sight.teams else None,
    )


def _named_model(column: Any, sight: Sight) -> Clause:
    """One of its models, owned by its teams, or served at an endpoint that is seen."""
    table = _table("endpoint").alias()
    return _any(
        column.in_(sorted(sight.models)) if sight.models else None,
        column.in_(owned("model", sight.teams)) if sight.teams else None,
        column.in_(sa.select(table.c.model).where(_endpoint(table.c, sight))),
    )


def _model(columns: Any, sight: Sight) -> Clause:
    return _named_model(columns.name, sight)


def _ids(name: str, where: Callable[[Any, Sight], Clause], sight: Sight, column: str = "id") -> sa.Select[Any]:
    table = _table(name).alias()
    return sa.select(table.c[column]).where(where(table.c, sight))


def _of_endpoint(columns: Any, sight: Sight) -> Clause:
    found: Clause = columns.endpoint_id.in_(_ids("endpoint", _endpoint, sight))
    return found


def _of_model(columns: Any, sight: Sight) -> Clause:
    found: Clause = columns.model_id.in_(_ids("model", _model, sight))
    return found


def _of_change(columns: Any, sight: Sight) -> Clause:
    found: Clause = columns.change_id.in_(_ids("change", _of_endpoint, sight))
    return found


def _of_evidence(columns: Any, sight: Sight) -> Clause:
    found: Clause = columns.evidence_id.in_(_ids("evidence", _of_change, sight))
    return found


def _of_series(columns: Any, sight: Sight) -> Clause:
    found: Clause = columns.series_id.in_(_ids("metric_series", _of_endpoint, sight))
    return found


def _of_source(columns: Any, sight: Sight) -> Clause:
    """What a server, a router or an endpoint tells of itself is shown to whoever sees that one."""
    return _any(
        columns.server_id.in_(_ids("endpoint", _endpoint, sight, "server_id")),
        columns.router_id.in_(_ids("endpoint", _endpoint, sight, "router_id")),
        columns.endpoint_id.in_(_ids("endpoint", _endpoint, sight)),
    )


def _server(columns: Any, sight: Sight) -> Clause:
    """A server is seen by whoever sees an endpoint on it."""
    found: Clause = columns.id.in_(_ids("endpoint", _endpoint, sight, "server_id"))
    return found


def _router(columns: Any, sight: Sight) -> Clause:
    table = _table("endpoint").alias()
    ids = sa.select(table.c.router_id).where(table.c.router_id.is_not(None), _endpoint(table.c, sight))
    found: Clause = columns.id.in_(ids)
    return found


def _ledger(columns: Any, sight: Sight) -> Clause:
    """Rows about what is seen, whatever table that is in, and about what belongs to nobody."""
    about = {str(one.__subject__): _subjects(one, sight) for one in tables() if _is_subject(one)}
    about["model"] = about["model_card"] = _ids("model", _model, sight)
    seen = [sa.and_(columns.subject_kind == kind, columns.subject_id.in_(ids)) for kind, ids in sorted(about.items())]
    teams = sa.and_(columns.subject_kind == "team", columns.subject_id.in_(sorted(sight.teams)))
    nobodys = sa.and_(columns.subject_kind.in_(SHOWN_TO_READERS_OF_THE_LEDGER), columns.action != _ONCE_OF_AN_ENVIRONMENT)
    return _any(nobodys, teams, *seen)


def _is_subject(table: type[Row]) -> bool:
    """Whether its rows are spoken of in the ledger by their own id."""
    return bool(table.__governed__ and table.__subject__ and table.__seen_through__) and table.subject is Row.subject


def _subjects(table: type[Row], sight: Sight) -> sa.Select[Any]:
    return _ids(str(table.__tablename__), _THROUGH[table.__seen_through__], sight)


def _endpoint_or_model(columns: Any, sight: Sight) -> Clause:
    """What is at an endpoint is seen with it; what is about a model alone, with that model."""
    at_none = sa.and_(columns.endpoint_id.is_(None), _named_model(columns.model, sight))
    return sa.or_(columns.endpoint_id.in_(_ids("endpoint", _endpoint, sight)), at_none)


def _of_finding(columns: Any, sight: Sight) -> Clause:
    found: Clause = columns.finding_id.in_(_ids("finding", _endpoint_or_model, sight))
    return found


def _of_profile(columns: Any, sight: Sight) -> Clause:
    table = _table("reference_profile").alias()
    found: Clause = columns.profile_id.in_(sa.select(table.c.id).where(_named_model(table.c.model, sight)))
    return found


def _ownership(columns: Any, sight: Sight) -> Clause:
    return _any(columns.team_id.in_(sorted(sight.teams)) if sight.teams else None)


_THROUGH: Mapping[str, Callable[[Any, Sight], Clause]] = {
    "endpoint": _endpoint,
    "model": _model,
    "server": _server,
    "router": _router,
    "ledger": _ledger,
    "ownership": _ownership,
    "endpoint_id": _of_endpoint,
    "model_id": _of_model,
    "series_id": _of_series,
    "metric_source_state": _of_source,
    "change_id": _of_change,
    "evidence_id": _of_evidence,
    "endpoint_or_model": _endpoint_or_model,
    "finding_id": _of_finding,
    "profile_id": _of_profile,
    "model_name": lambda columns, sight: _named_model(columns.model, sight),
}
"""What `Row.__seen_through__` may say: what a table is itself, or the column that leads to what it belongs to."""
