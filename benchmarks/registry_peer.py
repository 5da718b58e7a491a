"""MLflow's side of the registry benchmark: its own `SqlAlchemyStore` on SQLite. For `benchmarks.children`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from mlflow.store.model_registry.dbmodels import models as tables
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

from benchmarks.children import Call, per_call
from benchmarks.registry_rows import ALIAS, ModelRow, VersionRow, asked_for, rows

_open: dict[str, Any] = {}


def fill(url: str, models: int, versions: int) -> None:
    """Has MLflow make its tables, and writes the registry into them."""
    _open["*"] = SqlAlchemyStore(url)  # type: ignore[no-untyped-call]
    made = list(rows(models, versions))
    every = [version for model in made for version in model.versions]
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        _insert(connection, tables.SqlRegisteredModel, [_model(model) for model in made])
        _insert(
            connection, tables.SqlRegisteredModelTag, [_tag(model.name, *tag) for model in made for tag in model.tags.items()]
        )
        _insert(connection, tables.SqlModelVersion, [_version(version) for version in every])
        _insert(
            connection, tables.SqlModelVersionTag, [_version_tag(each, *tag) for each in every for tag in each.tags.items()]
        )
        _insert(connection, tables.SqlRegisteredModelAlias, [_alias(model) for model in made])
    engine.dispose()


def newest_models(times: int, models: int) -> dict[str, Any]:
    """The 100 models that changed last."""
    order = ["last_updated_timestamp DESC"]
    search = _open["*"].search_registered_models
    return _timed(times, lambda _: [one.name for one in search(max_results=100, order_by=order)])


def newest_versions(times: int, models: int) -> dict[str, Any]:
    """The 100 newest versions of all models."""
    order = ["creation_timestamp DESC"]
    search = _open["*"].search_model_versions
    return _timed(times, lambda _: [[one.name, one.version] for one in search(max_results=100, order_by=order)])


def version_by_alias(times: int, models: int) -> dict[str, Any]:
    """The whole version that an alias points to, of another model each time."""

    def whole(call: int) -> list[Any]:
        one = _open["*"].get_model_version_by_alias(asked_for(call, models), ALIAS)
        return [one.name, one.version, one.source, one.run_id, one.tags, list(one.aliases)]

    return _timed(times, whole)


def _timed(times: int, work: Callable[[int], Any]) -> dict[str, Any]:
    answer = work(0)
    return {"cpu": per_call(work, times), "answer": answer}


def _insert(connection: sa.Connection, table: Any, found: list[dict[str, Any]]) -> None:
    connection.execute(table.__table__.insert(), found)


def _model(model: ModelRow) -> dict[str, Any]:
    first, last = (_millis(version) for version in (model.versions[0], model.versions[-1]))
    return {"name": model.name, "creation_time": first, "last_updated_time": last, "description": model.description}


def _tag(name: str, key: str, value: str) -> dict[str, Any]:
    return {"name": name, "key": key, "value": value}


def _version(version: VersionRow) -> dict[str, Any]:
    at = _millis(version)
    return {
        "name": version.model, "version": version.number, "creation_time": at, "last_updated_time": at,
        "description": version.description, "user_id": version.author, "current_stage": "None", "source": version.source,
        "run_id": version.run_id, "status": "READY",
    }  # fmt: skip


def _version_tag(version: VersionRow, key: str, value: str) -> dict[str, Any]:
    return {"name": version.model, "version": version.number, "key": key, "value": value}


def _alias(model: ModelRow) -> dict[str, Any]:
    return {"name": model.name, "alias": ALIAS, "version": model.versions[-1].number}


def _millis(version: VersionRow) -> int:
    return int(version.created_at.timestamp() * 1000)


CALLS: dict[str, Call] = {
    "fill": fill,
    "newest_models": newest_models,
    "newest_versions": newest_versions,
    "version_by_alias": version_by_alias,
    "number_by_alias": version_by_alias,  # there is no shorter question
}
