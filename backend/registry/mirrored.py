"""Joiners that write what the registry told into the mirror's tables: many rows a statement, and only those that changed.

The tables are not governed (docs/decisions/0004), so that they are written past the session; what has to be in the ledger, a
registered version that disappears or comes back, is recorded here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col, select

from backend.core.unit import Unit
from backend.registry.port import ModelFacts, RunFacts, VersionFacts
from backend.registry.rows import MirroredAlias, MirroredVersion, Model, Version
from backend.registry.rules import owner_of, search_text

Key = tuple[str, int]
"""Model id and version number."""

_models: sa.Table = Model.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_versions: sa.Table = MirroredVersion.__table__  # type: ignore[attr-defined]
_aliases: sa.Table = MirroredAlias.__table__  # type: ignore[attr-defined]
_AT_ONCE = 500


def put_models(tx: Unit, facts: Sequence[ModelFacts]) -> tuple[dict[str, str], list[str]]:
    """Writes the models that are new, changed or back, with their aliases. Returns all ids by name, and the names written."""
    told = {one.name: one for one in facts}
    known = {row.name: row for name in _chunks(list(told)) for row in _known_models(tx, name)}
    prints = {name: _model_print(one) for name, one in told.items()}
    stale = [
        one
        for name, one in sorted(told.items())
        if name not in known or known[name].removed_at is not None or known[name].fingerprint != prints[name]
    ]
    ids = {name: known[name].id if name in known else tx.new_id("mdl") for name in told}
    _upsert(tx, _models, ["name"], [_model_values(tx, ids[one.name], one, prints[one.name]) for one in stale])
    if any(one.name not in known for one in stale):
        ids |= {row.name: row.id for names in _chunks(list(told)) for row in _known_models(tx, names)}
    _put_aliases(tx, {ids[one.name]: one.aliases for one in stale})
    return ids, [one.name for one in stale]


def put_versions(tx: Unit, ids: Mapping[str, str], facts: Sequence[VersionFacts]) -> int:
    """Writes the versions that are new, changed or back; their runs are to be read then. Returns how many.

    Args:
        ids: model ids by name; a version of a model that is not in it is left out.
        facts: what the registry told.
    """
    told = {(ids[one.model], one.number): one for one in facts if one.model in ids}
    known = {(row.model_id, row.number): row for keys in _chunks(list(told)) for row in _known_versions(tx, keys)}
    stale = []
    for key, one in sorted(told.items()):
        found, now = known.get(key), _version_print(one)
        if found is None or found.removed_at is not None or found.fingerprint != now:
            stale.append(_version_values(tx, key, one, now))
    _upsert(tx, _versions, ["model_id", "number"], stale)
    _come_back(tx, [key for key, row in known.items() if row.removed_at is not None])
    return len(stale)


def put_run(tx: Unit, key: Key, run: RunFacts | None) -> None:
    """Writes what a version's run says; None when the run is gone, which is not asked again until the version changes."""
    values: dict[str, Any] = {"run_read_at": tx.now}
    if run is not None:
        values |= {"metrics": dict(run.metrics), "params": dict(run.params), "datasets": [dict(one) for one in run.datasets]}
        values |= {"code_version": run.code_version, "mirrored_at": tx.now} | ({"author": run.author} if run.author else {})
    tx.session.connection().execute(sa.update(_versions).where(_is(key)).values(**values))


def put_aliases(tx: Unit, model_id: str, aliases: Mapping[str, int]) -> None:
    """Writes where the aliases of one model point now."""
    _put_aliases(tx, {model_id: aliases})


def remove_model(tx: Unit, model_id: str) -> None:
    """The registry confirmed that it has this model no longer, nor any of its versions. Nothing is deleted."""
    tx.session.connection().execute(sa.update(_models).where(_models.c.id == model_id).values(removed_at=tx.now))
    live = select(MirroredVersion.number).where(MirroredVersion.model_id == model_id, col(MirroredVersion.removed_at).is_(None))
    remove_versions(tx, [(model_id, number) for number in tx.session.exec(live)])
    put_aliases(tx, model_id, {})


def remove_versions(tx: Unit, keys: Sequence[Key]) -> None:
    """The registry confirmed that it has these versions no longer."""
    for key in keys:
        tx.session.connection().execute(sa.update(_versions).where(_is(key)).values(removed_at=tx.now))
    for row in _registered(tx, keys):
        if row.removed_at is None:
            row.removed_at = tx.now
            tx.record("version.removed", row, before={"removed_at": None}, after=row.facts("removed_at"))


def _come_back(tx: Unit, keys: Sequence[Key]) -> None:
    for row in _registered(tx, keys):
        if row.removed_at is not None:
            before, row.removed_at = row.facts("removed_at"), None
            tx.record("version.returned", row, before=before, after={"removed_at": None})


