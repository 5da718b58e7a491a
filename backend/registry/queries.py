"""Reads of models and versions, each shaped for one screen and paged by key: a page costs the same at the end as at the start.

Lists select the few columns that they show; the long ones (tags, metrics, files) are read for one version at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.core.errors import NotFound, Refusal
from backend.registry.keys import read_key, write_key
from backend.registry.rows import Alias, MirroredAlias, MirroredVersion, MirrorState, Model, Version
from backend.registry.signatures import clean

T = TypeVar("T")
_M: Any = Model.__table__.c  # type: ignore[attr-defined]  # SQLModel adds it; lists select columns, not objects
_V: Any = MirroredVersion.__table__.c  # type: ignore[attr-defined]
_R: Any = Version.__table__.c  # type: ignore[attr-defined]
_A: Any = MirroredAlias.__table__.c  # type: ignore[attr-defined]
Order = Literal["newest", "name"]
MAX_PAGE = 500
_MAX_WORDS = 8
_SHOWN_DESCRIPTION = 300


@dataclass(frozen=True)
class Lines(Generic[T]):
    """One page of a list. `after` asks for the next page; None at the end."""

    items: tuple[T, ...]
    after: str | None


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


class VersionLine(NamedTuple):
    """A version in a list. `artifact_digest` is None while it is not registered; `is_verified` speaks of the author."""

    id: str
    model: str
    number: int
    status: str
    author: str
    is_verified: bool
    created_at: datetime
    removed_at: datetime | None
    registered_at: datetime | None
    registered_by: str | None
    artifact_digest: str | None
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class AliasLine:
    """Where an alias points, and, for one that is ours, where it is wanted since when."""

    alias: str
    number: int | None
    is_ours: bool
    wanted: int | None = None
    wanted_since: datetime | None = None


@dataclass(frozen=True)
class VersionPage:
    """One version whole: as the registry tells it now, and as it was registered, if it was.

    `changed_since` names what the registry tells otherwise than at registration.
    """

    model: str
    told: MirroredVersion
    registered: Version | None
    aliases: tuple[str, ...]
    changed_since: tuple[str, ...]


@dataclass(frozen=True)
class Freshness:
    """When everything was last read whole; None when that has not happened yet."""

    completed_at: datetime | None
    seconds: float = 0.0
    models: int = 0
    versions: int = 0
    runs_left: int = 0


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
    size = _bounded(limit)
    query = _model_lines().where(*_holds(words), _is_removed(_M.removed_at, removed))
    if owner is not None:
        query = query.where(_M.owner == clean(owner))
    if order == "name":
        query = query.order_by(_M.name)
        query = query if after is None else query.where(_M.name > read_key(after, str)[0])
    else:
        query = query.order_by(_M.updated_at.desc(), _M.id.desc())
        query = query if after is None else query.where(_before(_M.updated_at, _M.id, after))
    rows = session.connection().execute(query.limit(size + 1)).all()
    pointed = _aliases_of(session, [row[0] for row in rows])
    lines = [ModelLine._make((*row, tuple(pointed.get(row[0], ())))) for row in rows]
    return _page(lines, size, lambda one: write_key(one.name) if order == "name" else write_key(one.updated_at, one.id))


def versions(session: Session, model: str, *, after: str | None = None, limit: int = 100) -> Lines[VersionLine]:
    """Versions of one model, the highest number first, removed ones included."""
    size = _bounded(limit)
    query = _version_lines().where(_V.model_id == _model_id(session, model)).order_by(_V.number.desc())
    if after is not None:
        query = query.where(_V.number < read_key(after, int)[0])
    return _page(_read_lines(session, query.limit(size + 1)), size, lambda one: write_key(one.number))


def newest_versions(
    session: Session, *, registered: bool = False, after: str | None = None, limit: int = 100
) -> Lines[VersionLine]:
    """The newest versions of all models that the registry still has; of those that were registered only, on request."""
    size = _bounded(limit)
    moment, identifier = (_R.created_at, _R.id) if registered else (_V.created_at, _V.id)
    query = _version_lines(registered=registered).where(_is_removed(_V.removed_at, False))
    if after is not None:
        query = query.where(_before(moment, identifier, after))
    query = query.order_by(moment.desc(), identifier.desc())
    return _page(_read_lines(session, query.limit(size + 1)), size, lambda one: write_key(one.created_at, one.id))


def version(session: Session, model: str, number: int) -> VersionPage:
    """One version whole. NotFound."""
    query = select(MirroredVersion, Version).outerjoin(Version, col(Version.id) == MirroredVersion.id)
    query = query.where(MirroredVersion.model_id == _model_id(session, model), MirroredVersion.number == number)
    found = session.exec(query).one_or_none()
    if found is None:
        raise NotFound("version", f"{model} {number}", "Check its number, or wait for the next look at the registry.")
    told, kept = found
    pointed = _pointing(session, [(told.model_id, told.number)])
    return VersionPage(model, told, kept, pointed.get((told.model_id, told.number), ()), _changed(told, kept))


def aliases(session: Session, model: str) -> tuple[AliasLine, ...]:
    """A model's aliases as they are, and those of ours that are wanted, by name."""
    identifier = _model_id(session, model)
    query = select(MirroredAlias.alias, MirroredAlias.number).where(MirroredAlias.model_id == identifier)
    seen = dict(session.exec(query).all())
    ours = {row.alias: row for row in session.exec(select(Alias).where(Alias.model_id == identifier))}
    names = sorted(ours.keys() | {alias for alias, number in seen.items() if number is not None})
    return tuple(_alias_line(name, seen.get(name), ours.get(name)) for name in names)


