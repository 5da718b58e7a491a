"""Commands on models and versions: registering one that the registry has, uploading a new one, fetching what was registered.

Every call to the registry and all hashing happen outside the unit of work; the unit at the end checks the permission again and
writes the row with its ledger row.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlmodel import Session, select

from backend.access.checks import require
from backend.core.canonical import TreeFile, digest_tree, tree_files
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.unit import Unit
from backend.registry import aliases, mirrored, queries, rules
from backend.registry.files import read_tree
from backend.registry.pickles import find_pickles
from backend.registry.port import ModelFacts, Registry, RunFacts, VersionFacts
from backend.registry.rows import MirroredVersion, Model, Upload, Version
from backend.registry.rules import Limits, Progress
from backend.registry.signatures import Papers, read_papers
from backend.registry.uploads import unpack


@dataclass(frozen=True)
class Examined:
    """What an artifact's files are: their digests, the pickled ones among them, and what its papers say."""

    files: list[TreeFile]
    pickled: tuple[str, ...]
    papers: Papers

    @property
    def digest(self) -> str:
        """The artifact digest."""
        return digest_tree(self.files)


@dataclass(frozen=True)
class Told:
    """What the registry told of one version."""

    model: ModelFacts
    version: VersionFacts
    run: RunFacts | None


