"""Packaging: stored, recorded and in the ledger exactly once, and nothing half done, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest
from sqlmodel import select

from backend.core.canonical import canonical, digest_tree, tree_files
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.ledger import LedgerRow, first_break
from backend.delivery import packaging as packaging_module
from backend.delivery.packages import MANIFEST, read_manifest
from backend.delivery.packaging import Packaging
from backend.delivery.rows import Package
from backend.delivery.store import PackageStore
from tests.models import add_model, write_package
from tests.packages import triton_package, write_artifact

PROBE = ({"x": [1.0, 2.0]}, {"y": [2.0, 3.0]})


@pytest.fixture
def store(tmp_path: Path) -> PackageStore:
    return PackageStore((tmp_path / "store").as_uri(), tmp_path / "cache")


@pytest.fixture
def packaging(database: Database, store: PackageStore) -> Packaging:
    return Packaging(database, store)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write_artifact(tmp_path / "artifact", add_model(), [PROBE])


def digest_of(folder: Path) -> str:
    return digest_tree(tree_files(folder))


def packages(database: Database) -> list[Package]:
    with database.read() as session:
        return list(session.exec(select(Package)))


def ledger(database: Database) -> list[LedgerRow]:
    with database.read() as session:
        rows = list(session.exec(select(LedgerRow).order_by(LedgerRow.seq)))  # type: ignore[arg-type]
    assert first_break(rows)[0] is None
    return rows


def stored_files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_a_package_is_stored_recorded_and_in_the_ledger(
    packaging: Packaging, store: PackageStore, database: Database, artifact: Path
) -> None:
    row = packaging.build(SYSTEM, artifact, digest_of(artifact), "triton")
    assert store.verify(row.id)
    manifest = read_manifest(store.local(row.id))
    assert (row.packager, row.target, row.artifact_digest) == ("onnx-triton@1", "triton", digest_of(artifact))
    assert row.interface_digest == manifest.interface_digest
    assert row.files == [list(file) for file in store.files(row.id)]
    assert row.size == sum(file.size for file in store.files(row.id))
    assert manifest.probes is not None
    assert row.probes == {"digest": manifest.probes.digest, "count": 1}
    assert packages(database) == [row]
    (entry,) = ledger(database)
    assert (entry.action, entry.subject_kind, entry.subject_id) == ("package.store", "package", row.id)
    assert json.loads(entry.after_json)["runs_code"] is False


def test_building_again_gives_the_same_and_records_nothing(packaging: Packaging, database: Database, artifact: Path) -> None:
    first = packaging.build(SYSTEM, artifact, digest_of(artifact), "triton")
    assert packaging.build(SYSTEM, artifact, digest_of(artifact), "triton") == first
    assert (len(packages(database)), len(ledger(database))) == (1, 1)


def test_one_artifact_has_a_package_for_each_kind_of_server(packaging: Packaging, database: Database, artifact: Path) -> None:
    digest = digest_of(artifact)
    with database.read() as session:
        assert packaging.find(session, digest, "triton") is None
    made = {kind: packaging.build(SYSTEM, artifact, digest, kind) for kind in ("triton", "memory")}
    with database.read() as session:
        assert {kind: packaging.find(session, digest, kind) for kind in made} == made
        assert packaging.find(session, "sha256:" + "0" * 64, "triton") is None


def test_a_package_of_an_older_packager_is_not_found(
    packaging: Packaging, database: Database, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays where it is used; what is packaged anew is packaged as it is done today."""
    packaging.build(SYSTEM, artifact, digest_of(artifact), "triton")
    monkeypatch.setattr("backend.delivery.packagers.onnx_triton.OnnxTritonPackager.kind", "onnx-triton@2")
    with database.read() as session:
        assert packaging.find(session, digest_of(artifact), "triton") is None


def test_what_was_taken_over_from_a_server_is_nobody_elses_package(
    packaging: Packaging, database: Database, artifact: Path, tmp_path: Path
) -> None:
    """Its manifest may claim any artifact, so that it is never found for a version; made here, the same bytes are."""
    forged = triton_package(tmp_path / "made").path
    manifest = {
        **json.loads((forged / MANIFEST).read_text()),
        "artifact_digest": digest_of(artifact),
        "packager": "onnx-triton@1",
    }
    (forged / MANIFEST).write_bytes(canonical(manifest))
    kept = packaging.keep(SYSTEM, forged)
    assert (kept.built, kept.artifact_digest) == (False, digest_of(artifact))
    with database.read() as session:
        assert packaging.find(session, digest_of(artifact), "triton") is None
    made = packaging.build(SYSTEM, artifact, digest_of(artifact), "triton")
    with database.read() as session:
        assert packaging.find(session, digest_of(artifact), "triton") == made


