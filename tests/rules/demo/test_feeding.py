"""What the demo's program tells the API: parts of requests and outcomes, in batches, again where nobody took them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backend.client.errors import Unreachable
from backend.demo.feeding import MOST, FedReplay, part_row
from backend.demo.logging_replay import outcome_row
from backend.demo.replayer import Arrival, Replayed
from backend.inference_log.rules import is_part, outcome_of, part_of

NOW = datetime(2026, 11, 30, 19, 12, 56, 42_000, UTC)


def replayed(name: str) -> Replayed:
    features = {"temp": None, "carrier": "UA", "hour": 9.0}
    return Replayed(NOW, NOW, name, "UA1545", 17, "v1", "v1", 3, "1", features, 0.31, 0.02, 200, "")


class Api:
    """Notes what it is told; fails as long as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.batches = failures, list[tuple[int, int]]()
        self.requests, self.outcomes = list[Mapping[str, Any]](), list[Mapping[str, Any]]()

    def feed(self, requests: Any, outcomes: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise Unreachable("Nobody is there.", applied_unknown=False)
        self.batches.append((len(requests), len(outcomes)))
        self.requests += json.loads(json.dumps(requests))
        self.outcomes += json.loads(json.dumps(outcomes))


def test_what_was_asked_is_told_as_a_part_and_what_became_of_it_as_an_outcome() -> None:
    api = Api()
    feed = FedReplay(api.feed, every=60)
    feed.request(replayed("one"))
    feed.arrival(Arrival("one", NOW, True, None))
    feed.start()
    feed.close()
    (request,), (outcome,) = api.requests, api.outcomes
    assert is_part(request), "who answered is told by the router"
    part = part_of(request, NOW)
    assert (part.request_id, part.event_time, part.unit, part.prediction) == ("one", NOW, "UA1545", 0.31)
    assert outcome_of(outcome, NOW).known_at == NOW
    assert outcome["values"] == outcome_row(Arrival("one", NOW, True, None))["values"]
    assert part_row(replayed("one"))["features"] == {"temp": None, "carrier": "UA", "hour": 9.0}


def test_many_rows_are_many_batches_in_their_order_and_none_is_lost_where_nobody_took_it() -> None:
    api = Api(failures=1)
    feed = FedReplay(api.feed, every=0.01)
    names = [f"r{number}" for number in range(MOST + 500)]
    for name in names:
        feed.request(replayed(name))
    feed.start()
    while len(api.requests) < len(names):
        assert feed._thread.is_alive()
    feed.close()
    assert [one["request_id"] for one in api.requests] == names
    assert [count for count, _ in api.batches] == [MOST, 500]
