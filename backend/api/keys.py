"""`/keys`: which keys secrets are sealed to and which one signs the ledger's heads. None is ever told or changed here."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from backend.api.asking import Asks, Page, Paged, Shown
from backend.core.keyfiles import is_due
from backend.delivery.resealing import KeyLine

router = APIRouter(prefix="/keys", tags=["keys"])


class SealingKeyView(Shown):
    """One key that secrets are sealed to, by its name alone."""

    id: str = Field(description="The beginning of its public half's SHA-256.", examples=["9f3c2d1a0b4e5f67"])
    state: str = Field(
        description="current; old: another took its place, and what is sealed to it is sealed anew; destroyed; or unknown: "
        "something is sealed to it, and the database has never heard of it."
    )
    secrets: int = Field(description="How many secrets are sealed to it.")
    used_by: tuple[str, ...] = Field(description="Whose they are, by kind and name.", examples=[["server triton"]])
    is_here: bool = Field(description="Whether its private half can be read where this answers; workers alone need it.")
    is_due: bool = Field(description="Whether it is in force for over a year, so that another should take its place.")
    made_at: datetime | None = Field(description="When the database first named it; null for a first key that is older.")
    replaced_at: datetime | None
    destroyed_at: datetime | None


class SealingKeyPage(Page[SealingKeyView]):
    """Keys, and how far a rotation is."""

    behind: int = Field(description="Secrets that are not sealed to the key in force yet; 0 where no rotation is under way.")


class LedgerKeyView(Shown):
    """The key that signs the ledger's heads."""

    id: str = Field(examples=["1b7e0c9d8a6f5e43"])
    since: datetime | None = Field(description="Null for the first one.")
    after_row: int = Field(description="It signs heads after this row.")
    is_here: bool = Field(description="Whether its private half can be read where this answers.")
    is_due: bool = Field(description="Whether it is in force for over a year, so that another should take its place.")


@router.get("/sealing")
def list_sealing_keys(asks: Asks, narrow: Annotated[Paged, Query()]) -> SealingKeyPage:
    """The keys that secrets are sealed to, the one in force first. Rotating is done where they are: `countersign secrets`."""
    with asks.reading("sealing_key.list") as look:
        found = list(enumerate(asks.backend.sealing_keys.status(look.session)))
    items, following = narrow.cut(found, lambda one: (one[0],))
    behind = sum(one.secrets for _, one in found if one.state != "current")
    return SealingKeyPage(items=tuple(_told(one, look.now) for _, one in items), next=following, behind=behind)


@router.get("/ledger")
def show_ledger_key(asks: Asks) -> LedgerKeyView:
    """The key that signs the ledger's heads now, and since when."""
    with asks.reading("sealing_key.list") as look:
        now = look.now
    found = asks.backend.audit.signing_key()
    return LedgerKeyView(**vars(found), is_due=is_due(found.since, now))


def _told(one: KeyLine, now: datetime) -> SealingKeyView:
    return SealingKeyView(**vars(one), is_due=one.state == "current" and is_due(one.made_at, now))
