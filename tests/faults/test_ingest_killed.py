"""What was accepted survives whatever is killed: the process that takes it in, at named places and at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backend.core.database import Database
from backend.delivery.feeding import Feed
from backend.inference_log import pseudonyms
from backend.inference_log.service import InferenceLog
from backend.inference_log.spool import BEFORE_HAND_OVER, Spool
from backend.ingest.drops import BEFORE_MOVE, SETTLED_SECONDS
from backend.ingest.taking import BEFORE_REMOVAL
from tests.services.changes.world import ENDPOINT, World

SQLITE = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
ROOT = Path(__file__).resolve().parents[2]
BOUND = 60.0
AT = datetime.now(UTC) - timedelta(hours=2)

PUT = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from backend.inference_log.rules import part_of
from backend.inference_log.spool import Batch, Spool
now = datetime.now(UTC)
row = part_of({"request_id": "cut-off", "event_time": now}, now)
Spool(Path(sys.argv[1])).put(Batch(sys.argv[2], {"parts": [row]}), now)
print("accepted")
"""


class Installation:
    """A data folder with one endpoint, a feed as the web process has it, and ingests to be killed."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.world, self.folder = World(database), folder
        (folder / "data").mkdir()
        self.data = folder / "data"
        self.spool = Spool(self.data / "ingest" / "spool")
        self.log = InferenceLog(self.data / "inference-log")
        self.feed = Feed(database, self.spool, lambda: pseudonyms.key(self.data / "ingest"), self.log.names)
        self.started: list[subprocess.Popen[bytes]] = []

    def accept(self, first: int, last: int) -> None:
        rows = [{"request_id": f"r{n}", "event_time": AT.isoformat(), "unit": "u", "status": 200} for n in range(first, last)]
        assert self.feed.take(self.world.ana, ENDPOINT, requests=rows).requests == last - first

    def ingest(self, failpoint: str = "") -> subprocess.Popen[bytes]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COUNTERSIGN_")} | {
            "PYTHONPATH": str(ROOT),
            "COUNTERSIGN_DATA_DIR": str(self.data),
            "COUNTERSIGN_DATABASE_URL": self.world.database.url.render_as_string(hide_password=False),
            "COUNTERSIGN_FAILPOINT": failpoint,
        }
        with (self.folder / "ingest.log").open("ab") as log:
            command = [sys.executable, "-P", "-m", "backend.ingest"]
            process = subprocess.Popen(command, env=environment, cwd=self.data, stdout=log, stderr=log)
        self.started.append(process)
        return process

    def ids(self) -> list[str]:
        """As often as they come out."""
        with self.log.read(ENDPOINT, None, AT - timedelta(hours=1), AT + timedelta(hours=1)) as reading:
            return sorted(reading.query("SELECT request_id FROM requests")["request_id"].to_pylist())

    def emptied(self) -> None:
        end = time.monotonic() + BOUND
        while self.spool.waiting():
            assert time.monotonic() < end, (self.folder / "ingest.log").read_text()[-3000:]
            time.sleep(0.05)

    def wrote(self) -> bool:
        return any((self.data / "inference-log").rglob("part-*.parquet"))


@pytest.fixture
def installation(real_time_database: Database, tmp_path: Path) -> Iterator[Installation]:
    made = Installation(real_time_database, tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.wait()
    made.log.close()


@SQLITE
def test_an_ingest_that_is_killed_loses_nothing_and_tells_nothing_twice(installation: Installation) -> None:
    for start in range(0, 100, 10):
        installation.accept(start, start + 10)
    killed = installation.ingest(BEFORE_REMOVAL)
    assert killed.wait(timeout=BOUND) == -9, (installation.folder / "ingest.log").read_text()[-3000:]
    assert installation.wrote(), "it was killed before anything lay in the log"
    assert len(installation.spool.waiting()) == 10, "it was killed after it had removed them"
    dropped = installation.data / "ingest" / "drop" / ENDPOINT / "requests"
    dropped.mkdir(parents=True)
    (dropped / "a.ndjson").write_text(f'{{"request_id": "dropped", "event_time": "{AT.isoformat()}"}}\n')
    os.utime(dropped / "a.ndjson", (time.time() - SETTLED_SECONDS - 1,) * 2)
    assert installation.ingest(BEFORE_MOVE).wait(timeout=BOUND) == -9
    assert (dropped / "a.ndjson").exists()
    last = installation.ingest()
    installation.accept(95, 120)  # some of them once more, while it works
    end = time.monotonic() + BOUND
    while (dropped / "a.ndjson").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    installation.emptied()
    last.terminate()
    assert last.wait(timeout=BOUND) == 0
    assert installation.ids() == sorted([*(f"r{n}" for n in range(120)), "dropped"])


def test_a_sender_that_is_killed_before_it_is_told_leaves_nothing_that_counts(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "COUNTERSIGN_FAILPOINT": BEFORE_HAND_OVER}
    command = [sys.executable, "-c", PUT, str(tmp_path / "spool"), ENDPOINT]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=BOUND, check=False)
    assert (done.returncode, done.stdout) == (-9, b"")
    spool = Spool(tmp_path / "spool")
    assert spool.waiting() == []
    (left,) = (tmp_path / "spool").iterdir()
    spool.tidy(datetime.now(UTC))
    assert left.exists(), "it could still be written"
    spool.tidy(datetime.now(UTC) + timedelta(days=2))
    assert not left.exists()
