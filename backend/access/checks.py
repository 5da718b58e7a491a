"""Checks: what every other command asks before it does anything, with the state of now and in its own unit of work."""

from __future__ import annotations

from datetime import datetime

import structlog
from sqlmodel import Session

from backend.access import queries, rules, visible
from backend.access.queries import Standing
from backend.access.rows import Identity
from backend.core.context import Actor
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit


def require(
    tx: Unit,
    actor: Actor,
    action: str,
    *,
    environment: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
    team: str | None = None,
    missing: NotFound | None = None,
) -> Standing:
    """The actor as it stands, if it is active and holds a role that allows the action here and now; else Refusal.

    Args:
        environment, model, endpoint: what the action is done to; `endpoint` brings the team that owns it.
        team: the team itself, for what is done to teams.
        missing: what whoever may not even see it is told instead: that it is not there.
    """
    where = {"environment": environment, "model": model, "endpoint": endpoint}
    return require_now(tx.session, actor, action, now=tx.now, team=team, missing=missing, **where)


def require_now(
    session: Session,
    actor: Actor,
    action: str,
    *,
    now: datetime,
    environment: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
    team: str | None = None,
    missing: NotFound | None = None,
) -> Standing:
    """The same where no unit of work is open, so that the time is passed in."""
    who = standing(session, actor)
    owner = team or queries.owner_among(session, who.held, endpoint=endpoint, model=model)
    if rules.may(who.held, action, now=now, environment=environment, model=model, team=owner):
        return who
    sight = rules.sight(who.held, now=now)
    if endpoint is not None and not visible.shows_endpoint(session, sight, endpoint):
        raise missing or NotFound("endpoint", endpoint[:80])
    if endpoint is None and environment is None and model is not None and not visible.shows_model(session, sight, model):
        raise missing or NotFound("model", model)
    raise _refused(who, action, environment, model)


def _refused(who: Standing, action: str, environment: str | None, model: str | None) -> Refusal:
    """The refusal, which the log keeps: somebody tried what he may not."""
    structlog.get_logger().warning("access.refused", identity=who.id, action=action)
    return rules.refusal(who.shown, action, environment, model)


def require_to_read(session: Session, actor: Actor, action: str, *, now: datetime) -> None:
    """The same for a look, which from here on shows only what the actor may see."""
    who = standing(session, actor)
    if not rules.may_read(who.held, action, now=now):
        raise _refused(who, action, None, None)
    visible.narrow(session, rules.sight(who.held, now=now))


def see_as(session: Session, actor: Actor | None, *, now: datetime) -> None:
    """Narrows a look to what this actor may see, without asking for an action. Nobody, and nobody active, sees nothing."""
    visible.narrow(session, rules.sight(queries.held(session, actor) if actor is not None else (), now=now))


def require_server(tx: Unit, actor: Actor, name: str, table: str = "server") -> None:
    """NotFound for a server or router on which the actor may see nothing: who has a role everywhere begins there."""
    sight = rules.sight(queries.held(tx.session, actor), now=tx.now)
    if not visible.shows_server(tx.session, sight, name, table):
        raise NotFound(table, name[:80])


def standing(session: Session, actor: Actor) -> Standing:
    """The actor as it stands, whatever it may do. Refusal for one that is unknown or was deactivated since it signed in, and
    for a service whose owner was, or is no person: nobody answers for it.
    """
    found = queries.standing(session, actor)
    if found is None or not found.active:
        raise _nobody(actor, known=found is not None)
    if not found.answered_for:
        raise _nobodys(found.shown)
    return found


def sees_endpoint(tx: Unit, actor: Actor, name: str) -> bool:
    """Whether a refusal may name this endpoint to the actor."""
    sight = rules.sight(queries.held(tx.session, actor), now=tx.now)
    return visible.shows_endpoint(tx.session, sight, name)


def active_identity(session: Session, actor: Actor) -> Identity:
    """The actor's row. Refusal as `standing`."""
    identity = session.get(Identity, actor.id, populate_existing=True)
    if identity is None or not identity.active:
        raise _nobody(actor, known=identity is not None)
    if not queries.answers_for(session, identity):
        raise _nobodys(actor.name)
    return identity


def _nobodys(name: str) -> Refusal:
    return Refusal(
        f"Whoever owns {name} is not an active person, so that nobody answers for what it does.",
        "Ask an admin to hand it to another owner (`countersign identity hand-over`), or to activate that person again.",
        code="no-owner",
    )


def _nobody(actor: Actor, *, known: bool) -> Refusal:
    if not known:
        return Refusal(f"{actor.name} is not known here.", "Sign in, or name an identity with `--as`.", code="unknown-identity")
    return Refusal(f"{actor.name} was deactivated.", "Ask an admin to activate the identity again.", code="deactivated")


def refuse_narrow(actor: Actor) -> None:
    """Refusal for a token that is narrower than its identity, or another system's, where no role is asked for.

    It would else make itself a token without those limits, or one that outlives it.
    """
    if actor.limits is not None or actor.from_outside:
        raise Refusal(
            "This token is narrower than its identity, or comes from another system.",
            "Use a token of Countersign that is not narrowed, or sign in.",
            code="narrow-token",
        )