def by_alias(session: Session, model: str, alias: str) -> int:
    """The number of the version that an alias of a model points to. NotFound."""
    query = (
        select(MirroredAlias.number)
        .join(Model)
        .where(Model.name == clean(model), MirroredAlias.alias == clean(alias), col(MirroredAlias.number).is_not(None))
    )
    found = session.exec(query).one_or_none()
    if found is None:
        raise NotFound("alias", f"{model}@{alias}")
    return found


def registered(session: Session, model: str, number: int) -> Version:
    """A version as it was registered. Refusal `not-registered` for one that nobody registered."""
    query = select(Version).join(Model).where(Model.name == clean(model), Version.number == number)
    found = session.exec(query).one_or_none()
    if found is None:
        raise Refusal(
            f"Version {number} of {model} is not registered with Countersign.",
            "Register it first: its bytes have to be known before anybody can approve them.",
            code="not-registered",
            model=model,
            number=number,
        )
    return found


def freshness(session: Session) -> Freshness:
    """How old the lists are."""
    row = session.get(MirrorState, "*")
    if row is None:
        return Freshness(None)
    return Freshness(row.completed_at, row.seconds, row.models, row.versions, row.runs_left)


def _model_lines() -> sa.Select[Any]:
    description = sa.func.substr(_M.description, 1, _SHOWN_DESCRIPTION).label("description")
    return sa.select(_M.id, _M.name, description, _M.owner, _M.latest_version, _M.updated_at, _M.removed_at)


def _version_lines(*, registered: bool = False) -> sa.Select[Any]:
    """The model's id, then the columns of a VersionLine but for the aliases."""
    told = (_V.model_id, _V.id, _M.name, _V.number, _V.status, _V.author)
    kept = (_R.author_identity_id.is_not(None), _V.created_at, _V.removed_at)
    registration = (_R.registered_at, _R.registered_by, _R.artifact_digest)
    models = sa.join(_V.id.table, _M.id.table, _M.id == _V.model_id)
    joined = sa.join(models, _R.id.table, _R.id == _V.id, isouter=not registered)
    return sa.select(*told, *kept, *registration).select_from(joined)


def _read_lines(session: Session, query: sa.Select[Any]) -> list[VersionLine]:
    rows = session.connection().execute(query).all()
    pointed = _pointing(session, [(row[0], row[3]) for row in rows])
    return [VersionLine._make((*line, pointed.get((model_id, line[2]), ()))) for model_id, *line in rows]


def _pointing(session: Session, keys: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], tuple[str, ...]]:
    """Aliases by the version they point to."""
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    for model_id, pairs in _aliases_of(session, sorted({model_id for model_id, _ in keys})).items():
        for alias, number in pairs:
            found[model_id, number] = (*found.get((model_id, number), ()), alias)
    return found


def _aliases_of(session: Session, model_ids: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    query = sa.select(_A.model_id, _A.alias, _A.number).order_by(_A.model_id, _A.alias)
    found: dict[str, list[tuple[str, int]]] = {}
    for row in (
        session.connection().execute(query.where(_A.model_id.in_(model_ids), _A.number.is_not(None))) if model_ids else ()
    ):
        found.setdefault(row.model_id, []).append((row.alias, row.number))
    return found


def _alias_line(name: str, number: int | None, ours: Alias | None) -> AliasLine:
    if ours is None or (ours.wanted is None and ours.written_at is not None):
        return AliasLine(name, number, is_ours=False)
    return AliasLine(name, number, True, ours.wanted, ours.wanted_since)


def _changed(told: MirroredVersion, kept: Version | None) -> tuple[str, ...]:
    names = ("source", "run_id", "description", "tags", "metrics", "params", "datasets", "code_version")
    return () if kept is None else tuple(name for name in names if getattr(told, name) != getattr(kept, name))


def _holds(words: str) -> Iterable[sa.ColumnElement[bool]]:
    for word in clean(words).casefold().split()[:_MAX_WORDS]:
        yield _M.search.contains(word[:100], autoescape=True)


def _is_removed(column: Any, removed: bool) -> sa.ColumnElement[bool]:
    expression: sa.ColumnElement[bool] = column.is_not(None) if removed else column.is_(None)
    return expression


def _before(moment: Any, identifier: Any, after: str) -> sa.ColumnElement[bool]:
    """Rows after a key in an order of descending (moment, id)."""
    at, last = read_key(after, datetime, str)
    expression: sa.ColumnElement[bool] = sa.tuple_(moment, identifier) < sa.tuple_(
        sa.literal(at, moment.type), sa.literal(last)
    )
    return expression


def _bounded(limit: int) -> int:
    return max(1, min(limit, MAX_PAGE))


def _page(lines: list[T], size: int, key: Any) -> Lines[T]:
    return Lines(tuple(lines[:size]), key(lines[size - 1]) if len(lines) > size else None)


def _model_id(session: Session, model: str) -> str:
    found = session.exec(select(Model.id).where(Model.name == clean(model))).one_or_none()
    if found is None:
        raise NotFound("model", model)
    return found
