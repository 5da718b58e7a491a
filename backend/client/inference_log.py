"""`client.inference_logs`: feeding them, what is kept of them, and taking a unit out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backend.client.pages import MOST, Pages
from backend.client.results import BatchTaken, Erasure, LogRules
from backend.client.shapes import read
from backend.client.wire import Answer, Wire

MOST_ROWS = 10_000
"""Of one batch; 8 MiB of JSON at most."""


class InferenceLogs:
    """The inference logs of endpoints. Reading single rows is `client.data_sets.requests`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def feed(
        self, endpoint: str, *, requests: Iterable[Mapping[str, Any]] = (), outcomes: Iterable[Mapping[str, Any]] = ()
    ) -> BatchTaken:
        """Hands a batch over. Sent again by itself where the answer was lost: a request's id counts once.

        Times are texts with their zone. Malformed rows are left out and told by their places; the rest is taken.
        """
        sent = {"endpoint": endpoint, "requests": [dict(one) for one in requests], "outcomes": [dict(one) for one in outcomes]}
        return read(BatchTaken, self._wire.send("POST", ("inference-log",), sent=sent, again=True).content)

    def rules(self, endpoint: str) -> LogRules:
        """What is kept of an endpoint's requests, with the `etag` that setting it is bound to."""
        return _rules(self._wire.get("endpoints", endpoint, "inference-log"))

    def set_rules(
        self,
        endpoint: str,
        *,
        if_match: str,
        sample_every: int = 1,
        redactions: Sequence[Mapping[str, Any]] = (),
        kept_days: Mapping[str, int] | None = None,
        unit_header: str = "x-unit-id",
    ) -> LogRules:
        """Says all of what is kept from now on.

        Args:
            if_match: the `etag` of the rules that were looked at.
            redactions: each with `column`, `how` and, for `truncate`, `length`.
            kept_days: by table: `requests`, `parts`, `outcomes`.
        """
        sent = {
            "sample_every": sample_every,
            "redactions": [dict(one) for one in redactions],
            "kept_days": dict(kept_days or {}),
            "unit_header": unit_header,
        }
        return _rules(self._wire.send("PUT", ("endpoints", endpoint, "inference-log"), sent=sent, if_match=if_match))

    def erase(self, endpoint: str, unit: str, *, reason: str, later: bool = False) -> Erasure:
        """Has every row of a unit taken out; look at `erasures` until it is `done`."""
        sent = {"unit": unit, "reason": reason, "later": later}
        return read(
            Erasure, self._wire.send("POST", ("endpoints", endpoint, "inference-log", "erasures"), sent=sent, key="").content
        )

    def erasures(self, endpoint: str) -> tuple[Erasure, ...]:
        """Units that were, or are to be, taken out, the newest first."""
        return tuple(Pages(self._wire, Erasure, "endpoints", endpoint, "inference-log", "erasures").all(limit=MOST))


def _rules(answer: Answer) -> LogRules:
    return replace(read(LogRules, answer.content), etag=answer.etag)
