"""Real worker processes on a world whose server and router live in files, to be killed, stopped and started again."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from backend.audit import heads
from backend.core import sealed
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.delivery.timing import Timing
from tests.delivery_world import World

OBSERVE_SECONDS, LEASE_SECONDS = 0.5, 3.0
BOUND_SECONDS = 90.0
"""Within this time everything has come to rest on this machine; a test that waits longer fails."""
_ROOT = Path(__file__).resolve().parents[2]


def fault_world(database: Database, folder: Path) -> World:
    """A world that worker processes can open: keys in its data folder, everything else in files and the database."""
    sealed.create_keys(folder / "keys")
    heads.create_key(folder / "keys")
    return World(database, folder, timing=Timing(observe=timedelta(seconds=OBSERVE_SECONDS), poll_seconds=0.01))


class Worker:
    """One `countersign worker` process. Leaving the block kills it if it still runs."""

    def __init__(
        self, world: World, *, failpoint: str | None = None, name: str = "worker", lease: float = LEASE_SECONDS
    ) -> None:
        self.log = world.folder / f"{name}.log"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COUNTERSIGN_")}
        environment |= {
            "PYTHONPATH": str(_ROOT),
            "COUNTERSIGN_DATA_DIR": str(world.folder),
            "COUNTERSIGN_DATABASE_URL": world.database.url.render_as_string(hide_password=False),
            "COUNTERSIGN_DEMO_IDENTITIES": "true",
            "COUNTERSIGN_ALLOWED_NETWORKS": "127.0.0.0/8",
            "COUNTERSIGN_MESSAGE_NETWORKS": "127.0.0.0/8",
            "COUNTERSIGN_OBSERVE_SECONDS": str(OBSERVE_SECONDS),
            "COUNTERSIGN_LEASE_SECONDS": str(lease),
            **({"COUNTERSIGN_FAILPOINT": failpoint} if failpoint else {}),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "backend.worker"],
                env=environment,
                cwd=world.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def killed_itself(self) -> bool:
        """Waits for its end; true when that was by SIGKILL, as at a failpoint."""
        return self.process.wait(BOUND_SECONDS) == -signal.SIGKILL

    def kill(self) -> None:
        """A power cut."""
        self.process.kill()
        self.process.wait()

    def freeze(self, world: World) -> None:
        """Stops it between two instructions, but not while it holds what stops everybody: SQLite's only write lock, or the
        lock on a file that stands for a server or a router (a real one goes on when a caller of it is stopped)."""
        while True:
            self.process.send_signal(signal.SIGSTOP)
            # Until the last thread stands, one of them may still be inside the call that takes a lock.
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if _can_write(world) and all(_is_free(path) for path in world.folder.glob("*.lock")):
                return
            self.thaw()
            time.sleep(0.02)

    def thaw(self) -> None:
        """Lets it go on where it was."""
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        """Asks it to end in order; returns its exit code."""
        self.process.terminate()
        return self.process.wait(BOUND_SECONDS)

    @property
    def words(self) -> str:
        """What it logged."""
        return self.log.read_text(errors="replace")


def _is_free(lock: Path) -> bool:
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _can_write(world: World) -> bool:
    if not world.database.is_sqlite:
        return True
    connection = sqlite3.connect(str(world.database.url.database), timeout=0.5, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def start_when_seen(world: World, name: str, version: int, **options: Any) -> None:
    """Starts a version as soon as the endpoint is seen: a dead worker's server is looked at again when its lease is over."""

    def started() -> bool:
        try:
            world.start(name, version, **options)
        except Refusal as refusal:
            if refusal.code not in ("not-seen", "busy"):
                raise
            return False
        return True

    until(started)


def until(what: Callable[[], bool], worker: Worker | None = None, seconds: float = BOUND_SECONDS) -> None:
    """Waits until something is so. Fails with the worker's log when it does not come to be in time."""
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit, worker.words[-4000:] if worker is not None else "it did not come to be"
        time.sleep(0.05)


def at_rest(world: World, *names: str) -> bool:
    """Whether all these endpoints are proved and in sync."""
    rows = [world.row(name) for name in names or ("flight-delay",)]
    return all(one.state == "in_sync" and one.proved_generation == one.generation for one in rows)
