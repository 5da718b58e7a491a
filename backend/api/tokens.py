"""`/tokens`: what programs act by. A token's text is answered once, when it is made, and kept nowhere."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from backend.access.checks import refuse_narrow
from backend.access.rows import Token
from backend.access.rules import TokenRole
from backend.access.tokens import LONGEST, SHORTEST, USUAL, line
from backend.api.asking import Asks, Name, Page, Paged, Sent, Shown
from backend.api.grants import Scope
from backend.api.once import Making
from backend.core.errors import NotFound

router = APIRouter(prefix="/tokens", tags=["tokens"])
TokenId = Annotated[str, Path(pattern=r"^tok_[0-9a-z]{26}$", description="The token's id.")]
Lifetime = Annotated[int, Field(ge=SHORTEST.total_seconds(), le=LONGEST.total_seconds())]


class TokenView(Shown):
    """One token, without anything that could be used."""

    id: str
    identity: str = Field(description="The name of whom it acts as.")
    name: str
    state: str = Field(description="active, expired, revoked, or off while whoever made it is deactivated.")
    created_at: datetime
    created_by: str = Field(description="The id of an identity.")
    expires_at: datetime
    last_used_at: datetime | None = Field(description="To within five minutes.")
    revoked_at: datetime | None
    role: str | None = Field(description="At most this role; null for every role of the identity.")
    scope: str = Field(description="Nowhere but here, by its name; `*` for everywhere.", examples=["environment:staging"])


class TokenMade(TokenView):
    """A token that was just made."""

    token: str | None = Field(description="Its text, told this once; null where the same request is sent again under its key.")


class NewToken(Sent):
    """A token of oneself, or of a service that one owns."""

    name: Name = Field(description="Where it is used.", examples=["ci"])
    identity: Name | None = Field(default=None, description="A service that one owns; null for oneself.", examples=["builds"])
    lifetime_seconds: Lifetime = Field(default=int(USUAL.total_seconds()), examples=[7_776_000])
    role: TokenRole | None = Field(
        default=None,
        description="At most this role; null for every role of the identity. `feeder` sends to inference logs alone.",
    )
    scope: Scope = Field(default="*", examples=["environment:staging"])


class TokensNarrow(Paged):
    """Whose tokens."""

    everybody: Annotated[bool, Field(description="Those of everybody, for whoever may list them.")] = False
    identity: Annotated[str | None, Field(max_length=256, description="Of these one identity's.", examples=["ci"])] = None


@router.get("")
def list_tokens(asks: Asks, narrow: Annotated[TokensNarrow, Query()]) -> Page[TokenView]:
    """Tokens of oneself and of one's services, newest first."""
    found = asks.backend.tokens.list(asks.actor, everybody=narrow.everybody)
    found = tuple(one for one in found if narrow.identity in (None, one.identity))
    items, following = narrow.cut(found, lambda one: (one.created_at, one.id), newest_first=True)
    return Page(items=tuple(map(TokenView.model_validate, items)), next=following)


@router.post("", status_code=201)
def create_token(asks: Asks, once: Making, sent: NewToken) -> TokenMade:
    """A new token. Only the identity itself, or the owner of a service, makes one."""
    refuse_narrow(asks.actor)  # before the key is looked for: what was made under it is not shown to such a token either
    told: list[str] = []

    def make() -> str:
        good_for = timedelta(seconds=sent.lifetime_seconds)
        new = asks.backend.tokens.create(
            asks.actor, sent.name, identity=sent.identity, lifetime=good_for, role=sent.role, scope=sent.scope
        )
        told.append(new.text)
        return new.id

    made = once.make(Token, make)
    if made.again and not any(one.id == made.id for one in asks.backend.tokens.list(asks.actor)):
        raise NotFound("token", made.id)  # of a service that was handed over meanwhile
    return TokenMade(**vars(_line(asks, made.id)), token=told[0] if told else None)


@router.delete("/{token}")
def revoke_token(asks: Asks, token: TokenId) -> TokenView:
    """Ends a token at once: one's own, a service's that one owns, or anybody's for whoever may. Again changes nothing."""
    asks.backend.tokens.revoke(asks.actor, token)
    return _line(asks, token)


def _line(asks: Asks, token: str) -> TokenView:
    with asks.backend.database.read() as session:
        now = asks.backend.database.now(session)
        found = line(session, token, now)
    if found is None:
        raise NotFound("token", token)
    return TokenView.model_validate(found)