def test_what_was_taken_over_counts_once_it_was_made_here_too(
    packaging: Packaging, store: PackageStore, database: Database, artifact: Path, tmp_path: Path
) -> None:
    other = Packaging(database, store)
    folder = tmp_path / "copied"
    shutil.copytree(store.local(packaging.build(SYSTEM, artifact, digest_of(artifact), "triton").id), folder)
    with database.unit(SYSTEM) as tx:
        row = tx.session.exec(select(Package)).one()
        tx.session.delete(row)
        tx.record("package.test", row)
    assert not other.keep(SYSTEM, folder).built
    assert other.build(SYSTEM, artifact, digest_of(artifact), "triton").built
    with database.read() as session:
        assert packaging.find(session, digest_of(artifact), "triton") is not None


def test_an_artifact_that_is_not_the_registered_one_is_refused(
    packaging: Packaging, database: Database, artifact: Path, tmp_path: Path
) -> None:
    registered = digest_of(artifact)
    (artifact / "more.txt").write_text("one file more")
    with pytest.raises(Refusal) as refused:
        packaging.build(SYSTEM, artifact, registered, "triton")
    assert refused.value.code == "digest-mismatch"
    assert (packages(database), ledger(database), stored_files(tmp_path)) == ([], [], [])


def test_what_cannot_be_packaged_leaves_nothing(
    packaging: Packaging, database: Database, artifact: Path, tmp_path: Path
) -> None:
    (artifact / "model.onnx").write_bytes(b"not a graph")
    for target, code in (("triton", "bad-onnx"), ("unknown", "unknown-target")):
        with pytest.raises(Refusal) as refused:
            packaging.build(SYSTEM, artifact, digest_of(artifact), target)
        assert refused.value.code == code
    assert (packages(database), ledger(database), stored_files(tmp_path)) == ([], [], [])


def test_a_crash_between_the_store_and_the_row_is_mended_by_the_next_attempt(
    packaging: Packaging, database: Database, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(packaging_module, "_record", crash)
    with pytest.raises(KeyboardInterrupt):
        packaging.build(SYSTEM, artifact, digest_of(artifact), "triton")
    assert (packages(database), ledger(database)) == ([], [])
    assert stored_files(tmp_path) != []
    monkeypatch.undo()
    row = packaging.build(SYSTEM, artifact, digest_of(artifact), "triton")
    assert (packages(database), len(ledger(database))) == ([row], 1)


def test_nothing_is_built_inside_a_unit_of_work(packaging: Packaging, database: Database, artifact: Path) -> None:
    with database.unit(SYSTEM), pytest.raises(RuntimeError):
        packaging.build(SYSTEM, artifact, digest_of(artifact), "triton")
    with database.unit(SYSTEM), pytest.raises(RuntimeError):
        packaging.keep(SYSTEM, artifact)


def test_many_at_once_record_one_package(
    real_time_database: Database, store: PackageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them have seen that there is no row before the first one writes it, where the database allows that."""
    package = triton_package(tmp_path / "made").path
    packaging = Packaging(real_time_database, store)
    together = threading.Barrier(4)
    slow = packaging_module._record

    def wait_for_the_others(*args: object, built: bool) -> Package:
        if not real_time_database.is_sqlite:  # its one writer at a time lets nobody else come so far
            together.wait(timeout=30)
        return slow(*args, built=built)  # type: ignore[arg-type]

    monkeypatch.setattr(packaging_module, "_record", wait_for_the_others)
    found: list[Package] = []
    threads = [threading.Thread(target=lambda: found.append(packaging.keep(SYSTEM, package))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.id for row in found] == [digest_of(package)] * 4
    assert (len(packages(real_time_database)), len(ledger(real_time_database))) == (1, 1)


# -- adoption


def test_a_folder_that_is_a_package_is_kept_as_it_is(
    packaging: Packaging, database: Database, store: PackageStore, tmp_path: Path
) -> None:
    for package in (triton_package(tmp_path / "triton"), write_package(tmp_path / "memory")):
        row = packaging.keep(SYSTEM, package.path)
        assert row.id == package.digest
        assert row.artifact_digest == read_manifest(package.path).artifact_digest
        assert store.verify(row.id)
        assert packaging.keep(SYSTEM, package.path) == row
    assert (len(packages(database)), len(ledger(database))) == (2, 2)


def test_a_forged_package_is_not_kept(packaging: Packaging, database: Database, tmp_path: Path) -> None:
    package = triton_package(tmp_path / "made").path
    (package / "model.py").write_text("import os")
    said = json.loads((package / MANIFEST).read_bytes())
    assert said["runs_code"] is False
    with pytest.raises(Refusal) as refused:
        packaging.keep(SYSTEM, package)
    assert refused.value.code == "bad-package"
    assert (packages(database), ledger(database), stored_files(tmp_path)) == ([], [], [])
