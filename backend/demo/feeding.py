"""Feed the inference log as a program of one's own would: what was asked and answered, and what became of it, through the API.

Who answered is not told here: Envoy's log says that to `countersign ingest`, and both come together by the request's id
(docs/inference-log.md). The program is a service, and its token is good for nothing else: it is made when the demo starts and
revoked when it ends.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from sqlmodel import select

from backend.access.rows import Identity, Request, RoleGrant
from backend.bootstrap import Backend
from backend.client.countersign import Countersign
from backend.client.errors import ClientError
from backend.demo.flights_setup import MODEL
from backend.demo.logging_replay import outcome_row
from backend.demo.people import Cast
from backend.demo.replayer import Arrival, Replayed

FEEDER = "flights-feed"
ROLE, SCOPE = "contributor", f"model:{MODEL}"
EVERY_SECONDS = 2.0
MOST = 2_000
"""Rows of one batch."""
HELD = 200_000
"""Rows that wait while nobody takes them; the oldest go beyond that."""
Rows = Sequence[Mapping[str, Any]]
Tell = Callable[[Rows, Rows], object]
log = structlog.get_logger()


class FedReplay:
    """The replayer's two callbacks: rows are held, and handed over in batches by a thread of its own.

    Args:
        tell: hands requests and outcomes over. ClientError where nobody takes them: they are told again.
    """

    def __init__(self, tell: Tell, *, every: float = EVERY_SECONDS) -> None:
        self._tell, self._every = tell, every
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._requests: deque[Mapping[str, Any]] = deque(maxlen=HELD)
        self._outcomes: deque[Mapping[str, Any]] = deque(maxlen=HELD)
        self._thread = threading.Thread(target=self._run, name="demo-feed", daemon=True)

    def request(self, replayed: Replayed) -> None:
        """Takes one finished request."""
        with self._lock:
            self._requests.append(part_row(replayed))

    def arrival(self, arrival: Arrival) -> None:
        """Takes one outcome."""
        row = outcome_row(arrival)
        with self._lock:
            self._outcomes.append({**row, "known_at": arrival.known_at.isoformat()})

    def start(self) -> None:
        """Begins to hand over; once only."""
        self._thread.start()

    def close(self) -> None:
        """Hands over what is held, if somebody takes it, and ends."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            self._hand_over()
        self._hand_over()

    def _hand_over(self) -> None:
        """All that is held. What could not be told stands first again."""
        while batch := self._taken():
            try:
                self._tell(*batch)
            except ClientError as problem:
                with self._lock:
                    self._requests.extendleft(reversed(batch[0]))
                    self._outcomes.extendleft(reversed(batch[1]))
                log.warning("demo.not_fed", problem=str(problem))
                return

    def _taken(self) -> tuple[Rows, Rows] | None:
        with self._lock:
            requests = [self._requests.popleft() for _ in range(min(MOST, len(self._requests)))]
            outcomes = [self._outcomes.popleft() for _ in range(min(MOST, len(self._outcomes)))]
        return (requests, outcomes) if requests or outcomes else None


def part_row(replayed: Replayed) -> dict[str, Any]:
    """What a caller knows of its request, as JSON: what it asked, and the answer. The router says who gave it."""
    return {
        "request_id": replayed.request_id,
        "event_time": replayed.event_time.isoformat(),
        "unit": replayed.unit_id,
        "features": dict(replayed.features),
        "prediction": replayed.prediction,
    }


@contextmanager
def fed(backend: Backend, url: str, endpoint: str) -> Iterator[FedReplay]:
    """Feeds an endpoint's log through the API at `url`, by a token that ends with the block."""
    ana = Cast.of(backend).ana
    _feeder(backend)
    for left in backend.tokens.list(ana):  # by a demo that was killed
        if left.identity == FEEDER and left.state == "active":
            backend.tokens.revoke(ana, left.id)
    token = backend.tokens.create(ana, f"feed of {endpoint}", identity=FEEDER, role=ROLE, scope=SCOPE)
    try:
        with Countersign(url, token.text) as client:
            yield FedReplay(lambda asked, known: client.inference_logs.feed(endpoint, requests=asked, outcomes=known))
    finally:
        backend.tokens.revoke(ana, token.id)


def _feeder(backend: Backend) -> None:
    """The service with its role, which two administrators give it, as production is among what it reaches."""
    cast = Cast.of(backend)
    with backend.database.read() as session:
        row = session.exec(select(Identity).where(Identity.name == FEEDER)).one_or_none()
        held = select(RoleGrant.id).where(RoleGrant.identity_id == (row.id if row else ""), RoleGrant.role == ROLE)
        has_role = session.exec(held).first() is not None
    if row is None:
        backend.identities.create(cast.otto, FEEDER, kind="service", display_name="Feed of the flights", owner="ana")
    if not has_role:
        asked = backend.identities.grant(cast.otto, FEEDER, ROLE, SCOPE)
        if isinstance(asked, Request):
            backend.identities.confirm_grant(cast.nora, asked.id, "It only feeds the inference log.")
