"""One registry in memory with the services above it, and the artifacts that tests log."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from backend.access.service import Identities
from backend.audit.queries import Event, events
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.work import Claim, claim_in
from backend.registry.memory import MemoryRegistry
from backend.registry.mirror import Mirror
from backend.registry.port import Registry
from backend.registry.rows import Alias, Version
from backend.registry.rules import Limits
from backend.registry.service import Versions
from backend.settings import Settings

MLMODEL = """\
flavors:
  onnx:
    data: model.onnx
saved_input_example_info:
  artifact_path: input_example.json
signature:
  inputs: '[{"type": "double", "name": "hour", "required": true}]'
  outputs: '[{"type": "double", "name": "probability", "required": true}]'
"""
FILES: Mapping[str, bytes] = {
    "MLmodel": MLMODEL.encode(),
    "input_example.json": b"{}",
    "model.onnx": b"\x08\x08" + bytes(range(256)) * 300,
    "requirements.txt": b"numpy==2.4.6\nonnx==1.23\n",
}


SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""For tests of what is outside the database: one kind of it is enough."""


class World:
    """Services over one database and one registry (in memory unless one is given), and the demo identities."""

    def __init__(self, database: Database, registry: Registry | None = None, **mirror: Any) -> None:
        self.database = database
        self.memory = MemoryRegistry(database.now)
        self.registry = registry or self.memory
        self.identities = Identities(database, Settings(demo_identities=True))
        self.identities.seed_demo()
        self.versions = Versions(database, self.registry, Limits(max_bytes=4 << 20, max_entries=100))
        self.mirror = Mirror(database, self.registry, **mirror)

    def act_as(self, name: str) -> Actor:
        return self.identities.act_as(name)

    def log(self, model: str = "delay", files: Mapping[str, bytes] = FILES, **facts: Any) -> int:
        """Somebody logs a version in the registry in memory."""
        return self.memory.add_version(model, files, **facts).number

    def want(self, number: int | None, model: str = "delay", environment: str = "production") -> str:
        """As a proved promotion does. Returns the id of the model, under which the alias's work is kept."""
        with self.database.unit(SYSTEM) as tx:
            self.versions.want_alias(tx, model, environment, number)
            return tx.session.exec(select(Alias.model_id).distinct()).one()

    def claim(self, kind: str, key: str) -> Claim | None:
        """The item, if it is there and free."""
        with self.database.unit(SYSTEM) as tx:
            return next(iter(claim_in(tx, kind, holder="test", seconds=30, key=key)), None)

    def ledger(self, action: str) -> list[Event]:
        """Rows of one action, newest first."""
        with self.database.read() as session:
            return events(session, action=action)

    def alias(self) -> Alias:
        """The only alias that is looked after."""
        with self.database.read() as session:
            return session.exec(select(Alias)).one()


def rows(session: Session) -> list[Version]:
    return list(session.exec(select(Version)))


def archive(path: Path, files: Mapping[str, bytes] = FILES) -> Path:
    """A zip of an artifact."""
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path
