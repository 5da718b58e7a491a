"""Countersign's side of the registry benchmark: `registry/queries.py` on a migrated SQLite. For `benchmarks.children`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlmodel import SQLModel

from backend import migrate
from backend.core.database import Database
from backend.registry import queries
from backend.registry.rows import MirroredAlias, MirroredVersion, Model, Version
from benchmarks.children import Call, per_call
from benchmarks.registry_rows import ALIAS, ModelRow, VersionRow, asked_for, rows

_open: dict[str, Database] = {}


def fill(url: str, models: int, versions: int) -> None:
    """Migrates a new database and writes the registry into its tables, with every version registered."""
    database = _open["*"] = Database(url)
    migrate.upgrade(database)
    made = list(rows(models, versions))
    with database.engine.begin() as connection:
        for table, found in _tables(made):
            connection.execute(table.__table__.insert(), found)  # type: ignore[attr-defined]  # SQLModel adds it


def _tables(made: list[ModelRow]) -> Iterable[tuple[type[SQLModel], list[dict[str, Any]]]]:
    """Rows by table, each a copy of a first one with what differs: making a SQLModel object takes milliseconds."""
    ids = {model.name: f"mdl_{number:026d}" for number, model in enumerate(made)}
    every = [version for model in made for version in model.versions]
    at = every[0].created_at
    model = Model(id="", name="", owner="ana", created_at=at, updated_at=at, mirrored_at=at).model_dump()
    told = MirroredVersion(
        id="", model_id="", number=1, created_at=at, updated_at=at, mirrored_at=at, run_read_at=at
    ).model_dump()
    kept = Version(id="", model_id="", number=1, registered_by="idn_ana", created_at=at, mirrored_at=at).model_dump()
    yield Model, [{**model, **_model(one, ids)} for one in made]
    yield MirroredVersion, [{**told, **_version(one, ids)} for one in every]
    yield Version, [{**kept, **_version(one, ids), **_registered(one)} for one in every]
    yield MirroredAlias, [_alias(one.versions[-1], ids) for one in made]


def _model(model: ModelRow, ids: dict[str, str]) -> dict[str, Any]:
    first, last = model.versions[0].created_at, model.versions[-1].created_at
    return {
        "id": ids[model.name],
        "name": model.name,
        "description": model.description,
        "tags": model.tags,
        "latest_version": len(model.versions),
        "created_at": first,
        "updated_at": last,
        "search": f"{model.name} {model.description}".casefold(),
    }


def _version(version: VersionRow, ids: dict[str, str]) -> dict[str, Any]:
    return {
        "id": f"ver_{version.position:026d}",
        "model_id": ids[version.model],
        "number": version.number,
        "author": version.author,
        "run_id": version.run_id,
        "description": version.description,
        "source": version.source,
        "tags": version.tags,
        "created_at": version.created_at,
    }


def _registered(version: VersionRow) -> dict[str, Any]:
    return {"artifact_digest": f"sha256:{version.run_id * 2}", "registered_at": version.created_at}


def _alias(version: VersionRow, ids: dict[str, str]) -> dict[str, Any]:
    return {"model_id": ids[version.model], "alias": ALIAS, "number": version.number, "seen_at": version.created_at}


def newest_models(times: int, models: int) -> dict[str, Any]:
    """The 100 models that changed last."""
    return _timed(times, lambda _: _names(_read(lambda session: queries.models(session, limit=100))))


def newest_versions(times: int, models: int) -> dict[str, Any]:
    """The 100 newest versions of all models."""
    return _timed(times, lambda _: _numbers(_read(lambda session: queries.newest_versions(session, limit=100))))


def number_by_alias(times: int, models: int) -> dict[str, Any]:
    """The number that an alias points to, of another model each time."""
    return _timed(times, lambda call: _read(lambda session: queries.by_alias(session, asked_for(call, models), ALIAS)))


def version_by_alias(times: int, models: int) -> dict[str, Any]:
    """The whole version that an alias points to, of another model each time."""

    def whole(session: Any, model: str) -> list[Any]:
        page = queries.version(session, model, queries.by_alias(session, model, ALIAS))
        return [page.model, page.told.number, page.told.source, page.told.run_id, page.told.tags, list(page.aliases)]

    return _timed(times, lambda call: _read(lambda session: whole(session, asked_for(call, models))))


def _timed(times: int, work: Any) -> dict[str, Any]:
    answer = work(0)
    return {"cpu": per_call(work, times), "answer": answer}


def _read(query: Any) -> Any:
    with _open["*"].read() as session:
        return query(session)


def _names(lines: queries.Lines[queries.ModelLine]) -> list[str]:
    return [line.name for line in lines.items]


def _numbers(lines: queries.Lines[queries.VersionLine]) -> list[list[Any]]:
    return [[line.model, line.number] for line in lines.items]


CALLS: dict[str, Call] = {
    "fill": fill,
    "newest_models": newest_models,
    "newest_versions": newest_versions,
    "number_by_alias": number_by_alias,
    "version_by_alias": version_by_alias,
}
