"""Scopes as grants hold them, and whether what they name is there.

What a grant, a binding, a token or a data set names has to be there when it is asked for: a name that was mistyped would look
like a right and be none. Settings files may name what comes later; the Admin page says so of their mappings.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlmodel import Session, col, select

from backend.access import visible
from backend.access.rows import Team
from backend.access.rules import Sight
from backend.core.errors import NotFound, Refusal

Exists = Callable[[Session, str, str], bool]
"""Whether there is an environment, a model or an endpoint (kind, name); the rooms that know stand above this one."""


def everything(_session: Session, _kind: str, _name: str) -> bool:
    """For where nothing is known of the rooms above: whatever is named is taken to be there."""
    return True


def team_of_name(session: Session, name: str) -> Team | None:
    """A team that is not retired, by its name."""
    return session.exec(select(Team).where(Team.name == name, col(Team.retired_at).is_(None))).one_or_none()


def named_team(session: Session, name: str) -> Team:
    """The same. NotFound."""
    row = team_of_name(session, name)
    if row is None:
        raise NotFound("team", name[:80])
    return row


def stored(session: Session, scope: str) -> str:
    """A scope as a grant holds it: a team by its id. NotFound for a team that is not there."""
    kind, _, name = scope.partition(":")
    return f"team:{named_team(session, name).id}" if kind == "team" else scope


def stored_once(session: Session, scope: str) -> str:
    """The same of what was given once: its team may be retired by now."""
    kind, _, name = scope.partition(":")
    team = session.exec(select(Team).where(Team.name == name)).one_or_none() if kind == "team" else None
    return f"team:{team.id}" if team is not None else stored(session, scope)


def demanded(session: Session, scope: str, exists: Exists, *, sight: Sight | None = None) -> str:
    """The same, and NotFound too for an environment or a model that is not there.

    Args:
        sight: of whoever is told: a model that is not seen is not there. None for whoever sees everything.
    """
    kind, _, name = scope.partition(":")
    if kind in ("environment", "model"):
        seen = kind == "environment" or sight is None or name in sight.models or visible.shows_model(session, sight, name)
        if not (seen and exists(session, kind, name)):
            raise missing(kind, name)
    return stored(session, scope)


def demand_still(session: Session, place: str, exists: Exists) -> None:
    """Refusal `stale-request` where what a stored scope names went away since it was asked for."""
    if not is_there(session, place, exists):
        raise Refusal("What was asked for is not there any more.", "Refuse this request.", code="stale-request")


def is_there(session: Session, place: str, exists: Exists) -> bool:
    """Whether what a stored scope names is there now."""
    kind, _, name = place.partition(":")
    if kind == "team":
        team = session.get(Team, name)
        return team is not None and team.retired_at is None
    return kind == "*" or exists(session, kind, name)


def is_written_there(session: Session, scope: str, exists: Exists) -> bool:
    """The same of a scope as people and files write it."""
    kind, _, name = scope.partition(":")
    return team_of_name(session, name) is not None if kind == "team" else is_there(session, scope, exists)


def missing(kind: str, name: str) -> NotFound:
    """That nothing of this kind has the name, and what to do about it."""
    return NotFound(kind, name[:80], _REMEDIES[kind])


_REMEDIES = {
    "environment": "Check the name, which is case-sensitive: `countersign policy show` lists them.",
    "model": "Check the name, which is case-sensitive. A model that is new in the registry is known here once the registry was "
    'read: choose "Read the registry now" on the Models page, then ask again.',
    "endpoint": "Check the name, which is case-sensitive: `countersign endpoint list` lists them.",
}