def _registered(tx: Unit, keys: Sequence[Key]) -> Iterable[Version]:
    for some in _chunks(list(keys)):
        yield from tx.session.exec(select(Version).where(sa.tuple_(col(Version.model_id), col(Version.number)).in_(some)))


def _known_models(tx: Unit, names: Sequence[str]) -> Sequence[Any]:
    columns = _models.c
    query = sa.select(columns.name, columns.id, columns.fingerprint, columns.removed_at).where(columns.name.in_(names))
    return tx.session.connection().execute(query).all()


def _known_versions(tx: Unit, keys: Sequence[Key]) -> Sequence[Any]:
    columns = _versions.c
    query = sa.select(columns.model_id, columns.number, columns.fingerprint, columns.removed_at)
    return tx.session.connection().execute(query.where(sa.tuple_(columns.model_id, columns.number).in_(keys))).all()


def _put_aliases(tx: Unit, told: Mapping[str, Mapping[str, int]]) -> None:
    """An alias that moved gets a new time; one that is gone points nowhere."""
    known: dict[tuple[str, str], int | None] = {}
    for ids in _chunks(list(told)):
        query = sa.select(_aliases.c.model_id, _aliases.c.alias, _aliases.c.number).where(_aliases.c.model_id.in_(ids))
        known |= {(model_id, alias): number for model_id, alias, number in tx.session.connection().execute(query)}
    now: dict[tuple[str, str], int | None] = dict.fromkeys(known)
    now |= {(model_id, alias): number for model_id, aliases in told.items() for alias, number in aliases.items()}
    moved = sorted(key for key, number in now.items() if key not in known or known[key] != number)
    rows = [{"model_id": key[0], "alias": key[1], "number": now[key], "seen_at": tx.now} for key in moved]
    _upsert(tx, _aliases, ["model_id", "alias"], rows)


def _model_values(tx: Unit, identifier: str, one: ModelFacts, fingerprint: str) -> dict[str, Any]:
    return {
        "id": identifier,
        "name": one.name,
        "description": one.description,
        "tags": dict(one.tags),
        "owner": owner_of(one.tags),
        "latest_version": one.latest,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "mirrored_at": tx.now,
        "removed_at": None,
        "fingerprint": fingerprint,
        "search": search_text(one.name, one.description, one.tags),
    }


def _version_values(tx: Unit, key: Key, one: VersionFacts, fingerprint: str) -> dict[str, Any]:
    """Without what only its run says: an upsert of a known version keeps that until the run is read again."""
    return {
        "id": tx.new_id("ver"),
        "model_id": key[0],
        "number": one.number,
        "status": one.status,
        "author": one.author,
        "run_id": one.run_id,
        "code_version": "",
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "mirrored_at": tx.now,
        "removed_at": None,
        "run_read_at": None if one.run_id else tx.now,
        "fingerprint": fingerprint,
        "description": one.description,
        "source": one.source,
        "tags": dict(one.tags),
        "metrics": {},
        "params": {},
        "datasets": [],
    }


_KEPT: Mapping[str, frozenset[str]] = {
    "model": frozenset({"id"}),
    "mirrored_version": frozenset({"id", "code_version", "metrics", "params", "datasets"}),
    "mirrored_alias": frozenset(),
}
"""Columns that an upsert leaves as they are where the row exists."""


def _upsert(tx: Unit, table: sa.Table, key: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Sorted by key, as all writers do it, so that two of them never wait for each other in a ring."""
    if not rows:
        return
    insert = postgresql.insert(table) if tx.session.get_bind().dialect.name == "postgresql" else sqlite.insert(table)
    renewed = {name: insert.excluded[name] for name in rows[0] if name not in {*key, *_KEPT[table.name]}}
    statement = insert.on_conflict_do_update(index_elements=list(key), set_=renewed)
    for start in range(0, len(rows), _AT_ONCE):
        tx.session.connection().execute(statement, [dict(row) for row in rows[start : start + _AT_ONCE]])


def _is(key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(_versions.c.model_id == key[0], _versions.c.number == key[1])


def _chunks(keys: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))


def _model_print(one: ModelFacts) -> str:
    return _fingerprint(
        one.created_at.isoformat(), one.updated_at.isoformat(), one.description, dict(one.tags), dict(one.aliases), one.latest
    )


def _version_print(one: VersionFacts) -> str:
    return _fingerprint(
        one.created_at.isoformat(), one.updated_at.isoformat(), one.source, one.run_id, one.status, one.description, one.author,
        dict(one.tags),
    )  # fmt: skip


def _fingerprint(*facts: Any) -> str:
    """16 bytes over the facts; it tells rows of one database apart and proves nothing to anybody."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
