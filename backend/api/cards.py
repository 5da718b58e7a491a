"""`/models/{model}/card`: what a team says of a model, revision by revision. Somebody's Markdown, as it was written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints
from sqlmodel import select

from backend.api.asking import Asks, ModelName, Page, Paged, Plain, Reading, Sent, Shown
from backend.api.tags import Held, Tagged
from backend.core.context import Actor
from backend.core.errors import NotFound
from backend.registry import cards, queries, rules
from backend.registry.rows import Model

router = APIRouter(prefix="/models/{model}/card", tags=["models"])
Revision = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="As it was in this revision.", examples=[None])]


class CardShown(Shown):
    """One revision of a card."""

    revision: int
    text: str = Field(description="Markdown, as it was written: make it harmless before drawing it.")
    digest: str
    summary: str = Field(description="What was changed in it.")
    written_by: str = Field(description="The id of an identity.")
    written_by_name: str
    written_at: datetime


class NewCard(Sent):
    """The card's next revision, whole."""

    text: Annotated[str, StringConstraints(max_length=rules.LONGEST_CARD), Plain] = Field(
        examples=["# Flight delay\n\nFor planning."]
    )
    summary: Annotated[str, StringConstraints(max_length=rules.LONGEST_SUMMARY), Plain] = Field(
        default="", examples=["First words"]
    )


@router.get("")
def show_card(asks: Asks, model: ModelName, tagged: Tagged, revision: Revision = None) -> CardShown:
    """A model's card as it is, or as it was in a revision; 404 where nobody has written one."""
    with asks.reading("model.read") as look:
        return tagged(_shown(model, revision)(look, asks.actor))


@router.get("/history")
def list_card_revisions(asks: Asks, model: ModelName, narrow: Annotated[Paged, Query()]) -> Page[CardShown]:
    """Revisions of a card, newest first; the latest 1,000."""
    with asks.reading("model.read") as look:
        queries.numbers(look.session, model, limit=1)  # NotFound for a model that is not there
        found = cards.history(look.session, model, limit=1_000)
    items, following = narrow.cut(found, lambda one: (one.revision,), newest_first=True)
    return Page(items=tuple(map(CardShown.model_validate, items)), next=following)


@router.put("")
def write_card(asks: Asks, held: Held, model: ModelName, sent: NewCard) -> CardShown:
    """Makes this the card's next revision; the same text again changes nothing.

    Needs `If-Match` with the `ETag` of the card that was read, or `If-None-Match: *` for the first one.
    """
    row = select(Model.id).where(Model.name == model)
    with asks.reading("model.read") as look:
        newest = cards.card(look.session, model)
    with held.held("model.read", _shown(model, None), row, needed=True):
        revision = newest.revision if newest is not None else 0
        asks.backend.cards.write(asks.actor, model, sent.text, revision=revision, summary=sent.summary)
    with asks.reading("model.read") as look:
        return held.answer(_shown(model, None)(look, asks.actor))


def _shown(model: str, revision: int | None) -> Callable[[Reading, Actor], CardShown]:
    def shown(look: Reading, _actor: Actor) -> CardShown:
        found = cards.card(look.session, model, revision)
        if found is None:
            raise NotFound("card", model[:80], "Nobody has written one yet.")
        return CardShown.model_validate(found)

    return shown
