"""`/audit`: the ledger as it is, row by row, and whether anybody rewrote it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from backend.api.asking import Asks, Instant, Narrow, Page, Shown, page_of
from backend.audit import queries
from backend.audit.queries import Event
from backend.core.errors import NotFound

router = APIRouter(prefix="/audit", tags=["audit"])
_MOST = 500


class EventsNarrow(Narrow):
    """What a list of ledger rows is narrowed by."""

    subject: Annotated[
        str | None, Field(max_length=200, pattern=r"^[a-z_]+/.+$", description="KIND/ID.", examples=["change/chg_..."])
    ] = None
    action: Annotated[str | None, Field(max_length=80, examples=["change.approve"])] = None
    actor: Annotated[str | None, Field(max_length=64, description="The id of an identity.")] = None
    until: Annotated[Instant | None, Field(description="The ledger as of a moment, with its zone.")] = None
    before: Annotated[int | None, Field(ge=1, le=2**62, description="The next page: `next` of the page before.")] = None
    limit: Annotated[int, Field(ge=1, le=_MOST)] = 100


class BrokenRow(Shown):
    """The first row that does not hold, and why."""

    row: int
    reason: str


class VerificationView(Shown):
    """What walking the whole hash chain found."""

    intact: bool
    rows: int = Field(description="Rows that hold from the beginning.")
    heads: int = Field(description="Signed heads that agree with the chain.")
    last_hash: str
    first_bad: BrokenRow | None


@router.get("/events")
def list_events(asks: Asks, narrow: Annotated[EventsNarrow, Query()]) -> Page[Event]:
    """Ledger rows, newest first. Identities stand in it by their ids alone."""
    kind, _, identifier = (narrow.subject or "").partition("/")
    with asks.reading("audit.read") as look:
        found = queries.events(
            look.session,
            subject=(kind, identifier) if narrow.subject else None,
            action=narrow.action,
            actor_id=narrow.actor,
            until=narrow.until,
            before_seq=narrow.before,
            limit=narrow.limit + 1,
        )
    items, following = page_of(found, narrow.limit, lambda one: one.seq)
    return Page(items=tuple(items), next=following)


@router.get("/events/{row}")
def show_event(asks: Asks, row: Annotated[int, Path(ge=1, le=2**62, description="The row's number.")]) -> Event:
    """One row of the ledger."""
    with asks.reading("audit.read") as look:
        found = queries.events(look.session, before_seq=row + 1, limit=1)
    if not found or found[0].seq != row:
        raise NotFound("ledger row", str(row), "Look at the newest rows.")
    return found[0]


@router.post("/verify")
def verify(asks: Asks) -> VerificationView:
    """Walks the whole hash chain and compares it with every signed head; a large ledger takes seconds."""
    with asks.reading("audit.verify"):
        pass
    found = asks.backend.audit.verify()
    broken = BrokenRow(row=found.broken.seq, reason=found.broken.reason) if found.broken is not None else None
    return VerificationView(
        intact=found.intact, rows=found.rows, heads=found.heads, last_hash=found.last_hash, first_bad=broken
    )
