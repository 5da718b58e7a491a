"""Messages over the world of changes: the outbox, the courier and the commands, on both databases and the test's clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from backend.access.rows import Identity
from backend.changes.notices import Notices
from backend.core import sealed, work
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.outbound import Guard
from backend.core.sealed import Opener, Sealer
from backend.notify.courier import Courier, Sending
from backend.notify.links import Links
from backend.notify.outbox import Outbox
from backend.notify.preferences import Preferences
from backend.notify.routes import Routes
from backend.notify.rows import Attempt, Message
from tests.services.changes.world import World

NETWORKS = ("127.0.0.0/8",)
URL = "https://countersign.example"


class Post:
    """The services of messages over a world, and hands to let them run."""

    def __init__(self, world: World, folder: Path, *, mail_url: str = "", networks: tuple[str, ...] = NETWORKS) -> None:
        sealed.create_keys(folder / "keys")
        self.world, self.database, self.subjects = world, world.database, Notices()
        self.guard = Guard(networks)
        self.routes = Routes(world.database, self.guard, lambda: Sealer.from_folder(folder / "keys"))
        self.preferences = Preferences(world.database)
        self.links = Links(world.database, self.subjects)
        self.outbox = Outbox(world.database, self.subjects, mails=bool(mail_url))
        sending = Sending(self.guard, self.guard, Opener.from_folder(folder / "keys"), mail_url, URL)
        self.courier = Courier(world.database, self.subjects, sending)
        self._past()

    def _past(self) -> None:
        """What was before the test is not told."""
        with self.database.unit(SYSTEM) as tx:
            work.wake(tx, "notify", "ledger")
        self.fan_out()
        with self.database.unit(SYSTEM) as tx:
            for one in tx.session.exec(select(Message)):
                tx.session.delete(one)

    def addressed(self, *names: str) -> None:
        """Gives people a mail address."""
        with self.database.unit(SYSTEM) as tx:
            for name in names:
                row = tx.session.exec(select(Identity).where(Identity.name == name)).one()
                row.email = f"{name}@corp.example"
                tx.record("identity.describe", row)

    def fan_out(self) -> None:
        """The ledger's reader, until it has read everything."""
        for _ in range(100):
            with self.database.unit(SYSTEM) as tx:
                work.wake(tx, "notify", "ledger")
                claims = work.claim_in(tx, "notify", holder="w1", seconds=60, key="ledger")
            self.outbox.handle(claims[0])
            with self.database.read() as session:
                item = session.get(work.WorkItem, ("notify", "ledger"))
                if item is not None and item.due_at > self.database.now(session):
                    return
        raise AssertionError("it never came to an end")

    def deliver(self) -> None:
        """The courier, once for every route that is due."""
        for claim in work.claim(self.database, "route", holder="w1", seconds=60, limit=100):
            self.courier.handle(claim)

    def run(self) -> None:
        self.fan_out()
        self.deliver()

    def messages(self, **wanted: Any) -> list[Message]:
        """Messages in the order of the ledger, with these values."""
        with self.database.read() as session:
            rows = session.exec(select(Message).order_by(col(Message.seq), col(Message.id))).all()
        return [one for one in rows if all(getattr(one, name) == value for name, value in wanted.items())]

    def tries(self, message_id: str) -> list[Attempt]:
        with self.database.read() as session:
            query = select(Attempt).where(Attempt.message_id == message_id).order_by(col(Attempt.at), col(Attempt.id))
            return list(session.exec(query))

    def names(self, event: str) -> set[str]:
        """Who has a message of this event."""
        with self.database.read() as session:
            ids = {one.identity_id for one in self.messages(event=event)}
            return {one.name for one in session.exec(select(Identity).where(col(Identity.id).in_(ids)))}

    def hook(self, url: str, *events: str, actor: Actor | None = None, name: str = "hook", **options: Any) -> str:
        """A webhook of a person (Ana by default) with a subscription; its id."""
        made = self.routes.add(actor or self.world.ana, name, url, **options)
        self.routes.subscribe(actor or self.world.ana, events or ("*",), route=made.id)
        self.secret = made.secret
        return made.id


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


@pytest.fixture
def post(world: World, tmp_path: Path) -> Post:
    return Post(world, tmp_path)
