"""`client.audit`, `client.policies`, `client.freezes`: the ledger, and what environments ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from backend.client.pages import MOST, Pages
from backend.client.results import EnvironmentLine, Event, Freeze, Page, Policy, SavedPolicy, Verification
from backend.client.shapes import read
from backend.client.wire import Wire

_WALK_SECONDS = 1_800.0


class Audit:
    """The ledger."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def page(self, *, after: int | str | None = None, limit: int = 100, **narrow: Any) -> Page[Event]:
        """One page of its rows, newest first, narrowed by `subject` (KIND/ID), `action`, `actor` or `until`."""
        return Pages(self._wire, Event, "audit", "events").page(after=after, limit=limit, **narrow)

    def events(
        self,
        *,
        subject: str | None = None,
        action: str | None = None,
        until: datetime | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[Event, ...]:
        """So many rows, over as many pages as that takes."""
        narrow = {"subject": subject, "action": action, "until": until.isoformat() if until is not None else None}
        found: list[Event] = []
        at: int | str | None = before
        while len(found) < limit:
            page = self.page(after=at, limit=min(MOST, limit - len(found)), **narrow)
            found += islice(page.items, limit - len(found))
            if page.next is None:
                break
            at = page.next
        return tuple(found)

    def verify(self) -> Verification:
        """Walks the whole chain and compares it with every signed head."""
        return read(Verification, self._wire.send("POST", ("audit", "verify"), again=True, seconds=_WALK_SECONDS).content)


class Policies:
    """What environments ask of a change."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def environments(self) -> tuple[EnvironmentLine, ...]:
        """Environments in promotion order, each with the policy in force and why nothing starts there."""
        return tuple(Pages(self._wire, EnvironmentLine, "environments").all(limit=MOST))

    def show(self, environment: str) -> Policy:
        """What an environment asks for now."""
        answer = self._wire.get("policies", environment)
        return replace(read(Policy, answer.content), etag=answer.etag)

    def set(self, environment: str, policy: Mapping[str, Any], *, if_match: str) -> SavedPolicy:
        """Puts a policy in force; one that asks for less waits for a second person.

        Args:
            if_match: the `etag` of the one that was looked at.
        """
        path = ("policies", environment)
        return read(SavedPolicy, self._wire.send("PUT", path, sent=dict(policy), if_match=if_match).content)


class Freezes:
    """Stops of all starts."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Freeze, ...]:
        """Freezes, the newest first."""
        return tuple(Pages(self._wire, Freeze, "freezes").all(limit=MOST))

    def set(self, scope: str, reason: str) -> Freeze:
        """Stops all starts in an environment, or everywhere (`*`)."""
        return read(Freeze, self._wire.send("POST", ("freezes",), sent={"scope": scope, "reason": reason}, key="").content)

    def lift(self, freeze: str, reason: str) -> None:
        """Lifts a freeze."""
        self._wire.send("POST", ("freezes", freeze, "lift"), sent={"reason": reason}, again=True)
