"""The cheap look for due work: one short statement on a connection of its own, and no write lock.

Measured with 1,000 items that are not due: 0.27 ms of CPU a look on SQLite and 0.8 ms on PostgreSQL, against 0.9 and
2.5 ms through `Database.read`.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlmodel import Session

from backend.core.columns import UtcDateTime
from backend.core.database import Database
from backend.core.work import WorkItem

_items: sa.Table = WorkItem.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_now = sa.bindparam("now", type_=UtcDateTime())
_OLDEST = (
    sa.select(_items.c.kind, sa.func.min(_items.c.due_at))
    .where(
        _items.c.kind.in_(sa.bindparam("kinds", expanding=True)),
        _items.c.due_at <= _now,
        sa.or_(_items.c.deadline.is_(None), _items.c.deadline <= _now),
    )
    .group_by(_items.c.kind)
)


class Look:
    """One thread asks. After an error the next look opens a new connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sa.Connection | None = None

    def __call__(self, kinds: Sequence[str]) -> dict[str, float]:
        """Which of these kinds have something to claim, and for how many seconds the oldest of each has been due."""
        self._connection = self._connection or self._open()
        try:
            with Session(bind=self._connection) as session:
                now = self._database.now(session)
                found = session.connection().execute(_OLDEST, {"kinds": list(kinds), "now": now}).all()
        except sa.exc.SQLAlchemyError:
            self._connection.invalidate()
            self.close()
            raise
        return {kind: (now - oldest).total_seconds() for kind, oldest in found}

    def close(self) -> None:
        """Gives the connection back."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _open(self) -> sa.Connection:
        connection = self._database.reader.connect()
        if self._database.is_sqlite:
            return connection
        return connection.execution_options(isolation_level="AUTOCOMMIT")  # no BEGIN and no ROLLBACK to wait for
