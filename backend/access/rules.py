"""Who may do what: one table of actions and roles, and pure decisions on the grants that an identity holds."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, get_args

from backend.core.context import Limits
from backend.core.errors import Refusal

Role = Literal["viewer", "contributor", "reviewer", "operator", "auditor", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
TokenRole = Literal["viewer", "contributor", "reviewer", "operator", "auditor", "admin", "feeder"]
TOKEN_ROLES: tuple[TokenRole, ...] = get_args(TokenRole)
FEEDER = "feeder"
"""What a token may be narrowed to, and nobody is given: sending to inference logs. It sees nothing and does nothing else."""

_EVERYONE = frozenset(ROLES)


def _roles(*names: Role) -> frozenset[Role]:
    return frozenset(names)


Place = Literal["look", "endpoint", "model", "environment", "team", "whole"]
"""What an action is done to: `look` shows what the scope reaches; `endpoint` lies in an environment, has a model and an owner;
`whole` concerns the installation, so that only a role everywhere counts."""

SCOPES: dict[Place, frozenset[str]] = {
    "look": frozenset({"environment", "model", "team"}),
    "endpoint": frozenset({"environment", "model", "team"}),
    "model": frozenset({"model", "team"}),
    "environment": frozenset({"environment"}),
    "team": frozenset({"team"}),
    "whole": frozenset(),
}
"""Place -> the kinds of scope, besides `*`, in which a role may count there: where it names just this place."""


@dataclass(frozen=True)
class Line:
    """One line of the matrix: who may do what to what.

    Args:
        says: the action in words, for people.
        roles: those that may do it.
        place: what it is done to, which says the scopes that count.
    """

    action: str
    says: str
    roles: frozenset[Role]
    place: Place


_PROPOSING = _roles("contributor", "operator")
_STOPPING = _roles("contributor", "reviewer", "operator", "admin")
_RUNNING = _roles("operator", "admin")
_ADMIN = _roles("admin")

MATRIX: tuple[Line, ...] = (
    Line("model.read", "look at models and versions", _EVERYONE, "look"),
    Line("change.read", "look at changes", _EVERYONE, "look"),
    Line("endpoint.read", "look at endpoints and servers", _EVERYONE, "look"),
    Line("policy.read", "look at policies, people and their roles", _EVERYONE, "look"),
    Line("team.read", "look at teams", _EVERYONE, "look"),
    Line("recorded.read", "read recorded requests, with a grant of the data set besides", _EVERYONE, "endpoint"),
    Line("inference_log.write", "send requests and outcomes to an inference log", _PROPOSING, "endpoint"),
    Line("inference_log.set_rules", "say what an inference log keeps: sampling, redaction, retention", _RUNNING, "endpoint"),
    Line("inference_log.erase", "erase a unit from an inference log", _ADMIN, "endpoint"),
    Line("version.register", "register or upload a version", _PROPOSING, "model"),
    Line("card.write", "write a model's card", _PROPOSING, "model"),
    Line("registry.refresh", "have the registry read again", _STOPPING, "model"),
    Line("change.propose", "propose a change", _PROPOSING, "endpoint"),
    Line("change.edit", "edit a change or draw it anew", _PROPOSING, "endpoint"),
    Line("change.withdraw", "withdraw a change", _PROPOSING, "endpoint"),
    Line("change.comment", "comment, and have the checks run again", _STOPPING, "endpoint"),
    Line("change.vote", "approve or reject", _roles("reviewer"), "endpoint"),
    Line("change.start", "start what was approved", _PROPOSING, "endpoint"),
    Line("change.revoke", "revoke an approval", _roles("reviewer", "operator", "admin"), "endpoint"),
    Line("change.roll_back", "go back to what was before", _STOPPING, "endpoint"),
    Line("rollout.pause", "pause a rollout", _STOPPING, "endpoint"),
    Line("rollout.resume", "resume a rollout", _roles("operator"), "endpoint"),
    Line("rollout.let_on", "let a rollout take its next step", _roles("reviewer", "operator"), "endpoint"),
    Line("rollout.skip", "skip a rollout's steps up to one that a person looks at", _roles("operator"), "endpoint"),
    Line("rollout.abort", "abort a rollout", _STOPPING, "endpoint"),
    Line("experiment.read", "look at experiments", _EVERYONE, "look"),
    Line("experiment.create", "design an experiment, and have the log asked what it would come to", _PROPOSING, "endpoint"),
    Line("experiment.edit", "edit or withdraw a draft of an experiment", _PROPOSING, "endpoint"),
    Line("experiment.decide", "say what came of an experiment", _roles("contributor", "reviewer", "operator"), "endpoint"),
    Line("alias.set_champion", "set an environment's champion alias", _roles("reviewer", "operator"), "endpoint"),
    Line("endpoint.create", "adopt an endpoint", _RUNNING, "endpoint"),
    Line("endpoint.look", "have an endpoint looked at now", _STOPPING, "endpoint"),
    Line("endpoint.sign_off", "sign off a baseline", _roles("reviewer", "operator"), "endpoint"),
    Line("endpoint.remove", "forget an endpoint that is only observed", _RUNNING, "endpoint"),
    Line("endpoint.pause", "pause delivery", _RUNNING, "endpoint"),
    Line("endpoint.resume", "resume delivery", _roles("operator"), "endpoint"),
    Line("endpoint.repair", "repair an endpoint now", _roles("operator"), "endpoint"),
    Line("endpoint.set_repair", "choose whether it is repaired or reported", _roles("operator"), "endpoint"),
    Line("slo.set", "say what is promised of an endpoint, or that nothing is", _RUNNING, "endpoint"),
    Line("monitor.set", "say what is watched at an endpoint, and pause or remove a monitor", _RUNNING, "endpoint"),
    Line("monitor.run", "have a monitor look now", _STOPPING, "endpoint"),
    Line("profile.add", "say what a version was made from, where nothing does yet", _PROPOSING, "model"),
    Line("profile.replace", "put another reference profile in the place of one", _roles("operator"), "model"),
    Line("metric_source.set", "name an address from which an endpoint's figures are read", _RUNNING, "whole"),
    Line("metric_retention.set", "say how long figures are kept", _ADMIN, "whole"),
    Line("finding.read", "look at findings", _EVERYONE, "look"),
    Line("finding.acknowledge", "say that one looks after a finding, or that it is not over", _STOPPING, "endpoint"),
    Line("finding.assign", "say whose a finding is", _STOPPING, "endpoint"),
    Line("finding.snooze", "silence a finding until a time", _roles("reviewer", "operator", "admin"), "endpoint"),
    Line("finding.resolve", "say that a finding is over", _roles("reviewer", "operator"), "endpoint"),
    Line("finding.test", "try who is told of a finding", _RUNNING, "endpoint"),
    Line("server.register", "add a server or router", _RUNNING, "whole"),
    Line("server.edit", "edit or move a server or router", _RUNNING, "whole"),
    Line("server.test", "ask a server what it is", _RUNNING, "whole"),
    Line("server.remove", "forget a server or router", _RUNNING, "whole"),
    Line("freeze.set", "freeze starts", _RUNNING, "environment"),
    Line("freeze.lift", "lift a freeze", _ADMIN, "environment"),
    Line("policy.set", "set a policy; a weaker one takes two", _ADMIN, "environment"),
    Line("ramp.set", "name a ramp, or change its steps", _RUNNING, "whole"),
    Line("ramp.remove", "remove a named ramp", _RUNNING, "whole"),
    Line("identity.create", "create an identity", _ADMIN, "whole"),
    Line("identity.deactivate", "deactivate an identity", _ADMIN, "whole"),
    Line("identity.activate", "activate an identity again", _ADMIN, "whole"),
    Line("identity.hand_over", "hand a service to another owner; where changes need approvals it takes two", _ADMIN, "whole"),
    Line("role.grant", "give a role; where changes need approvals it takes two", _ADMIN, "whole"),
    Line("role.take_back", "take a role back", _ADMIN, "whole"),
    Line("group_mapping.make", "say which group of a provider gives which role; it takes two", _ADMIN, "whole"),
    Line("group_mapping.take_back", "take such a mapping back", _ADMIN, "whole"),
    Line("request.list", "see what waits for a second person", _roles("admin", "auditor"), "whole"),
    Line("data_set.list", "see who may read which data set", _roles("admin", "auditor"), "whole"),
    Line("data_set.grant", "give a data set", _ADMIN, "whole"),
    Line("data_set.take_back", "take a data set back", _ADMIN, "whole"),
    Line("team.create", "create a team", _ADMIN, "whole"),
    Line("team.rename", "rename a team", _ADMIN, "team"),
    Line("team.retire", "retire a team", _ADMIN, "team"),
    Line("team.add_member", "add somebody to a team", _ADMIN, "team"),
    Line("team.remove_member", "remove somebody from a team", _ADMIN, "team"),
    Line("route.list", "see everybody's routes for messages, and what came of each", _roles("admin", "auditor"), "whole"),
    Line("route.manage", "set up where messages of a team, or of everybody, go", _ADMIN, "team"),
    Line("owner.set", "say which team owns a model or an endpoint", _ADMIN, "whole"),
    Line("identity.provision", "provision people and groups from a directory (SCIM)", _ADMIN, "whole"),
    Line("session.list", "list other people's sessions", _ADMIN, "whole"),
    Line("session.revoke", "end other people's sessions", _ADMIN, "whole"),
    Line("token.list", "list other people's tokens", _ADMIN, "whole"),
    Line("token.revoke", "revoke other people's tokens", _ADMIN, "whole"),
    Line("binding.list", "see which builds and clients act as which service", _roles("auditor", "admin"), "whole"),
    Line("binding.make", "bind a build or a client to a service; where changes need approvals it takes two", _ADMIN, "whole"),
    Line("binding.end", "end such a binding", _ADMIN, "whole"),
    Line("sealing_key.list", "see which keys secrets are sealed to", _roles("auditor", "admin"), "whole"),
    Line("sealing_key.rotate", "put another key in the place of the one that secrets are sealed to", _ADMIN, "whole"),
    Line("ledger_key.rotate", "put another key in the place of the one that signs the ledger's heads", _ADMIN, "whole"),
    Line("audit.read", "read the ledger", _roles("auditor", "admin"), "look"),
    Line("audit.verify", "check the ledger's chain", _roles("auditor", "admin"), "whole"),
    Line("audit.export", "export the ledger", _roles("auditor"), "look"),
)
"""The one table of who may do what: commands decide by it, and the Admin page, docs/access.md and the tests are drawn from it.

