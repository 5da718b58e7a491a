"""What whoever looks may do at one place, or in any: a role in the scope of an environment, a model or a team counts there.

A page draws by it what it offers; the services decide.
"""

from __future__ import annotations

from dataclasses import replace

from app.identity import Rights
from app.wiring import Reading
from backend.access import queries


def at(look: Reading, mine: Rights, *, environment: str | None = None, model: str, endpoint: str | None = None) -> Rights:
    """The rights at one endpoint, or on one model."""
    team = queries.owner_among(look.session, mine.grants, endpoint=endpoint, model=model)
    here = (one for one in mine.grants if one.covers(environment, model, team))
    return replace(mine, grants=tuple(replace(one, scope="*") for one in here))


def anywhere(mine: Rights) -> Rights:
    """The rights at whichever place suits best: for a list, and for what leads to a form that asks where."""
    return replace(mine, grants=tuple(replace(one, scope="*") for one in mine.grants))
