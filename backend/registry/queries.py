"""Reads of models and versions, each shaped for one screen and paged by key: a page costs the same at the end as at the start.

Lists select the few columns that they show; the long ones (tags, metrics, files) are read for one version at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access.rows import Identity
from backend.access.visible import also
from backend.core.errors import NotFound, Refusal
from backend.core.fixed import Fixed
from backend.registry.catalog import ModelLine, Order, aliases_of, models
from backend.registry.keys import read_key, write_key
from backend.registry.pages import MAX_PAGE, Lines, before, bounded, cut, is_removed
from backend.registry.rows import PICKLED, Alias, MirroredAlias, MirroredVersion, MirrorState, Model, Version
from backend.registry.signatures import clean

__all__ = [
    "MAX_PAGE",
    "AliasLine",
    "Freshness",
    "Lines",
    "ModelLine",
    "Order",
    "VersionLine",
    "VersionPage",
    "aliases",
    "by_alias",
    "freshness",
    "models",
    "newest_versions",
    "numbers",
    "registered",
    "version",
    "versions",
]

_M: Any = Model.__table__.c  # type: ignore[attr-defined]  # SQLModel adds it; lists select columns, not objects
_V: Any = MirroredVersion.__table__.c  # type: ignore[attr-defined]
_I: Any = Identity.__table__.c  # type: ignore[attr-defined]
_R: Any = Version.__table__.c  # type: ignore[attr-defined]
_S: Any = MirrorState.__table__.c  # type: ignore[attr-defined]
_FRESHNESS = Fixed(
    sa.select(_S.completed_at, _S.seconds, _S.models, _S.versions, _S.runs_left).where(_S.id == sa.bindparam("state"))
)


class VersionLine(NamedTuple):
    """A version in a list. `artifact_digest` is None while it is not registered; `author` is who was
    verified, else whom the registry claims; `is_pickled` speaks of the files that were registered.
    """

    id: str
    model: str
    number: int
    status: str
    author: str
    is_verified: bool
    is_pickled: bool
    created_at: datetime
    removed_at: datetime | None
    registered_at: datetime | None
    registered_by: str | None
    artifact_digest: str | None
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class AliasLine:
    """Where an alias points, and, for one that is ours, where it is wanted since when and whether that was written yet."""

    alias: str
    number: int | None
    is_ours: bool
    wanted: int | None = None
    wanted_since: datetime | None = None
    is_written: bool = False

    @property
    def is_moved(self) -> bool:
        """Whether somebody else moved an alias of ours after it was written."""
        return self.is_ours and self.is_written and self.number != self.wanted


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


def versions(session: Session, model: str, *, after: str | None = None, limit: int = 100) -> Lines[VersionLine]:
    """Versions of one model, the highest number first, removed ones included."""
    size = bounded(limit)
    query = _version_lines().where(_V.model_id == model_id(session, model)).order_by(_V.number.desc())
    if after is not None:
        query = query.where(_V.number < read_key(after, int)[0])
    return cut(_read_lines(session, query.limit(size + 1)), size, lambda one: write_key(one.number))


def newest_versions(
    session: Session, *, registered: bool = False, after: str | None = None, limit: int = 100
) -> Lines[VersionLine]:
    """The newest versions of all models that the registry still has; of those that were registered only, on request."""
    size = bounded(limit)
    moment, identifier = (_R.created_at, _R.id) if registered else (_V.created_at, _V.id)
    query = _version_lines(registered=registered).where(is_removed(_V.removed_at, False), *also(session, MirroredVersion))
    if after is not None:
        query = query.where(before(moment, identifier, after))
    query = query.order_by(moment.desc(), identifier.desc())
    return cut(_read_lines(session, query.limit(size + 1)), size, lambda one: write_key(one.created_at, one.id))


def version(session: Session, model: str, number: int) -> VersionPage:
    """One version whole. NotFound."""
    query = select(MirroredVersion, Version).outerjoin(Version, col(Version.id) == MirroredVersion.id)
    query = query.where(MirroredVersion.model_id == model_id(session, model), MirroredVersion.number == number)
    found = session.exec(query).one_or_none()
    if found is None:
        raise NotFound("version", f"{model} {number}", "Check its number, or wait for the next look at the registry.")
    told, kept = found
    pointed = _pointing(session, [(told.model_id, told.number)])
    return VersionPage(model, told, kept, pointed.get((told.model_id, told.number), ()), _changed(told, kept))


def numbers(session: Session, model: str, *, limit: int = 1_000) -> tuple[tuple[int, bool], ...]:
    """(number, whether it is registered) of a model's versions that the registry still has, the highest first."""
    joined = sa.join(_V.id.table, _R.id.table, _R.id == _V.id, isouter=True)
    query = sa.select(_V.number, _R.id.is_not(None)).select_from(joined)
    query = query.where(_V.model_id == model_id(session, model), _V.removed_at.is_(None))
    return tuple((row[0], bool(row[1])) for row in session.connection().execute(query.order_by(_V.number.desc()).limit(limit)))


