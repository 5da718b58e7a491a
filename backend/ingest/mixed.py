"""Which endpoints are sampled though one source of their requests names units and another does not.

A part without a unit is sampled by its request's id, one with a unit by that, so that most requests are kept in part only: an
answer without its features, or features without who answered. It shows by those that both kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backend.inference_log.copies import Row
from backend.inference_log.rules import Request

MOST_IDS = 5_000
"""Requests of one endpoint that are remembered at once; the oldest are forgotten first."""


class Mixed:
    """What one thread takes in. Nothing is remembered of endpoints that are not sampled."""

    def __init__(self, most: int = MOST_IDS) -> None:
        self._most = most
        self._named: dict[str, dict[str, bool]] = {}
        self._found: dict[str, int] = {}

    def look(self, endpoint: str, every: int, rows: Sequence[Row]) -> None:
        """Looks at rows that are kept."""
        if every <= 1:
            self._named.pop(endpoint, None)
            return
        known = self._named.setdefault(endpoint, {})
        for row in rows:
            if not isinstance(row, Request):
                continue
            names = row.unit is not None
            if known.setdefault(row.request_id, names) != names:
                self._found[endpoint] = self._found.get(endpoint, 0) + 1
                known[row.request_id] = names
        for one in list(known)[: max(0, len(known) - self._most)]:
            del known[one]

    def taken(self) -> Mapping[str, int]:
        """Endpoint -> requests that were told of both with and without their unit, since this was asked last."""
        found, self._found = self._found, {}
        return found
