"""The registry room on a real MLflow server, which stays the one that it is: other models in it belong to other tests."""

from __future__ import annotations

import uuid
from pathlib import Path

import httpx
import pytest

from backend.core.canonical import digest_bytes, digest_tree
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.outbound import Guard
from backend.embedded.mlflow import MlflowServer
from backend.registry import queries
from backend.registry.mlflow import MlflowRegistry
from backend.registry.rules import UPLOAD_TAG
from tests.services.registry.worlds import FILES, SQLITE, World, archive

pytestmark = SQLITE
DIGEST = digest_tree([(path, len(content), digest_bytes(content)) for path, content in FILES.items()])


@pytest.fixture
def world(database: Database, mlflow_server: MlflowServer) -> World:
    return World(database, MlflowRegistry(mlflow_server.url, Guard(["127.0.0.0/8"])))


@pytest.fixture
def model() -> str:
    return f"room-{uuid.uuid4().hex[:10]}"


def log(world: World, model: str, folder: Path) -> int:
    """A version that somebody logs past Countersign."""
    for name, content in FILES.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return world.registry.log_version(model, folder, description="by somebody", tags={"team": "delay"}).number


def call(server: MlflowServer, method: str, path: str, **body: str) -> None:
    """As another client of MLflow."""
    httpx.request(method, f"{server.url}/api/2.0/mlflow/{path}", json=body).raise_for_status()


def test_an_upload_is_registered_and_fetched_byte_for_byte(world: World, model: str, tmp_path: Path) -> None:
    ana = world.act_as("ana")
    row = world.versions.upload(ana, model, archive(tmp_path / "a.zip"), description="by hand")
    assert (row.number, row.artifact_digest, row.author_identity_id) == (1, DIGEST, ana.id)
    assert row.signature is not None
    assert row.input_example == "input_example.json"
    assert world.registry.version(model, 1).tags[UPLOAD_TAG]
    assert world.versions.digest_now(model, 1) == DIGEST
    assert world.versions.fetch(model, 1, tmp_path / "fetched") == DIGEST
    assert (tmp_path / "fetched" / "model.onnx").read_bytes() == FILES["model.onnx"]


def test_a_changed_artifact_is_refused(world: World, mlflow_server: MlflowServer, model: str, tmp_path: Path) -> None:
    """Somebody with access to MLflow's storage changes one byte of a registered version."""
    number = log(world, model, tmp_path / "artifact")
    row = world.versions.register(world.act_as("ana"), model, number)
    assert (row.artifact_digest, row.author_identity_id) == (DIGEST, None)
    (stored,) = (path for path in mlflow_server.artifacts.rglob("model.onnx") if row.run_id in path.parts)
    stored.write_bytes(b"\x08\x09" + FILES["model.onnx"][2:])
    for attempt in (
        lambda: world.versions.register(world.act_as("ana"), model, number),
        lambda: world.versions.fetch(model, number, tmp_path / "fetched"),
    ):
        with pytest.raises(Refusal) as refused:
            attempt()
        assert refused.value.code == "digest-mismatch"
    assert world.versions.digest_now(model, number) != DIGEST


def test_the_mirror_sees_new_versions_and_what_is_deleted(
    world: World, mlflow_server: MlflowServer, model: str, tmp_path: Path
) -> None:
    log(world, model, tmp_path / "artifact")
    world.mirror.mirror_all()
    log(world, model, tmp_path / "artifact")
    call(mlflow_server, "POST", "model-versions/set-tag", name=model, version="1", key="stage", value="tried")
    world.mirror.mirror_all()
    with world.database.read() as session:
        assert [one.number for one in queries.versions(session, model).items] == [2, 1]
        told = queries.version(session, model, 1).told
        assert (told.tags["stage"], told.description) == ("tried", "by somebody")
        assert told.run_read_at is not None
    call(mlflow_server, "DELETE", "model-versions/delete", name=model, version="1")
    assert world.mirror.mirror_model(model).removed == 1
    call(mlflow_server, "DELETE", "registered-models/delete", name=model)
    assert world.mirror.mirror_all().removed == 1
    with world.database.read() as session:
        assert [one.name for one in queries.models(session, removed=True).items] == [model]


def test_an_alias_is_written_read_back_and_found_when_it_is_moved_by_hand(
    world: World, mlflow_server: MlflowServer, model: str, tmp_path: Path
) -> None:
    for _ in range(2):
        log(world, model, tmp_path / "artifact")
    world.mirror.mirror_all()
    model_id = world.want(2, model=model)
    world.mirror.sync_alias(model_id)
    assert world.registry.model(model).aliases == {"production-champion": 2}
    call(mlflow_server, "POST", "registered-models/alias", name=model, alias="production-champion", version="1")
    for _ in range(2):
        world.mirror.mirror_all()
    (drift,) = world.ledger("alias.drift")
    assert drift.after == {"alias": "production-champion", "seen": 1, "wanted": 2}
    claim = world.claim("alias", model_id)
    assert claim is not None
    world.mirror.handle_alias(claim)
    assert world.registry.model(model).aliases == {"production-champion": 2}
    world.mirror.sync_alias(world.want(None, model=model))
    assert world.registry.model(model).aliases == {}