class Versions:
    """Commands on versions.

    Args:
        database: where they are kept.
        registry: the team's registry, or None where none is configured.
        limits: bounds on artifacts and uploads, and what happens to pickled code.
        alias_pattern: the registry alias of an environment's champion, with `{environment}` in it.
        scratch: folder for unpacked artifacts while they are examined; by default the system's.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry | None,
        limits: Limits | None = None,
        *,
        alias_pattern: str = "{environment}-champion",
        scratch: Path | None = None,
    ) -> None:
        self._database = database
        self._registry = registry
        self._limits = limits or Limits()
        self._alias_pattern = alias_pattern
        self._scratch = scratch

    def register(self, actor: Actor, model: str, number: int, *, progress: Progress = rules.quiet) -> Version:
        """Takes on a version as it is now: reads and hashes every file, looks for pickled code, and writes it down.

        The same bytes again change nothing. Refusal `digest-mismatch` when other bytes were registered under this number,
        `pickled-code` where settings refuse it, `version-not-ready` while the registry still makes it.
        """
        self._allow(actor, model)
        return self._take(actor, model, number, progress, expected=None)

    def upload(
        self,
        actor: Actor,
        model: str,
        archive: Path,
        *,
        description: str = "",
        author: str | None = None,
        progress: Progress = rules.quiet,
        numbered: Callable[[int], None] = rules.nobody,
    ) -> Version:
        """Makes an archive (zip, tar, tar.gz) a new version in the registry and registers it, with the actor as its author, or
        the identity that handed the archive in before and whose upload this tries again.
        `numbered` is told the version's number as soon as the registry has it.

        Refusal for whatever an archive must not hold. What the registry then stores is read back before it is registered: if
        that fails, the version stays in the registry and can be registered by its number.
        """
        registry = self._connected()
        self._allow(actor, rules.check_model_name(model))
        with self._folder() as folder:
            artifact = unpack(archive, folder, self._limits, _part(progress, 0.0, 0.2))
            found = self._examine(artifact, tree_files(artifact), _part(progress, 0.2, 0.3))
            tags = {rules.UPLOAD_TAG: self._note_upload(actor, model, found.digest, author or actor.id)}
            progress(0.3, "sending it to the registry")
            made = registry.log_version(model, artifact, description=description, tags=tags)
        numbered(made.number)
        progress(0.6, f"the registry has it as version {made.number}; reading it back")
        return self._take(actor, model, made.number, _part(progress, 0.6, 1.0), expected=found.digest)

    def require_connected(self) -> None:
        """Refusal `no-registry` where none is configured."""
        self._connected()

    def digest_now(self, model: str, number: int) -> str:
        """Artifact digest of a version as its files are in the registry at this moment; nothing is kept."""
        registry = self._connected()
        return digest_tree(read_tree(registry, registry.version(model, number), self._limits, rules.quiet, into=None))

    def fetch(self, model: str, number: int, folder: Path) -> str:
        """Puts a registered version's artifact into an empty folder and returns its digest.

        Refusal `digest-mismatch`, with the folder empty again, when the files are not those that were registered.
        """
        registry = self._connected()
        with self._database.read() as session:
            expected = queries.registered(session, model, number).artifact_digest
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Refusal(f"{folder.name} is not empty.", "Name an empty folder.", code="not-empty")
        try:
            found = digest_tree(read_tree(registry, registry.version(model, number), self._limits, rules.quiet, into=folder))
            if found != expected:
                raise rules.digest_mismatch(model, number, str(expected), found)
        except BaseException:
            _empty(folder)
            raise
        return found

    def want_alias(self, tx: Unit, model: str, environment: str, number: int | None) -> None:
        """Joins: from now on the environment's alias shall point at this version, or not exist (None). The alias worker
        writes it and reads it back.
        """
        aliases.want(tx, model, rules.alias_name(self._alias_pattern, environment), number)

    def _take(self, actor: Actor, model: str, number: int, progress: Progress, *, expected: str | None) -> Version:
        """Reads a version whole and registers it; where a digest is expected, only with that."""
        registry = self._connected()
        told = _ask(registry, model, number)
        with self._folder() as folder:
            files = read_tree(registry, told.version, self._limits, _part(progress, 0.0, 0.8), into=folder)
            found = self._examine(folder, files, _part(progress, 0.8, 0.95))
        if expected not in (None, found.digest):
            raise rules.digest_mismatch(model, number, str(expected), found.digest)
        with self._database.unit(actor) as tx:
            require(tx, actor, "version.register", model=model)
            row = _register(tx, told, found)
        progress(1.0, f"version {number} is registered")
        return row

    def _connected(self) -> Registry:
        if self._registry is None:
            raise rules.no_registry()
        return self._registry

    def _allow(self, actor: Actor, model: str) -> None:
        """Before anything is downloaded for somebody who may not; the unit that writes asks again."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "version.register", model=model)

    def _examine(self, folder: Path, files: list[TreeFile], progress: Progress) -> Examined:
        papers = read_papers(folder)
        pickled = find_pickles(folder, papers.named_pickles, self._limits, progress)
        rules.check_pickles(self._limits.pickles, pickled)
        return Examined(files, pickled, papers)

    def _note_upload(self, actor: Actor, model: str, digest: str, author: str) -> str:
        """Who hands in which bytes, kept before they leave: by this the author is verified, however the upload ends."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "version.register", model=model)
            row = tx.add(Upload(id=tx.new_id("upl"), model=model, artifact_digest=digest, identity_id=author, at=tx.now))
            tx.record("version.upload", row, after=row.facts("model", "artifact_digest", "identity_id"))
            return row.id

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="countersign-", dir=self._scratch) as folder:
            yield Path(folder)


def _ask(registry: Registry, model: str, number: int) -> Told:
    version = registry.version(model, number)
    if version.status != "READY":
        raise Refusal(
            f"Version {number} of {model} is not ready in the registry ({version.status[:40]}).",
            "Wait until the registry has made it, or log it again.",
            code="version-not-ready",
        )
    return Told(registry.model(model), version, registry.run(version))


def _register(tx: Unit, told: Told, found: Examined) -> Version:
    """Joins: mirrors the version and adds the registration, unless these very bytes have one."""
    ids, _ = mirrored.put_models(tx, [told.model])
    mirrored.put_versions(tx, ids, [told.version])
    model = tx.get(Model, ids[told.model.name], lock=True)
    mirrored.put_run(tx, (model.id, told.version.number), told.run)
    existing = _registered(tx.session, model.id, told.version.number)
    before = existing.artifact_digest if existing else None
    if existing and rules.is_registered_already(model.name, existing.number, before, found.digest):
        return existing
    row = tx.add(_row(tx, model.id, told, found))
    facts = row.facts("number", "artifact_digest", "author_identity_id", "run_id", "pickled")
    tx.record("version.register", row, after={"model": model.name, **facts, "pickled": len(row.pickled)})
    return row


def _row(tx: Unit, model_id: str, told: Told, found: Examined) -> Version:
    version, run, papers = told.version, told.run or RunFacts(), found.papers
    return Version(
        id=_mirrored_id(tx.session, model_id, version.number),
        model_id=model_id,
        number=version.number,
        source=version.source,
        run_id=version.run_id,
        status=version.status,
        description=version.description,
        author=run.author or version.author,
        author_identity_id=_verified_author(tx.session, told, found.digest),
        code_version=run.code_version,
        tags=dict(version.tags),
        metrics=dict(run.metrics),
        params=dict(run.params),
        signature=dict(papers.signature) if papers.signature else None,
        datasets=[dict(one) for one in run.datasets],
        dependencies=list(papers.dependencies),
        artifact_digest=found.digest,
        artifact_files=[list(file) for file in found.files],
        pickled=list(found.pickled),
        input_example=papers.input_example,
        registered_by=tx.actor.id,
        registered_at=tx.now,
        created_at=version.created_at,
        mirrored_at=tx.now,
    )


def _verified_author(session: Session, told: Told, digest: str) -> str | None:
    row = session.get(Upload, told.version.tags.get(rules.UPLOAD_TAG, ""))
    handed = rules.Handed(row.model, row.artifact_digest, row.identity_id) if row else None
    return rules.verified_author(handed, told.model.name, digest)


def _registered(session: Session, model_id: str, number: int) -> Version | None:
    return session.exec(select(Version).where(Version.model_id == model_id, Version.number == number)).one_or_none()


def _mirrored_id(session: Session, model_id: str, number: int) -> str:
    query = select(MirroredVersion.id).where(MirroredVersion.model_id == model_id, MirroredVersion.number == number)
    return session.exec(query).one()


def _part(progress: Progress, start: float, end: float) -> Progress:
    """Progress of one part of a longer work."""
    return partial(_shifted, progress, start, end)


def _shifted(progress: Progress, start: float, end: float, fraction: float, words: str) -> None:
    progress(start + (end - start) * fraction, words)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
