"""`countersign up --demo` as a process of its own, for journeys: MLflow, Triton, Envoy, worker, pages, and flights flowing.

The services of this process look at the same data folder, as somebody else's command line would: they tell what really is,
and propose what a journey begins with. What the journey is about is done by clicks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from sqlmodel import Session, col, select

from backend import bootstrap
from backend.bootstrap import Backend
from backend.changes.rows import Change, Vote
from backend.core.context import Actor
from backend.delivery.rows import Authorization, Endpoint, Generation
from backend.demo.flights import Flights
from backend.demo.flights_setup import MODEL, PRODUCTION
from backend.demo.inference import infer_body
from backend.embedded.state import ChildState, read_state
from backend.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 500
SETTLE_SECONDS = 180
T = TypeVar("T")


@dataclass
class WholeStack:
    """The running stack.

    Args:
        told: what `up --demo --json` printed: addresses, and the number of the change that waits.
        backend: the services over the same data folder, in this process.
    """

    folder: Path
    told: Mapping[str, Any]
    backend: Backend

    @property
    def web(self) -> str:
        """The address of the pages."""
        return str(self.told["web"])

    def actor(self, name: str) -> Actor:
        """A demo identity."""
        return self.backend.identities.act_as(name)

    def child(self, name: str) -> ChildState:
        """One process of the group, as its supervisor sees it."""
        state = read_state(self.folder / "runtimes")
        assert state is not None
        return next(one for one in state.children if one.name == name)

    def triton(self, path: str, body: Mapping[str, Any] | None = None) -> None:
        """What somebody does to Triton by hand, with the key that stands in its arguments."""
        words = psutil.Process(self.child("triton").pid).cmdline()
        key = next(one for one in words if one.startswith("--http-restricted-api")).rpartition("=")[2]
        with httpx.Client(trust_env=False, timeout=60) as client:
            client.post(f"{self.told['triton']}/v2/repository/{path}", json=body, headers={"admin-key": key}).raise_for_status()

    def answers(self, flights: int = 12) -> dict[str, int]:
        """Version -> how many of so many flights it answered, asked through Envoy; a failure counts under its status."""
        wanted = Flights.open(self.folder / "cache").iter_requests((6,))
        address, found = f"{self.told['envoy']}/{PRODUCTION}/v2/models/{MODEL}/infer", Counter[str]()
        with httpx.Client(trust_env=False, timeout=30) as client:
            for one, _ in zip(wanted, range(flights), strict=False):
                said = {"x-unit-id": one.unit_id, "x-request-id": one.request_id, "content-type": "application/json"}
                answer = client.post(address, content=infer_body(one.request_id, one.features), headers=said)
                found[str(answer.json().get("model_version")) if answer.is_success else f"http-{answer.status_code}"] += 1
        return dict(found)

    def propose(self, title: str, **terms: Any) -> int:
        """A change of Ana's that asks for version 2 in production, once its checks have passed."""
        made = self.backend.changes.propose(
            self.actor("ana"), endpoint=PRODUCTION, version=2, title=title, reason="It is better in summer.", **terms
        )
        self.until(lambda: self.change(made.number).state == "review", f"change {made.number} in review")
        return made.number

    def change(self, number: int) -> Change:
        """A change as it is now."""
        return self._read(lambda session: session.exec(select(Change).where(Change.number == number)).one())

    def endpoint(self) -> Endpoint:
        """The production endpoint as it is now."""
        return self._read(lambda session: session.exec(select(Endpoint).where(Endpoint.name == PRODUCTION)).one())

    def votes(self, number: int) -> list[str]:
        """The verdicts on a change that count."""
        mine = select(Vote).where(Vote.change_id == self.change(number).id, Vote.void_reason == "")
        return [one.verdict for one in self._read(lambda session: list(session.exec(mine)))]

    def grants(self, number: int) -> list[str]:
        """Every authorization that a change was ever given: `valid` or `revoked`."""
        mine = select(Authorization).where(Authorization.change_id == self.change(number).id)
        found = self._read(lambda session: list(session.exec(mine)))
        return ["valid" if one.revoked_at is None else "revoked" for one in found]

    def generations(self) -> list[tuple[int, str]]:
        """Number and reason of every generation of production, oldest first."""
        query = select(Generation).where(Generation.endpoint_id == self.endpoint().id).order_by(col(Generation.number))
        return [(one.number, one.reason) for one in self._read(lambda session: list(session.exec(query)))]

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Waits for something that no page shows."""
        limit = time.monotonic() + SETTLE_SECONDS
        while not holds():
            assert time.monotonic() < limit, f"it did not come to be: {what}"
            time.sleep(0.2)

    def _read(self, query: Callable[[Session], T]) -> T:
        with self.backend.database.read() as session:
            return query(session)


@contextmanager
def started(folder: Path) -> Iterator[WholeStack]:
    """Starts everything in a folder of its own, and ends it as Ctrl-C does. Logs are in `said` beside the data."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COUNTERSIGN_", "STREAMLIT_"))}
    runtimes = {key: os.environ[key] for key in ("COUNTERSIGN_RUNTIMES_DIR",) if key in os.environ}
    data = folder / "data"
    command = [sys.executable, "-P", "-m", "backend.cli.main", "up", "--demo", "--json", "--port", "0", "--data", str(data)]
    with (folder / "said").open("w") as said, (folder / "answer").open("w") as answer:
        environment = {**kept, **runtimes, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=answer, stderr=said, text=True)
    try:
        with _attached(data, _told(process, folder)) as stack:
            yield stack
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 0, (folder / "said").read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(timeout=60)


@contextmanager
def _attached(data: Path, told: Mapping[str, Any]) -> Iterator[WholeStack]:
    settings = Settings(data_dir=data, demo_identities=True, mlflow_url=told["mlflow"], allowed_networks="127.0.0.0/8")
    backend = bootstrap.build(settings)
    try:
        yield WholeStack(data, told, backend)
    finally:
        backend.close()


def _told(process: subprocess.Popen[str], folder: Path) -> Mapping[str, Any]:
    limit = time.monotonic() + READY_SECONDS
    while not (text := (folder / "answer").read_text()).endswith("\n"):
        assert process.poll() is None, (folder / "said").read_text()
        assert time.monotonic() < limit, (folder / "said").read_text()
        time.sleep(0.2)
    found: Mapping[str, Any] = json.loads(text)
    return found
