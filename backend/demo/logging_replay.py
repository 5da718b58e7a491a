"""Hand what the replayer sees to the inference log in this very process: whole requests, where nobody else tells who answered.

replay = LoggedReplay(log, "flight-delay")
Replayer(flights, route, rate=50, on_request=replay.request, on_arrival=replay.arrival)
"""

from __future__ import annotations

import re

from backend.demo.replayer import Arrival, Replayed
from backend.inference_log.service import InferenceLog

_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


class LoggedReplay:
    """The replayer's two callbacks for one endpoint; any thread may call them.

    A flight that is replayed again under the same request id counts once: the later answer does. A row that the log rejects (a
    router may name anything as its arm) is counted in `log.stats()`.
    """

    def __init__(self, log: InferenceLog, endpoint: str) -> None:
        self._log, self._endpoint = log, endpoint

    def request(self, replayed: Replayed) -> None:
        """Logs one finished request."""
        self._log.append(self._endpoint, [request_row(replayed)])

    def arrival(self, arrival: Arrival) -> None:
        """Logs one outcome."""
        self._log.append_outcomes(self._endpoint, [outcome_row(arrival)])

    def start(self) -> None:
        """Nothing has to be begun."""

    def close(self) -> None:
        """Writes what is held."""
        self._log.flush()


def request_row(replayed: Replayed) -> dict[str, object]:
    """A finished request as a row of the log. A version that is no whole number is a runtime's own name for it: left out."""
    return {
        "event_time": replayed.event_time,
        "received_at": replayed.received_at,
        "request_id": replayed.request_id,
        "unit": replayed.unit_id,
        "bucket": replayed.bucket,
        "assigned_arm": replayed.assigned_arm,
        "served_arm": replayed.served_arm,
        "generation": replayed.generation,
        "version": _registered(replayed.version),
        "features": replayed.features,
        "prediction": replayed.prediction,
        "latency_seconds": replayed.latency_seconds,
        "status": replayed.status,
        "failure": replayed.failure,
    }


def outcome_row(arrival: Arrival) -> dict[str, object]:
    """A flight's outcome as a row of the log: `late` (0 or 1) and `delay_minutes` (None when it was cancelled)."""
    return {
        "request_id": arrival.request_id,
        "known_at": arrival.known_at,
        "values": {"late": arrival.late, "delay_minutes": arrival.delay_minutes},
    }


def _registered(version: str | None) -> int | None:
    return int(version) if version is not None and _NUMBER.fullmatch(version) else None
