"""`client.findings`: what was found wrong, who looks after it, and what people say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from backend.client.pages import Pages
from backend.client.results import Finding, FindingCount, FindingLine, FindingMessage, Page
from backend.client.shapes import read
from backend.client.wire import Answer, Wire


class Findings:
    """Findings. One is named by its number or its id."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def page(self, *, after: str | None = None, limit: int = 50, **narrow: Any) -> Page[FindingLine]:
        """One page, the worst first, narrowed by `state`, `severity`, `environment`, `endpoint`, `model`, `kind`, `owner`."""
        return Pages(self._wire, FindingLine, "findings").page(after=after, limit=limit, **narrow)

    def counts(self, **narrow: Any) -> tuple[FindingCount, ...]:
        """How many there are of each state and severity."""
        return tuple(Pages(self._wire, FindingCount, "findings", "counts").page(**narrow))

    def show(self, finding: str | int) -> Finding:
        """One finding whole, with the `etag` that an act may be bound to."""
        return _one(self._wire.get("findings", finding))

    def messages(self, finding: str | int) -> tuple[FindingMessage, ...]:
        """Who was told of it, and what became of that."""
        return tuple(Pages(self._wire, FindingMessage, "findings", finding, "messages").all())

    def acknowledge(self, finding: str | int, reason: str = "", *, if_match: str = "") -> Finding:
        """Somebody looks after it, so that nobody else is called."""
        return self._act(finding, "acknowledge", {"reason": reason}, if_match)

    def assign(
        self, finding: str | int, *, person: str | None = None, team: str | None = None, reason: str = "", if_match: str = ""
    ) -> Finding:
        """Whose it is; with neither it is the team's again that owns the place."""
        return self._act(finding, "assign", {"person": person, "team": team, "reason": reason}, if_match)

    def snooze(self, finding: str | int, until: datetime, reason: str, *, if_match: str = "") -> Finding:
        """Nobody is called until then."""
        return self._act(finding, "snooze", {"until": until.isoformat(), "reason": reason}, if_match)

    def resolve(self, finding: str | int, reason: str, *, outcome: str = "fixed", if_match: str = "") -> Finding:
        """It is over: `fixed`, `expected` or a `false_alarm`."""
        return self._act(finding, "resolve", {"reason": reason, "outcome": outcome}, if_match)

    def reopen(self, finding: str | int, reason: str, *, if_match: str = "") -> Finding:
        """It is not over, or somebody has to answer it anew."""
        return self._act(finding, "reopen", {"reason": reason}, if_match)

    def test(self, endpoint: str, *, severity: str = "warning", key: str = "") -> Finding:
        """Opens a finding that says that it is a test, and ends it; `messages` of its number say whom that reached."""
        sent = {"endpoint": endpoint, "severity": severity}
        return read(Finding, self._wire.send("POST", ("findings", "test"), sent=sent, key=key).content)

    def _act(self, finding: str | int, act: str, sent: Mapping[str, Any], if_match: str) -> Finding:
        path = ("findings", finding, act)
        return _one(self._wire.send("POST", path, sent=dict(sent), if_match=if_match, again=not if_match))


def _one(answer: Answer) -> Finding:
    return replace(read(Finding, answer.content), etag=answer.etag)
