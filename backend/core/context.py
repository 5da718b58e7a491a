"""Who acts, and under which request: passed in explicitly to commands, carried along for the logs only."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

ActorKind = Literal["person", "service", "system"]

request_id: ContextVar[str] = ContextVar("request_id", default="")
change_id: ContextVar[str] = ContextVar("change_id", default="")


@dataclass(frozen=True)
class Actor:
    """The identity that a command acts as.

    Args:
        id: pseudonymous id (`idn_...`); the ledger holds this and never a name or an address.
        name: what pages show; never written to the ledger.
        kind: person, service (a bot, CI) or system (the worker itself).
        owner_id: for a service, the person who owns it; both count as one interest.
    """

    id: str
    name: str
    kind: ActorKind = "person"
    owner_id: str | None = None

    @property
    def interests(self) -> frozenset[str]:
        """Ids that count as this one interest in the separation of duties."""
        return frozenset(one for one in (self.id, self.owner_id) if one)


SYSTEM = Actor(id="idn_system", name="Countersign", kind="system")
