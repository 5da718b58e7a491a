"""`/sessions`: who is signed in where, and ending it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field
from sqlmodel import select

from backend.access.rows import Identity
from backend.api.asking import Asks, Name, Page, Paged, Reasoned, Shown, Why
from backend.core.errors import NotFound

router = APIRouter(prefix="/sessions", tags=["sessions"])
SessionId = Annotated[str, Path(pattern=r"^[a-z]{2,4}_[0-9a-z]{26}$", description="The session's id.")]


class SessionView(Shown):
    """One sign-in of one person in one browser, without anything that could be used."""

    id: str
    identity_id: str
    provider: str
    state: str = Field(description="active, idle, expired or ended.")
    opened_at: datetime
    used_at: datetime
    ended_why: str | None
    device: str = Field(
        description="What the browser calls itself, in a few words; it decides nothing.", examples=["Firefox on Windows"]
    )


class SessionsNarrow(Paged):
    """Whose sessions."""

    everybody: Annotated[bool, Field(description="Those of everybody, for whoever may list them.")] = False
    identity: Annotated[
        str | None, Field(max_length=256, description="Those of this identity, for whoever may list them.", examples=["ana"])
    ] = None


class Whose(Reasoned):
    """Whose sessions shall end."""

    identity: Name | None = Field(default=None, description="Null: one's own.", examples=["ana"])


class SessionsEnded(Shown):
    """What came of it."""

    ended: int = Field(description="How many were running.")


@router.get("")
def list_sessions(asks: Asks, narrow: Annotated[SessionsNarrow, Query()]) -> Page[SessionView]:
    """Sessions of oneself, newest first; the latest 500."""
    of = _of(asks, narrow.identity) if narrow.identity is not None else None
    found = asks.backend.sessions.lines(asks.actor, everybody=narrow.everybody and of is None, of=of)
    if of == _NOBODY:
        raise NotFound("identity", str(narrow.identity))
    items, following = narrow.cut(found, lambda one: (one.opened_at, one.id), newest_first=True)
    return Page(items=tuple(map(SessionView.model_validate, items)), next=following)


_NOBODY = "nobody"


def _of(asks: Asks, name: str) -> str:
    """The id of whom a short name means. Whether somebody is called so is told to whoever may list sessions alone."""
    with asks.looking() as look:
        return look.session.exec(select(Identity.id).where(Identity.name == name)).one_or_none() or _NOBODY


@router.delete("/{session}", status_code=204)
def revoke_session(asks: Asks, session: SessionId, reason: Why = "") -> None:
    """Ends one session: one's own, or anybody's for whoever may. Sending it again changes nothing."""
    asks.backend.sessions.revoke(asks.actor, session, reason)


@router.post("/end")
def end_sessions(asks: Asks, sent: Whose) -> SessionsEnded:
    """Ends every session of oneself, or of somebody else for whoever may. Sending it again changes nothing."""
    return SessionsEnded(ended=asks.backend.sessions.end_everywhere(asks.actor, sent.identity, sent.reason))
