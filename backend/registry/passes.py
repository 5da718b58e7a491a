"""One pass of the mirror over the registry, or over one model of it.

Pages are written as they come, so that a pass which fails on the way leaves rows that are true and removes none. A row is
marked as removed only after a whole pass missed it and the registry, asked for it by name, confirmed that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.sql.expression import Select

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure, NotFound, Refusal
from backend.registry import mirrored
from backend.registry.port import Page, Registry, RunFacts, VersionFacts
from backend.registry.rows import MirroredVersion, Model

T = TypeVar("T")
GoOn = Callable[[], None]
"""Called before each call to the registry; raises LeaseLost when another worker took over."""

_AT_ONCE = 500
_RUNS_AT_ONCE = 50


@dataclass(frozen=True)
class Done:
    """What one pass did. `absent_left` and `runs_left` count what the next one still has to ask for."""

    models: int = 0
    versions: int = 0
    changed: int = 0
    removed: int = 0
    absent_left: int = 0
    runs_read: int = 0
    runs_left: int = 0


@dataclass(frozen=True)
class Walk:
    """A pass.

    Args:
        most_runs, most_absent: runs read, and absences confirmed, in this pass.
    """

    database: Database
    registry: Registry
    go_on: GoOn
    most_runs: int
    most_absent: int

    def everything(self) -> Done:
        """The whole registry."""
        ids, changed_models = self._models()
        versions, changed_versions = self._versions(None)
        removed, left = self._remove_absent_models(ids)
        mirrored_ids = set(ids.values())
        missed = {key for key in self._live(None) - versions if key[0] in mirrored_ids}
        removed_versions, versions_left = self._remove_absent_versions(missed)
        read, unread = self._read_runs(None)
        return Done(
            models=len(ids),
            versions=len(versions),
            changed=changed_models + changed_versions,
            removed=removed + removed_versions,
            absent_left=left + versions_left,
            runs_read=read,
            runs_left=unread,
        )

    def recent(self) -> Done:
        """What changed lately: the registry lists the latest change first, so that one page is enough where little did.

        Moved aliases and edited tags do not count as a change there; the next whole pass finds them.
        """
        changed: list[str] = []
        versions = written = 0
        for page in self._pages(lambda token: self.registry.models(token, order="newest")):
            with self.database.unit(SYSTEM) as tx:
                _, renewed = mirrored.put_models(tx, page)
            changed += renewed
            if not page or page[-1].name not in renewed:
                break
        for name in changed:
            seen, count = self._versions(name)
            versions, written = versions + len(seen), written + count
        read, unread = self._read_runs(None)
        return Done(len(changed), versions, len(changed) + written, runs_read=read, runs_left=unread)

    def one(self, name: str) -> Done:
        """One model with its versions."""
        ids, changed = self._ask_model(name)
        if not ids:
            return Done(removed=self._remove_model(name))
        versions, changed_versions = self._versions(name)
        removed, left = self._remove_absent_versions(self._live(ids[name]) - versions)
        read, unread = self._read_runs(ids[name])
        return Done(1, len(versions), changed + changed_versions, removed, left, read, unread)

    def _models(self) -> tuple[dict[str, str], int]:
        """Ids of all models by name, and how many rows changed."""
        ids: dict[str, str] = {}
        changed = 0
        for page in self._pages(self.registry.models):
            with self.database.unit(SYSTEM) as tx:
                some, renewed = mirrored.put_models(tx, page)
            ids |= some
            changed += len(renewed)
        return ids, changed

    def _versions(self, model: str | None) -> tuple[set[mirrored.Key], int]:
        """Keys of all versions, or of one model's, and how many rows changed."""
        seen: set[mirrored.Key] = set()
        changed = 0
        for page in self._pages(lambda token: self.registry.versions(model, token)):
            ids = self._ids(page)
            for start in range(0, len(page), _AT_ONCE):
                with self.database.unit(SYSTEM) as tx:
                    changed += mirrored.put_versions(tx, ids, page[start : start + _AT_ONCE])
            seen |= {(ids[one.model], one.number) for one in page if one.model in ids}
        return seen, changed

    def _ids(self, page: Sequence[VersionFacts]) -> dict[str, str]:
        """Ids of the models of these versions; one that no page of models had is asked for by name."""
        names = sorted({one.model for one in page})
        query = select(Model.name, Model.id).where(col(Model.name).in_(names), col(Model.removed_at).is_(None))
        with self.database.read() as session:
            ids = dict(session.exec(query).all())
        for name in names:
            if name not in ids:
                ids |= self._ask_model(name)[0]
        return ids

    def _ask_model(self, name: str) -> tuple[dict[str, str], int]:
        """The model's id by its name, and whether its row changed; nothing when the registry does not have it."""
        self.go_on()
        try:
            facts = self.registry.model(name)
        except NotFound:
            return {}, 0
        with self.database.unit(SYSTEM) as tx:
            ids, renewed = mirrored.put_models(tx, [facts])
            return ids, len(renewed)

    def _remove_absent_models(self, present: dict[str, str]) -> tuple[int, int]:
        """How many were removed, and how many are still to be asked for."""
        with self.database.read() as session:
            known = session.exec(select(Model.name).where(col(Model.removed_at).is_(None))).all()
        absent = sorted(set(known) - present.keys())
        gone = [name for name in absent[: self.most_absent] if not self._ask_model(name)[0]]
        return sum(self._remove_model(name) for name in gone), max(0, len(absent) - self.most_absent)

    def _remove_model(self, name: str) -> int:
        query = select(Model.id).where(Model.name == name, col(Model.removed_at).is_(None))
        with self.database.unit(SYSTEM) as tx:
            identifier = tx.session.exec(query).one_or_none()
            if identifier is None:
                return 0
            mirrored.remove_model(tx, identifier)
            return 1

    def _remove_absent_versions(self, missed: set[mirrored.Key]) -> tuple[int, int]:
        """How many were removed, and how many are still to be asked for."""
        asked = sorted(missed)[: self.most_absent]
        query = select(Model.id, Model.name).where(col(Model.id).in_({model_id for model_id, _ in asked}))
        with self.database.read() as session:
            names = dict(session.exec(query).all())
        gone = [key for key in asked if not self._has_version(names[key[0]], key[1])]
        with self.database.unit(SYSTEM) as tx:
            mirrored.remove_versions(tx, gone)
        return len(gone), len(missed) - len(asked)

    def _has_version(self, model: str, number: int) -> bool:
        self.go_on()
        try:
            self.registry.version(model, number)
        except NotFound:
            return False
        return True

    def _live(self, model_id: str | None) -> set[mirrored.Key]:
        """Keys of the versions that are not marked as removed."""
        query = select(MirroredVersion.model_id, MirroredVersion.number).where(col(MirroredVersion.removed_at).is_(None))
        if model_id is not None:
            query = query.where(MirroredVersion.model_id == model_id)
        with self.database.read() as session:
            return {(identifier, number) for identifier, number in session.exec(query)}

    def _read_runs(self, model_id: str | None) -> tuple[int, int]:
        """Reads runs that are still to be read, the newest versions' first. How many it read, and how many are left."""
        query = _unread(model_id)
        with self.database.read() as session:
            unread = session.exec(query.limit(self.most_runs)).all()
            total = session.exec(select(sa.func.count()).select_from(query.order_by(None).subquery())).one()
        for start in range(0, len(unread), _RUNS_AT_ONCE):
            runs = [((row.model_id, row.number), self._run(_facts(row, name))) for row, name in unread[start:][:_RUNS_AT_ONCE]]
            with self.database.unit(SYSTEM) as tx:
                for key, run in runs:
                    mirrored.put_run(tx, key, run)
        return len(unread), total - len(unread)

    def _run(self, version: VersionFacts) -> RunFacts | None:
        """A run that cannot be understood counts as none: it must not keep the others from being read."""
        self.go_on()
        try:
            return self.registry.run(version)
        except Refusal:
            return None
        except ExternalFailure as failure:
            if failure.retryable:
                raise
            return None

    def _pages(self, ask: Callable[[str | None], Page[T]]) -> Iterator[Sequence[T]]:
        """Every page to the end. ExternalFailure for a registry that would lead round in a circle."""
        token: str | None = None
        tokens: set[str] = set()
        while True:
            self.go_on()
            page = ask(token)
            yield page.items
            token = page.next
            if token is None:
                return
            if token in tokens:
                raise ExternalFailure("The registry", "repeats its pages", retryable=True)
            tokens.add(token)


def _unread(model_id: str | None) -> Select[MirroredVersion, str]:
    query = (
        select(MirroredVersion, Model.name)
        .join(Model)
        .where(col(MirroredVersion.run_read_at).is_(None), col(MirroredVersion.removed_at).is_(None))
        .order_by(col(MirroredVersion.created_at).desc())
    )
    return query if model_id is None else query.where(MirroredVersion.model_id == model_id)


def _facts(row: MirroredVersion, model: str) -> VersionFacts:
    return VersionFacts(model, row.number, row.created_at, row.updated_at, row.source, row.run_id, row.status)
