"""Declarations over the world of changes: files in, plans and what was done out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend import bootstrap
from backend.blueprints.faults import Faulty
from backend.blueprints.kinds import Told
from backend.blueprints.plan import Applied, ObjectPlan, Plan
from backend.blueprints.service import Blueprints
from backend.blueprints.text import Source
from backend.blueprints.writing import written
from backend.core import sealed
from backend.core.context import Actor
from backend.core.errors import Refusal
from backend.settings import Settings
from tests.services.changes.world import World

HEAD = "apiVersion: countersign/v1\n"


def document(kind: str, name: str, spec: str = "", **metadata: str) -> str:
    """One document; `spec` as lines."""
    lines = "".join(f"  {line}\n" for line in spec.splitlines())
    more = "".join(f", {key}: {value}" for key, value in metadata.items())
    return f"{HEAD}kind: {kind}\nmetadata: {{name: {name}{more}}}\n" + (f"spec:\n{lines}" if spec else "")


def files(*documents: str) -> list[Source]:
    """The documents as one file."""
    return [Source("file.yaml", "---\n".join(documents))]


class Files:
    """The service on a world's database."""

    def __init__(self, world: World, folder: Path) -> None:
        sealed.create_keys(folder / "keys")
        url = world.database.url.render_as_string(hide_password=False)
        settings = Settings(data_dir=folder, database_url=url, demo_identities=True, allowed_networks="127.0.0.0/8")
        self.world = world
        self.backend = replace(bootstrap.build(settings), database=world.database, changes=world.changes)
        guard, connections = self.backend.guard, self.backend.connections
        hands = bootstrap._hands(settings, None, guard, connections, self.backend.packaging)
        servers = bootstrap._servers(settings, world.database, guard, connections)
        self.blueprints = Blueprints(world.database, hands, servers, world.changes)

    def plan(self, *documents: str, by: Actor | None = None, **options: Any) -> Plan:
        return self.blueprints.plan(by or self.world.otto, files(*documents), **options)

    def one(self, text: str, by: Actor | None = None, **options: Any) -> ObjectPlan:
        """The plan of a single object."""
        (found,) = self.plan(text, by=by, **options).objects
        return found

    def apply(self, *documents: str, by: Actor | None = None, **options: Any) -> Applied:
        return self.blueprints.apply(by or self.world.otto, files(*documents), **options)

    def exported(self, by: Actor | None = None, **options: Any) -> str:
        return written(self.blueprints.export(by or self.world.otto, **options))

    def settled(self, *documents: str, by: Actor | None = None) -> None:
        """Applies, and sees that nothing is left to do."""
        self.apply(*documents, by=by)
        again = self.plan(*documents, by=by)
        assert not again.differs, again.objects
        assert not again.faults

    def refused(self, code: str, *documents: str, by: Actor | None = None, recorded: int = 0, **options: Any) -> Refusal:
        """Why applying is refused; nothing was written but what somebody else did meanwhile."""
        before = len(self.world.ledger("team"))
        with pytest.raises(Refusal) as caught:
            self.apply(*documents, by=by, **options)
        refusal = caught.value
        codes = [one.code for one in refusal.faults] if isinstance(refusal, Faulty) else []
        assert code in (refusal.code, *codes), (refusal.code, codes, str(refusal))
        assert len(self.world.ledger("team")) == before + recorded
        return refusal


__all__ = ["Files", "Told", "document", "files"]