Stopping and going back is open to more roles than going forward. An admin sets the rules, and so neither votes nor starts.
The token and session actions are about other people's: one's own need no role.
"""

ACTIONS: dict[str, frozenset[Role]] = {line.action: line.roles for line in MATRIX}
"""Action -> the roles that may do it."""

WHOLE = frozenset(line.action for line in MATRIX if line.place == "whole")
"""What cannot be narrowed to a scope: it needs the role everywhere."""

_SCOPE = re.compile(r"(\*|environment:[a-z0-9][a-z0-9-]{0,62}|model:[^\x00-\x1f\x7f]{1,256}|team:[a-z0-9][a-z0-9_-]{0,62})")


@dataclass(frozen=True)
class Grant:
    """One role in one scope, until a time. The scope of a team holds the team's id, so that it may be renamed.

    `within`: a second scope, which must reach the same thing too, where a token is narrowed to it.
    """

    role: str
    scope: str = "*"
    expires_at: datetime | None = None
    within: str = "*"

    def covers(self, environment: str | None, model: str | None, team: str | None = None) -> bool:
        """Whether the scope reaches an action on this environment, this model, or what this team owns."""
        if self.within != "*" and not _reached(self.within, environment, model, team):
            return False
        return self.scope == "*" or _reached(self.scope, environment, model, team)

    def in_force(self, now: datetime) -> bool:
        """Whether it has not expired; the moment of expiry itself is outside."""
        return self.expires_at is None or now < self.expires_at


def _reached(scope: str, environment: str | None, model: str | None, team: str | None) -> bool:
    kind, _, name = scope.partition(":")
    return name == (environment if kind == "environment" else model if kind == "model" else team if kind == "team" else None)


_ALLOWS: dict[str, frozenset[str]] = {
    **{role: frozenset(line.action for line in MATRIX if role in line.roles) for role in ROLES},
    FEEDER: frozenset({"inference_log.write"}),
}
"""Role -> what it may do."""


def narrowed(grants: Iterable[Grant], limits: Limits | None) -> tuple[Grant, ...]:
    """What of these grants counts for a token of these limits. It is never more than the grants, nor more than the limits.

    A limit's role counts where the identity holds it, or one that may do all of the same: everybody's token may be narrowed to
    `viewer`. Of the identity's scope and a limit's counts what both reach: of an environment and a model, that model there. Two
    environments, two models or two teams have nothing in common.
    """
    if limits is None:
        return tuple(grants)
    found = dict[Grant, None]()
    for one in grants:
        place = _place_within(one.scope, limits.scope)
        for limit in (limits.role, *limits.besides):
            role = _role_within(one.role, limit)
            if role is not None and place is not None:
                found[Grant(role, place[0], one.expires_at, place[1])] = None
    return tuple(found)


def _role_within(held: str, limit: str | None) -> str | None:
    if limit is None or limit == held:
        return held
    return limit if _ALLOWS.get(limit, frozenset((limit,))) <= _ALLOWS.get(held, frozenset()) else None


def _place_within(held: str, limit: str) -> tuple[str, str] | None:
    """The scope, and the second one that must reach the same; None where nothing can be in both."""
    if limit in ("*", held):
        return held, "*"
    if held == "*":
        return limit, "*"
    return (held, limit) if held.partition(":")[0] != limit.partition(":")[0] else None


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
    return action in allowed(roles_in_force(grants, now=now, environment=environment, model=model, team=team))


def allowed(roles: Collection[str]) -> frozenset[str]:
    """What any of these roles may do."""
    return frozenset().union(*(_ALLOWS.get(role, frozenset()) for role in roles))


@dataclass(frozen=True)
class Sight:
    """What somebody may see: everything, or what lies in these environments, is one of these models, or is a team's.

    `within`: where this is not None, only what this shows too.
    """

    everything: bool = False
    environments: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    teams: frozenset[str] = frozenset()
    within: Sight | None = None

    @property
    def is_blind(self) -> bool:
        """Whether nothing at all is seen."""
        return not (self.everything or self.environments or self.models or self.teams)


def sight(grants: Iterable[Grant], *, now: datetime) -> Sight:
    """What the grants in force show, whatever their roles: every role may look. A token that only feeds sees nothing.

    A token has one limit, so that a grant which lies within it whole shows all that those which reach beyond it could.
    """
    held = [one for one in grants if one.in_force(now) and one.role != FEEDER]
    whole = {one.scope for one in held if one.within == "*"}
    if whole or not held:
        return _shown(whole)
    return replace(_shown({one.scope for one in held}), within=_shown({one.within for one in held}))


def _shown(scopes: Collection[str]) -> Sight:
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


def environments_of(grants: Iterable[Grant], action: str, *, now: datetime) -> frozenset[str]:
    """Environments that these grants name and in which they allow the action."""
    held = tuple(grants)
    named = {scope.partition(":")[2] for one in held for scope in (one.scope, one.within) if scope.startswith("environment:")}
    return frozenset(one for one in named if may(held, action, now=now, environment=one))


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


def check_grant(role: str, scope: str, *, among: Sequence[str] = ROLES) -> None:
    """Refusal for a role that is not among some, or a scope that does not exist."""
    if role not in among:
        raise Refusal(f"{role!r} is not a role.", f"Use one of {', '.join(among)}.", code="bad-role")
    if not _SCOPE.fullmatch(scope):
        raise Refusal(
            f"{scope[:80]!r} is not a scope.",
            "Use `*`, `environment:NAME`, `model:NAME` or `team:NAME`.",
            code="bad-scope",
            scope=scope[:80],
        )
