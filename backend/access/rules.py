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
    "alias.set_champion": _roles("reviewer", "operator"),
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
    "data_set.list": _roles("admin", "auditor"),
    "data_set.grant": _roles("admin"),
    "data_set.take_back": _roles("admin"),
    "recorded.read": _EVERYONE,
    "request.read": _roles("admin", "auditor"),
    "team.read": _EVERYONE,
    "team.create": _roles("admin"),
    "team.rename": _roles("admin"),
    "team.retire": _roles("admin"),
    "team.add_member": _roles("admin"),
    "team.remove_member": _roles("admin"),
    "owner.set": _roles("admin"),
    "token.list": _roles("admin"),
    "token.revoke": _roles("admin"),
    "audit.read": _roles("auditor", "admin"),
    "audit.verify": _roles("auditor", "admin"),
    "audit.export": _roles("auditor"),
}
"""Action -> the roles that may do it. Stopping and going back is open to more roles than going forward. An admin sets the
rules and therefore neither votes nor starts. The token actions are about other people's tokens: one's own need no role.
"""

WHOLE = frozenset({"audit.verify", "token.list", "request.read", "data_set.list"})
"""Looks that cannot be narrowed: they need the role everywhere."""

_SCOPE = re.compile(r"(\*|environment:[a-z0-9][a-z0-9-]{0,62}|model:[^\x00-\x1f\x7f]{1,256}|team:[a-z0-9][a-z0-9_-]{0,62})")


@dataclass(frozen=True)
class Grant:
    """One role in one scope, until a time. The scope of a team holds the team's id, so that it may be renamed."""

    role: str
    scope: str = "*"
    expires_at: datetime | None = None

    def covers(self, environment: str | None, model: str | None, team: str | None = None) -> bool:
        """Whether the scope reaches an action on this environment, this model, or what this team owns."""
        if self.scope == "*":
            return True
        kind, _, name = self.scope.partition(":")
        return name == {"environment": environment, "model": model, "team": team}.get(kind)

    def in_force(self, now: datetime) -> bool:
        """Whether it has not expired; the moment of expiry itself is outside."""
        return self.expires_at is None or now < self.expires_at


def check_action(action: str) -> None:
    """An action that is not in the table is a defect, never a default."""
    if action not in ACTIONS:
        raise KeyError(f"no such action: {action}")


def roles_in_force(
    grants: Iterable[Grant],
    *,
    now: datetime,
    environment: str | None = None,
    model: str | None = None,
    team: str | None = None,
) -> frozenset[str]:
    """The roles that count for something in this environment, on this model and on what this team owns at this moment."""
    return frozenset(one.role for one in grants if one.in_force(now) and one.covers(environment, model, team))


def may(
    grants: Iterable[Grant],
    action: str,
    *,
    now: datetime,
    environment: str | None = None,
    model: str | None = None,
    team: str | None = None,
) -> bool:
    """Whether these grants allow the action here and now. `team` owns what the action is done to."""
    check_action(action)
    return bool(roles_in_force(grants, now=now, environment=environment, model=model, team=team) & ACTIONS[action])


@dataclass(frozen=True)
class Sight:
    """What somebody may see: everything, or what lies in these environments, is one of these models, or is a team's."""

    everything: bool = False
    environments: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    teams: frozenset[str] = frozenset()

    @property
    def is_blind(self) -> bool:
        """Whether nothing at all is seen."""
        return not (self.everything or self.environments or self.models or self.teams)


def sight(grants: Iterable[Grant], *, now: datetime) -> Sight:
    """What the grants in force show, whatever their roles: every role may look."""
    scopes = {one.scope for one in grants if one.in_force(now)}

    def named(kind: str) -> frozenset[str]:
        return frozenset(scope.removeprefix(kind) for scope in scopes if scope.startswith(kind))

    return Sight("*" in scopes, named("environment:"), named("model:"), named("team:"))


def may_read(grants: Iterable[Grant], action: str, *, now: datetime) -> bool:
    """Whether these grants allow a look. What a look shows is narrowed to their scopes, so that a role in any scope is enough,
    but for what concerns the whole, such as walking the ledger's chain.
    """
    check_action(action)
    held = tuple(grants)
    if action in WHOLE:
        return may(held, action, now=now)
    return any(one.in_force(now) and one.role in ACTIONS[action] for one in held)


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


def reaches(scope: str, environments: frozenset[str]) -> bool:
    """Whether a scope may reach into one of these environments: a model and what a team owns may be served anywhere."""
    kind, _, name = scope.partition(":")
    return name in environments if kind == "environment" else bool(environments)


def check_grant(role: str, scope: str) -> None:
    """Refusal for a role or a scope that does not exist."""
    if role not in ROLES:
        raise Refusal(f"{role!r} is not a role.", f"Use one of {', '.join(ROLES)}.", code="bad-role")
    if not _SCOPE.fullmatch(scope):
        raise Refusal(
            f"{scope[:80]!r} is not a scope.",
            "Use `*`, `environment:NAME`, `model:NAME` or `team:NAME`.",
            code="bad-scope",
            scope=scope[:80],
        )
