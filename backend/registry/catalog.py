"""The list of models: searched, filtered, paged by key, counted. Everything that it filters by has an index, but for words.

What runs where is not known here; a room above hands in the names that it means (`among`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlmodel import Session

from backend.access.visible import also
from backend.registry.keys import read_key, write_key
from backend.registry.pages import Lines, before, bounded, cut, is_removed
from backend.registry.rows import PICKLED, MirroredAlias, MirroredVersion, Model, Version
from backend.registry.signatures import clean

_M: Any = Model.__table__.c  # type: ignore[attr-defined]  # SQLModel adds it; lists select columns, not objects
_V: Any = MirroredVersion.__table__.c  # type: ignore[attr-defined]
_R: Any = Version.__table__.c  # type: ignore[attr-defined]
_A: Any = MirroredAlias.__table__.c  # type: ignore[attr-defined]
Order = Literal["newest", "name"]
Names = sa.Select[Any]
"""A query for names of models, made by a room that knows why."""
_MAX_WORDS = 8
_SHOWN_DESCRIPTION = 300
_MOST_CHOICES = 200


class ModelLine(NamedTuple):
    """A model in a list. `aliases` are (alias, version number), sorted."""

    id: str
    name: str
    description: str
    owner: str
    latest_version: int
    updated_at: datetime
    removed_at: datetime | None
    aliases: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Counts:
    """How many versions of a model the registry has, how many are registered here, and how many of those hold pickled code."""

    told: int = 0
    registered: int = 0
    pickled: int = 0


@dataclass(frozen=True)
class Wanted:
    """What a reader of the list asks for; a filter that is empty is left out.

    Args:
        words: every one is in the name, the description, the owner or the tags (`key=value`).
        alias: models that carry this alias.
        pickled: models with a registered version that holds pickled code.
        removed: models that the registry no longer has, in place of those that it has.
        among: models whose names this query finds.
    """

    words: str = ""
    owner: str = ""
    alias: str = ""
    pickled: bool = False
    removed: bool = False
    among: Names | None = None


def models(
    session: Session,
    *,
    words: str = "",
    owner: str | None = None,
    order: Order = "newest",
    removed: bool = False,
    after: str | None = None,
    limit: int = 100,
) -> Lines[ModelLine]:
    """Models that hold every word in name, description, owner or tags (`key=value`), the latest change first or by name."""
    return page(session, Wanted(words, owner or "", removed=removed), order=order, after=after, limit=limit)


def page(
    session: Session, wanted: Wanted, *, order: Order = "newest", after: str | None = None, limit: int = 100
) -> Lines[ModelLine]:
    """Models that are asked for, the latest change first or by name."""
    size = bounded(limit)
    query = _listed().where(*_holds(wanted), *also(session, Model))
    if order == "name":
        query = query.order_by(_M.name)
        query = query if after is None else query.where(_M.name > read_key(after, str)[0])
    else:
        query = query.order_by(_M.updated_at.desc(), _M.id.desc())
        query = query if after is None else query.where(before(_M.updated_at, _M.id, after))
    rows = session.connection().execute(query.limit(size + 1)).all()
    pointed = aliases_of(session, [row[0] for row in rows])
    lines = [ModelLine._make((*row, tuple(pointed.get(row[0], ())))) for row in rows]
    return cut(lines, size, lambda one: write_key(one.name) if order == "name" else write_key(one.updated_at, one.id))


def one(session: Session, name: str) -> ModelLine | None:
    """One model as the list shows it; None where there is none of that name, or not yet."""
    row = session.connection().execute(_listed().where(_M.name == clean(name), *also(session, Model))).one_or_none()
    if row is None:
        return None
    return ModelLine._make((*row, tuple(aliases_of(session, [row[0]]).get(row[0], ()))))


def count(session: Session, wanted: Wanted) -> int:
    """How many models are asked for, on all pages together."""
    query = sa.select(sa.func.count()).select_from(_M.id.table).where(*_holds(wanted), *also(session, Model))
    return int(session.connection().execute(query).scalar_one())


def counts(session: Session, ids: Sequence[str]) -> dict[str, Counts]:
    """Versions of these models, by model id."""
    told = _counted(session, _V.model_id, ids, _V.removed_at.is_(None))
    registered = _counted(session, _R.model_id, ids)
    pickled = _counted(session, _R.model_id, ids, PICKLED)
    return {one: Counts(told.get(one, 0), registered.get(one, 0), pickled.get(one, 0)) for one in ids}


def owners(session: Session) -> tuple[str, ...]:
    """Owners by name, at most 200: what a filter offers."""
    return _first_distinct(session, _M.owner, _M.owner != "", *also(session, Model))


def alias_names(session: Session) -> tuple[str, ...]:
    """Aliases that some model carries, by name, at most 200."""
    return _first_distinct(session, _A.alias, _A.number.is_not(None), *also(session, MirroredAlias))


def aliases_of(session: Session, model_ids: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """(alias, version number) by model id, sorted by alias."""
    found: dict[str, list[tuple[str, int]]] = {}
    if not model_ids:
        return found
    query = sa.select(_A.model_id, _A.alias, _A.number).where(_A.model_id.in_(model_ids), _A.number.is_not(None))
    for row in session.connection().execute(query.order_by(_A.model_id, _A.alias)):
        found.setdefault(row.model_id, []).append((row.alias, row.number))
    return found


def _listed() -> sa.Select[Any]:
    description = sa.func.substr(_M.description, 1, _SHOWN_DESCRIPTION).label("description")
    return sa.select(_M.id, _M.name, description, _M.owner, _M.latest_version, _M.updated_at, _M.removed_at)


def _holds(wanted: Wanted) -> Iterable[sa.ColumnElement[bool]]:
    yield is_removed(_M.removed_at, wanted.removed)
    for word in clean(wanted.words).casefold().split()[:_MAX_WORDS]:
        yield _M.search.contains(word[:100], autoescape=True)
    if wanted.owner:
        yield _M.owner == clean(wanted.owner)
    if wanted.alias:
        carrying = sa.select(_A.model_id).where(_A.alias == clean(wanted.alias), _A.number.is_not(None))
        yield _M.id.in_(carrying)
    if wanted.pickled:
        yield _M.id.in_(sa.select(_R.model_id).where(PICKLED))
    if wanted.among is not None:
        yield _M.name.in_(wanted.among)


def _counted(session: Session, model_id: Any, ids: Sequence[str], *conditions: Any) -> dict[str, int]:
    query = sa.select(model_id, sa.func.count()).where(model_id.in_(ids), *conditions).group_by(model_id)
    return {str(key): int(number) for key, number in session.connection().execute(query)} if ids else {}


def _first_distinct(session: Session, column: Any, *conditions: Any) -> tuple[str, ...]:
    query = sa.select(column).where(*conditions).distinct().order_by(column).limit(_MOST_CHOICES)
    return tuple(session.connection().execute(query).scalars())
