"""An entrance whose spool a test looks into, over rules that it sets by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.inference_log import spool
from backend.inference_log.files import Files
from backend.inference_log.handling import Handling
from backend.inference_log.naming import Names
from backend.inference_log.spool import Spool
from backend.ingest.entrance import Entrance
from backend.ingest.known import Rules
from tests.databases import Clock

KEY = b"k" * 32


class ByHand:
    """The rules in force, by hand."""

    def __init__(self) -> None:
        self.handling = {"delay": Handling(KEY)}

    def rules(self) -> Rules:
        return Rules(self.handling, dict.fromkeys(self.handling, "x-unit-id"))


class Door:
    """The entrance, and what came through it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.known, self.spool = ByHand(), Spool(folder / "spool")
        self.entrance = Entrance(self.known, self.spool, Names(Files(folder / "log"), 2_000, clock), clock)  # type: ignore[arg-type]

    def rows(self) -> list[tuple[str, Any]]:
        batches = [spool.read(path) for path in self.spool.waiting()]
        return [(table, row) for batch in batches for table, rows in batch.rows.items() for row in rows]

    def ids(self) -> list[str]:
        return sorted(row.request_id for _, row in self.rows())


@pytest.fixture
def door(tmp_path: Path, clock: Clock) -> Door:
    return Door(tmp_path, clock)
