"""Packaging: from a registered version's artifact to a stored package with its row, once, however often it is asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import Raced, Refusal
from backend.core.unit import Unit, assert_outside_unit
from backend.delivery.packagers.check import check_package
from backend.delivery.packagers.names import choose, packagers_for
from backend.delivery.packages import Manifest, read_manifest
from backend.delivery.rows import Package
from backend.delivery.store import PackageStore


class Packaging:
    """Builds, stores and records packages. All building and hashing is done outside the unit of work.

    What a crash leaves is a package in the store without a row, which nothing names and the next attempt finds again.
    """

    def __init__(self, database: Database, store: PackageStore) -> None:
        self._database = database
        self._store = store

    def find(self, session: Session, artifact_digest: str, target: str) -> Package | None:
        """The newest package that was made here of an artifact, by a packager as it is today; None when there is none.

        A package that was taken over from a server does not count: its manifest may claim any artifact.
        """
        packagers = [packager.kind for packager in packagers_for(target)]
        query = (
            select(Package)
            .where(
                Package.artifact_digest == artifact_digest,
                Package.target == target,
                col(Package.packager).in_(packagers),
                col(Package.built),
            )
            .order_by(col(Package.created_at).desc(), col(Package.id))
        )
        return session.exec(query).first()

    def build(self, actor: Actor, artifact: Path, artifact_digest: str, target: str) -> Package:
        """Packages an artifact folder for a kind of server, stores the package and records it.

        Building again gives the same package and records nothing. Refusal when nothing can package the artifact, or when the
        folder does not hash to `artifact_digest`.
        """
        assert_outside_unit("packaging")
        packager = choose(artifact, target)
        with tempfile.TemporaryDirectory(prefix="countersign-package-") as folder:
            package = Path(folder)
            packager.build(artifact, package)
            manifest = read_manifest(package)
            if manifest.artifact_digest != artifact_digest:
                raise _other_artifact(artifact_digest, manifest.artifact_digest)
            return self._recorded(actor, manifest, self._store.put(package), built=True)

    def keep(self, actor: Actor, package_folder: Path) -> Package:
        """Stores a folder that already is a package (adoption) and records it.

        Refusal `bad-package` when its manifest claims what its files do not show.
        """
        assert_outside_unit("storing a package")
        check_package(package_folder)
        digest = self._store.put(package_folder)
        # The folder is somebody else's until it is stored: what counts is what was stored.
        return self._recorded(actor, check_package(self._store.local(digest)), digest, built=False)

    def _recorded(self, actor: Actor, manifest: Manifest, digest: str, *, built: bool) -> Package:
        """The row, written once; of two who store one package at once the second finds the first one's."""
        files: list[list[Any]] = [list(file) for file in self._store.files(digest)]
        try:
            return self._written(actor, manifest, digest, files, built=built)
        except Raced:
            return self._written(actor, manifest, digest, files, built=built)

    def _written(self, actor: Actor, manifest: Manifest, digest: str, files: list[list[Any]], *, built: bool) -> Package:
        with self._database.unit(actor) as tx:
            row = tx.session.get(Package, digest, with_for_update=True)
            if row is None:
                return _record(tx, manifest, digest, files, built=built)
            if built and not row.built:  # it was taken over before: now it is known what it is made of
                row.built = True
                tx.record("package.build", row, before={"built": False}, after=row.facts("artifact_digest", "built"))
            return row


def _record(tx: Unit, manifest: Manifest, digest: str, files: list[list[Any]], *, built: bool) -> Package:
    row = Package(
        id=digest,
        built=built,
        packager=manifest.packager,
        target=manifest.target,
        artifact_digest=manifest.artifact_digest,
        interface_digest=manifest.interface_digest,
        files=files,
        size=sum(size for _, size, _ in files),
        probes=manifest.probes.model_dump(mode="json") if manifest.probes else None,
        created_at=tx.now,
    )
    facts = row.facts("packager", "target", "artifact_digest", "interface_digest", "size", "built")
    tx.record("package.store", tx.add(row), after={**facts, "runs_code": manifest.runs_code})
    return row


def _other_artifact(wanted: str, found: str) -> Refusal:
    return Refusal(
        "The artifact is not the one that was registered: its files hash to something else.",
        "Register it as a new version, or fetch the registered one again.",
        code="digest-mismatch",
        registered=wanted,
        found=found,
    )
