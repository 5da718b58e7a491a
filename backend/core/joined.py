"""Whole commands in one unit of work: what each of them would open is the unit that is open already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session

from backend.core.context import Actor
from backend.core.database import Database
from backend.core.unit import Unit


class Joined(Database):
    """Stands for the database of services whose commands shall be decided and written together, or not at all.

    What they read is what the unit has written so far. Nothing is committed here: whoever opened the unit does that.
    """

    def __init__(self, tx: Unit, database: Database) -> None:
        super().__init__(database.url.render_as_string(hide_password=False))
        self._tx = tx

    @contextmanager
    def unit(self, actor: Actor) -> Iterator[Unit]:
        """The unit that is open. It acts for one actor, so that another one here is a defect."""
        if actor.id != self._tx.actor.id:
            raise RuntimeError("a command of somebody else joined a unit of work")
        yield self._tx

    @contextmanager
    def read(self) -> Iterator[Session]:
        """What the unit sees."""
        yield self._tx.session

    def now(self, session: Session | sa.Connection | None = None) -> datetime:
        """The unit's one time."""
        return self._tx.now
