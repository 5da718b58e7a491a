"""`/changes/{change}/votes`: approve or reject exactly what the caller looked at."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from backend.api.asking import Asks, Digest, Plain, Ref, Sent
from backend.api.changes import ChangeView, seen, whole
from backend.api.tags import Held
from backend.changes.voting import MAX_COMMENT

router = APIRouter(tags=["votes"])


class Vote(Sent):
    """A verdict on one plan, drawn on one base: both as `GET /changes/{change}` told them."""

    verdict: Literal["approve", "reject"]
    plan_digest: Annotated[Digest, Field(description="`plan_digest` of the change that was looked at.")]
    base_digest: Annotated[Digest, Field(description="`base_digest` of the change that was looked at.")]
    comment: Annotated[
        str, StringConstraints(max_length=MAX_COMMENT), Plain, Field(description="What was found; a rejection needs it.")
    ] = ""


@router.post("/changes/{change}/votes")
def vote_on_change(asks: Asks, held: Held, change: Ref, sent: Vote) -> ChangeView:
    """Votes. 409 `stale-vote` when the change is not what the caller looked at; the same vote again changes nothing."""
    changes = asks.backend.changes
    decide = changes.approve if sent.verdict == "approve" else changes.reject
    with seen(held, change):
        decide(asks.actor, change, sent.plan_digest, sent.base_digest, sent.comment)
    return held.answer(whole(asks, change))
