"""`/audit`: the ledger as it is, row by row, and whether anybody rewrote it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import Field, TypeAdapter
from sqlmodel import Session

from backend.api.asking import Asks, Instant, Narrow, Page, Paged, Shown, page_of
from backend.audit import queries
from backend.audit.queries import Event
from backend.core.errors import NotFound

router = APIRouter(prefix="/audit", tags=["audit"])
_MOST = 500
_MOST_EXPORTED = 200_000
_STEP = 1_000
_EVENT = TypeAdapter(Event)


class EventsNarrow(Narrow):
    """What a list of ledger rows is narrowed by."""

    subject: Annotated[
        str | None, Field(max_length=200, pattern=r"^[a-z_]+/.+$", description="KIND/ID.", examples=["change/chg_..."])
    ] = None
    action: Annotated[str | None, Field(max_length=80, examples=["change.approve"])] = None
    actor: Annotated[str | None, Field(max_length=64, description="The id of an identity.")] = None
    until: Annotated[Instant | None, Field(description="The ledger as of a moment, with its zone.")] = None
    after: Annotated[int | None, Field(ge=1, le=2**62, description="The next page: `next` of the page before.")] = None
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
    signed_to: int = Field(description="The last row that a signed head vouches for.")
    warning: str = Field(description='What nobody would notice; "" where there is nothing of that kind.')


@router.get("/events")
def list_ledger_rows(asks: Asks, narrow: Annotated[EventsNarrow, Query()]) -> Page[Event]:
    """Ledger rows, newest first. Identities stand in it by their ids alone."""
    kind, _, identifier = (narrow.subject or "").partition("/")
    with asks.reading("audit.read") as look:
        found = queries.events(
            look.session,
            subject=(kind, identifier) if narrow.subject else None,
            action=narrow.action,
            actor_id=narrow.actor,
            until=narrow.until,
            before_seq=narrow.after,
            limit=narrow.limit + 1,
        )
    items, following = page_of(found, narrow.limit, lambda one: one.seq)
    return Page(items=tuple(items), next=following)


class ExportNarrow(Narrow):
    """Which rows a file holds."""

    subject: Annotated[str | None, Field(max_length=200, pattern=r"^[a-z_]+/.+$", description="KIND/ID.")] = None
    action: Annotated[str | None, Field(max_length=80, examples=["change.approve"])] = None
    actor: Annotated[str | None, Field(max_length=64, description="The id of an identity.")] = None
    until: Annotated[Instant | None, Field(description="The ledger as of a moment, with its zone.")] = None


class HeadView(Shown):
    """A signed head of the chain: where it ended at a moment, as it is kept outside the database."""

    seq: int
    hash: str
    at: datetime


@router.get("/events.jsonl", response_class=StreamingResponse, responses={200: {"content": {"application/x-ndjson": {}}}})
def export_ledger(asks: Asks, narrow: Annotated[ExportNarrow, Query()]) -> StreamingResponse:
    """Ledger rows as a file, one JSON object a line, newest first: all of one snapshot, at most 200,000."""
    look = asks.long_reading("audit.export")
    session = next(look)
    return StreamingResponse(_lines(session, look, narrow), media_type="application/x-ndjson")


def _lines(session: Session, look: Iterator[Session], narrow: ExportNarrow) -> Iterator[bytes]:
    """A thousand rows at a time, so that no process holds the whole ledger."""
    kind, _, identifier = (narrow.subject or "").partition("/")
    before: int | None = None
    try:
        for _ in range(_MOST_EXPORTED // _STEP):
            found = queries.events(
                session,
                subject=(kind, identifier) if narrow.subject else None,
                action=narrow.action,
                actor_id=narrow.actor,
                until=narrow.until,
                before_seq=before,
                limit=_STEP,
            )
            yield b"".join(_EVENT.dump_json(one) + b"\n" for one in found)
            if len(found) < _STEP:
                return
            before = found[-1].seq
    finally:
        next(look, None)


@router.get("/heads")
def list_ledger_heads(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[HeadView]:
    """Signed heads that were exported, newest first, their signatures checked. 422 `head-altered` for one that is not."""
    with asks.reading("audit.verify"):
        pass
    items, following = narrow.cut(asks.backend.audit.heads(), lambda one: (one.seq,), newest_first=True)
    return Page(items=tuple(map(HeadView.model_validate, items)), next=following)


@router.get("/events/{row}")
def show_ledger_row(asks: Asks, row: Annotated[int, Path(ge=1, le=2**62, description="The row's number.")]) -> Event:
    """One row of the ledger."""
    with asks.reading("audit.read") as look:
        found = queries.events(look.session, before_seq=row + 1, limit=1)
    if not found or found[0].seq != row:
        raise NotFound("ledger row", str(row), "Look at the newest rows.")
    return found[0]


@router.post("/verify")
def verify_ledger(asks: Asks) -> VerificationView:
    """Walks the whole hash chain and compares it with every signed head; a large ledger takes seconds."""
    with asks.reading("audit.verify"):
        pass
    found = asks.backend.audit.verify()
    broken = BrokenRow(row=found.broken.seq, reason=found.broken.reason) if found.broken is not None else None
    return VerificationView(
        intact=found.intact,
        rows=found.rows,
        heads=found.heads,
        last_hash=found.last_hash,
        first_bad=broken,
        signed_to=found.signed_to,
        warning=found.warning or "",
    )
