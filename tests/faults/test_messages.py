"""kill -9 of a real worker between sending a message and writing it down: the next one sends it again, under the same id."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import select

from backend.access.service import Identities
from backend.core import sealed
from backend.core.database import Database
from backend.core.outbound import Guard
from backend.core.sealed import Sealer
from backend.notify.courier import SENT
from backend.notify.routes import Routes
from backend.notify.rows import Message
from backend.policy.service import Policies
from backend.settings import Settings
from tests.faults.workers import Worker, fault_world, until
from tests.receivers import web

NETWORKS = ("127.0.0.0/8",)


@pytest.mark.parametrize("real_time_database", [pytest.param("sqlite", marks=pytest.mark.slow), "postgresql"], indirect=True)
def test_a_worker_that_dies_after_sending_leaves_a_message_that_is_sent_again_under_its_id(
    real_time_database: Database, tmp_path: Path
) -> None:
    world = fault_world(real_time_database, tmp_path)
    identities = Identities(real_time_database, Settings(demo_identities=True))
    identities.seed_demo()
    Policies(real_time_database).seed()
    olga = identities.act_as("olga")
    sealed.create_keys(tmp_path / "keys")
    routes = Routes(real_time_database, Guard(NETWORKS), lambda: Sealer.from_folder(tmp_path / "keys"))
    with web() as receiver:
        route = routes.add(olga, "room", receiver.url)
        routes.subscribe(olga, ("freeze.set",), route=route.id)
        Policies(real_time_database).freeze(olga, "dev", "Stop.")
        with Worker(world, failpoint=SENT) as victim:
            assert victim.killed_itself(), victim.words
        assert [one.state for one in _messages(real_time_database)] == ["waiting"]
        with Worker(world, name="heir") as heir:
            until(lambda: [one.state for one in _messages(real_time_database)] == ["sent"], heir)
            assert heir.end() == 0, heir.words
    assert [one.headers["webhook-id"] for one in receiver.taken] == [_messages(real_time_database)[0].id] * 2


def _messages(database: Database) -> list[Message]:
    with database.read() as session:
        return list(session.exec(select(Message)))
