"""Which environment's policy speaks of a champion alias that somebody moved in the registry."""

from __future__ import annotations

from sqlmodel import Session

from backend.policy import queries, service
from backend.registry import rules
from backend.registry.aliases import PutBack


def as_policy_says(pattern: str) -> PutBack:
    """Put back where the policy in force says so; an alias of ours that belongs to no environment always is.

    Args:
        pattern: the alias of an environment's champion, with `{environment}` in it. One without it belongs to all of them.
    """

    def put_back(session: Session, alias: str) -> bool:
        own = [one for one in queries.names(session) if rules.alias_name(pattern, one) == alias]
        return all(service.in_force(session, one).policy.alias_repair == "repair" for one in own)

    return put_back
