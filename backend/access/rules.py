"""Who may do what: one table of actions and roles, and pure decisions on the grants that an identity holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from backend.core.errors import Refusal

Role = Literal["viewer", "contributor", "reviewer", "operator", "auditor", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

_EVERYONE = frozenset(ROLES)


def _roles(*names: Role) -> frozenset[Role]:
    return frozenset(names)


ACTIONS: dict[str, frozenset[Role]] = {
    "model.read": _EVERYONE,
    "change.read": _EVERYONE,
    "endpoint.read": _EVERYONE,
    "policy.read": _EVERYONE,
    "version.register": _roles("contributor", "operator"),
    "card.write": _roles("contributor", "operator"),
    "registry.refresh": _roles("contributor", "reviewer", "operator", "admin"),
    "change.propose": _roles("contributor", "operator"),
    "change.edit": _roles("contributor", "operator"),
    "change.withdraw": _roles("contributor", "operator"),
    "change.comment": _roles("contributor", "reviewer", "operator", "admin"),
    "change.vote": _roles("reviewer"),
    "change.start": _roles("contributor", "operator"),
    "change.revoke": _roles("reviewer", "operator", "admin"),
    "change.roll_back": _roles("contributor", "reviewer", "operator", "admin"),
    "rollout.pause": _roles("contributor", "reviewer", "operator", "admin"),
    "rollout.resume": _roles("operator"),
    "rollout.let_on": _roles("reviewer", "operator"),
    "rollout.abort": _roles("contributor", "reviewer", "operator", "admin"),
    "endpoint.create": _roles("operator", "admin"),
    "endpoint.adopt": _roles("operator", "admin"),
    "endpoint.look": _roles("contributor", "reviewer", "operator", "admin"),
    "endpoint.sign_off": _roles("reviewer", "operator"),
    "endpoint.remove": _roles("operator", "admin"),
    "endpoint.pause": _roles("operator", "admin"),
    "endpoint.resume": _roles("operator"),
    "endpoint.repair": _roles("operator"),
    "endpoint.set_repair": _roles("operator"),
    "server.register": _roles("operator", "admin"),
    "server.edit": _roles("operator", "admin"),
    "server.test": _roles("operator", "admin"),
    "server.remove": _roles("operator", "admin"),
    "freeze.set": _roles("operator", "admin"),
    "freeze.lift": _roles("admin"),
    "policy.set": _roles("admin"),
    "identity.create": _roles("admin"),
    "identity.deactivate": _roles("admin"),
    "role.grant": _roles("admin"),
    "role.take_back": _roles("admin"),
    "identity.provision": _roles("admin"),
    "session.list": _roles("admin"),
    "session.revoke": _roles("admin"),
    "token.list": _roles("admin"),
    "token.revoke": _roles("admin"),
    "audit.read": _roles("auditor", "admin"),
    "audit.verify": _roles("auditor", "admin"),
    "audit.export": _roles("auditor"),
}
"""Action -> the roles that may do it. Stopping and going back is open to more roles than going forward. An admin sets the
rules and therefore neither votes nor starts. The token and session actions are about other people's: one's own need no role.
"""

_SCOPE = re.compile(r"^(\*|environment:[a-z0-9][a-z0-9-]{0,62}|model:.{1,256})$")


@dataclass(frozen=True)
class Grant:
    """One role in one scope, until a time."""

    role: str
    scope: str = "*"
    expires_at: datetime | None = None

    def covers(self, environment: str | None, model: str | None) -> bool:
        """Whether the scope reaches an action on this environment or this model."""
        if self.scope == "*":
            return True
        kind, _, name = self.scope.partition(":")
        return name == {"environment": environment, "model": model}.get(kind)

    def in_force(self, now: datetime) -> bool:
        """Whether it has not expired; the moment of expiry itself is outside."""
        return self.expires_at is None or now < self.expires_at


def check_action(action: str) -> None:
    """An action that is not in the table is a defect, never a default."""
    if action not in ACTIONS:
        raise KeyError(f"no such action: {action}")


def roles_in_force(
    grants: Iterable[Grant], *, now: datetime, environment: str | None = None, model: str | None = None
) -> frozenset[str]:
    """The roles that count for something in this environment and on this model at this moment."""
    return frozenset(one.role for one in grants if one.in_force(now) and one.covers(environment, model))


def may(
    grants: Iterable[Grant], action: str, *, now: datetime, environment: str | None = None, model: str | None = None
) -> bool:
    """Whether these grants allow the action here and now."""
    check_action(action)
    return bool(roles_in_force(grants, now=now, environment=environment, model=model) & ACTIONS[action])


def may_read(grants: Iterable[Grant], action: str, *, now: datetime) -> bool:
    """Whether these grants allow a look: what every role may see, with a role in any scope; the rest with one everywhere."""
    held = tuple(grants)
    anywhere = ACTIONS[action] == _EVERYONE and any(one.in_force(now) for one in held)
    return anywhere or may(held, action, now=now)


def refusal(name: str, action: str, environment: str | None, model: str | None) -> Refusal:
    """Why an active identity may not do this, with the roles that would allow it."""
    where = f" in {environment}" if environment else f" on {model}" if model else ""
    needed = " or ".join(sorted(ACTIONS[action]))
    return Refusal(
        f"{name} may not {_words(action)}{where}.",
        f"Ask an admin for the role {needed}{where}, or ask somebody who holds it.",
        code="not-allowed",
        action=action,
        roles=sorted(ACTIONS[action]),
    )


def _words(action: str) -> str:
    noun, verb = action.split(".")
    return f"{verb.replace('_', ' ')} {'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def check_grant(role: str, scope: str) -> None:
    """Refusal for a role or a scope that does not exist."""
    if role not in ROLES:
        raise Refusal(f"{role!r} is not a role.", f"Use one of {', '.join(ROLES)}.", code="bad-role")
    if not _SCOPE.fullmatch(scope):
        raise Refusal(
            f"{scope!r} is not a scope.", "Use `*`, `environment:NAME` or `model:NAME`.", code="bad-scope", scope=scope
        )
