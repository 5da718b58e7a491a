"""Who acts, and under which request: passed in explicitly to commands, carried along for the logs only."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

ActorKind = Literal["person", "service", "system"]

request_id: ContextVar[str] = ContextVar("request_id", default="")
change_id: ContextVar[str] = ContextVar("change_id", default="")


@dataclass(frozen=True)
class Limits:
    """What a token is good for at most, whatever its identity may do.

    Args:
        role: no more than this role; None for every role that the identity holds.
        scope: nowhere but here.
        besides: further roles that count as well, where a token was given several.
    """

    role: str | None = None
    scope: str = "*"
    besides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Actor:
    """The identity that a command acts as.

    Args:
        id: pseudonymous id (`idn_...`); the ledger holds this and never a name or an address.
        name: what pages show; never written to the ledger.
        kind: person, service (a bot, CI) or system (the worker itself).
        owner_id: for a service, the person who owns it; both count as one interest.
        limits: what the token by which it acts is narrowed to; every check counts them.
        means: the id of what it acts by, where that is a token or a binding; for the logs, and decides nothing.
        from_outside: whether another system's token speaks for it, which must not make itself one that outlives it.
        made_by: who made the token by which it acts, and may have kept it when the service got another owner.
    """

    id: str
    name: str
    kind: ActorKind = "person"
    owner_id: str | None = None
    limits: Limits | None = None
    means: str = field(default="", compare=False)
    from_outside: bool = field(default=False, compare=False)
    made_by: str | None = field(default=None, compare=False)

    @property
    def interests(self) -> frozenset[str]:
        """Ids that count as this one interest in the separation of duties."""
        return frozenset(one for one in (self.id, self.owner_id, self.made_by) if one)


SYSTEM = Actor(id="idn_system", name="Countersign", kind="system")