def aliases(session: Session, model: str) -> tuple[AliasLine, ...]:
    """A model's aliases as they are, and those of ours that are wanted, by name."""
    identifier = model_id(session, model)
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
    rows = _FRESHNESS.of(session, state="*")
    return Freshness(*rows[0]) if rows else Freshness(None)


def _version_lines(*, registered: bool = False) -> sa.Select[Any]:
    """The model's id, then the columns of a VersionLine but for the aliases."""
    author = sa.func.coalesce(sa.func.nullif(_I.display_name, ""), _I.name, _V.author).label("author")
    told = (_V.model_id, _V.id, _M.name, _V.number, _V.status, author)
    pickled = sa.func.coalesce(sa.literal_column(PICKLED.text, sa.Boolean()), sa.false())
    kept = (_R.author_identity_id.is_not(None), pickled, _V.created_at, _V.removed_at)
    registration = (_R.registered_at, _R.registered_by, _R.artifact_digest)
    models = sa.join(_V.id.table, _M.id.table, _M.id == _V.model_id)
    joined = sa.join(models, _R.id.table, _R.id == _V.id, isouter=not registered)
    joined = sa.join(joined, _I.id.table, _I.id == _R.author_identity_id, isouter=True)
    return sa.select(*told, *kept, *registration).select_from(joined)


def _read_lines(session: Session, query: sa.Select[Any]) -> list[VersionLine]:
    rows = session.connection().execute(query).all()
    pointed = _pointing(session, [(row[0], row[3]) for row in rows])
    return [VersionLine._make((*line, pointed.get((model_id, line[2]), ()))) for model_id, *line in rows]


def _pointing(session: Session, keys: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], tuple[str, ...]]:
    """Aliases by the version they point to."""
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    for model_id, pairs in aliases_of(session, sorted({model_id for model_id, _ in keys})).items():
        for alias, number in pairs:
            found[model_id, number] = (*found.get((model_id, number), ()), alias)
    return found


def _alias_line(name: str, number: int | None, ours: Alias | None) -> AliasLine:
    if ours is None or (ours.wanted is None and ours.written_at is not None):
        return AliasLine(name, number, is_ours=False)
    return AliasLine(name, number, True, ours.wanted, ours.wanted_since, ours.written_at is not None)


def _changed(told: MirroredVersion, kept: Version | None) -> tuple[str, ...]:
    names = ("source", "run_id", "description", "tags", "metrics", "params", "datasets", "code_version")
    return () if kept is None else tuple(name for name in names if getattr(told, name) != getattr(kept, name))


def model_id(session: Session, model: str) -> str:
    """The id of a model that is there, and seen. NotFound."""
    found = session.exec(select(Model.id).where(Model.name == clean(model))).one_or_none()
    if found is None:
        raise NotFound("model", model)
    return found
