"""The worker's figures for Prometheus, in a registry of their own and on loopback only."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

from backend.core.errors import Refusal

_SECONDS = (0.005, 0.02, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """Counted as things happen; only the heartbeat's age is worked out when it is scraped."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        kind = ["kind"]
        self._handled = Counter(
            "countersign_worker_handled",
            "Items handled, by outcome (done, failed, lost)",
            ["kind", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "countersign_worker_handle_seconds", "Time in a handler", kind, registry=registry, buckets=_SECONDS
        )
        self._lag = Histogram(
            "countersign_worker_due_lag_seconds",
            "How long the oldest due item of a kind had waited when this worker claimed",
            kind,
            registry=registry,
            buckets=_SECONDS,
        )
        self._held = Gauge("countersign_worker_held", "Items in a handler's hands", kind, registry=registry)
        self._hung = Counter(
            "countersign_worker_hung", "Handlers that held an item too long and lost it", kind, registry=registry
        )
        self._leader = Gauge("countersign_worker_leader", "Whether this worker runs the periodic jobs", registry=registry)
        self._overdue = Gauge(
            "countersign_work_overdue", "Items that were due and that nobody took; told by the leader", kind, registry=registry
        )
        self._failing = Gauge(
            "countersign_work_failing", "Items whose latest attempts failed; told by the leader", kind, registry=registry
        )
        self._jobs = Counter("countersign_worker_jobs", "Periodic jobs run, by outcome", ["job", "outcome"], registry=registry)
        self._problems = Counter(
            "countersign_worker_claim_problems", "Looks for work that failed, e.g. without a database", registry=registry
        )
        self._beat: float | None = None
        age = Gauge("countersign_worker_heartbeat_age_seconds", "Since this worker last wrote its heartbeat", registry=registry)
        age.set_function(self._beat_age)

    def handled(self, kind: str, outcome: str, seconds: float) -> None:
        """One claim was handled."""
        self._handled.labels(kind, outcome).inc()
        self._seconds.labels(kind).observe(seconds)

    def lag(self, kind: str, seconds: float) -> None:
        """How long the oldest item of a kind had been due when it was claimed."""
        self._lag.labels(kind).observe(max(0.0, seconds))

    def held(self, kind: str, change: int) -> None:
        """More or fewer items are held."""
        self._held.labels(kind).inc(change)

    def hung(self, kind: str) -> None:
        """A handler lost its item because it hangs."""
        self._hung.labels(kind).inc()

    def job(self, name: str, outcome: str) -> None:
        """A periodic job ran: `done` or `failed`."""
        self._jobs.labels(name, outcome).inc()

    def beat(self, *, leader: bool) -> None:
        """A heartbeat was written. Who does not lead says nothing of what waits."""
        self._beat = time.monotonic()
        self._leader.set(int(leader))
        if not leader:
            self._overdue.clear()
            self._failing.clear()

    def claim_problem(self) -> None:
        """A look for work failed."""
        self._problems.inc()

    def waiting(self, kinds: Iterable[str], *, overdue: Mapping[str, int], failing: Mapping[str, int]) -> None:
        """What the leader's sweep found, kind by kind; kinds without any are told as 0."""
        for kind in {*kinds, *overdue, *failing}:
            self._overdue.labels(kind).set(overdue.get(kind, 0))
            self._failing.labels(kind).set(failing.get(kind, 0))

    def serve(self, port: int) -> WSGIServer:
        """Answers scrapes on loopback until `shutdown` is called on what it returns. Port 0 takes a free one."""
        try:
            return start_http_server(port, "127.0.0.1", self.registry)[0]
        except OSError as error:
            raise Refusal(
                f"Port {port} for the worker's metrics is taken.",
                "Choose another port in COUNTERSIGN_METRICS_PORT, or unset it.",
                code="port-taken",
            ) from error

    def _beat_age(self) -> float:
        return float("nan") if self._beat is None else time.monotonic() - self._beat
