"""That this worker lives: one row, written every few seconds for as long as its loop goes round."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.work import Heartbeat


class Pulse:
    """This worker's heartbeat row."""

    def __init__(self, database: Database, worker: str) -> None:
        self._database = database
        self._worker = worker

    def beat(self, *, leader: bool) -> None:
        """Writes the present time."""
        with self._database.unit(SYSTEM) as tx:
            row = tx.session.get(Heartbeat, self._worker)
            if row is None:
                row = tx.add(Heartbeat(worker=self._worker, started_at=tx.now, beat_at=tx.now, version=program_version()))
            row.beat_at, row.leader = tx.now, leader

    def end(self) -> None:
        """Takes the row away: this worker stopped as it was told, and its silence is no alarm."""
        with self._database.unit(SYSTEM) as tx:
            row = tx.session.get(Heartbeat, self._worker)
            if row is not None:
                tx.session.delete(row)


def program_version() -> str:
    """The installed version of this program; empty when it runs from a bare folder."""
    try:
        return version("countersign")
    except PackageNotFoundError:
        return ""
