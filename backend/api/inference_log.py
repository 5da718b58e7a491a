"""`/inference-log`: what endpoints were asked, what they answered and what became of it; and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from sqlmodel import select
from starlette.concurrency import run_in_threadpool

from backend.api.asking import Asks, EndpointName, Name, Page, Paged, Reading, Reason, Sent, Shown, Whole
from backend.api.once import Making
from backend.api.tags import Held, Tagged
from backend.core.context import Actor
from backend.delivery import log_rules
from backend.delivery.feeding import MOST_ROWS
from backend.delivery.rows import Endpoint
from backend.inference_log.cloudevents import BATCH, STRUCTURED
from backend.inference_log.handling import MOST_EVERY, MOST_REDACTIONS
from backend.inference_log.rows import LogErasure

router = APIRouter(tags=["inference-log"])
PATH = "/inference-log"
EVENTS = r"/inference-log/[^/]+/events"
MOST_BYTES = 8 << 20

Rows = Annotated[
    list[Any],
    Field(
        default_factory=list,
        max_length=MOST_ROWS,
        description="Rows, each looked at by itself; docs/inference-log.md says what they hold.",
    ),
]


class LogBatch(Sent):
    """Requests and outcomes of one endpoint. A row is an object; a malformed one is left out and told by its place."""

    endpoint: Name = Field(examples=["flight-delay"])
    requests: Rows
    outcomes: Rows


class RejectedRow(Shown):
    """A row that was not kept. Nothing of it is repeated."""

    list: str = Field(description="`requests`, `outcomes` or `events`.")
    index: int = Field(description="Its place there, from 0.")
    reason: str


class BatchTaken(Shown):
    """What became of a batch. What was taken will be in the log, whatever ends meanwhile."""

    requests: int = Field(description="Requests, or parts of some, that were taken.")
    outcomes: int = Field(description="Outcomes that were taken.")
    left_out: int = Field(description="Rows that the endpoint's rules leave out, for either of the next two reasons.")
    sampled_out: int = Field(description="Of those, rows of units that sampling does not keep.")
    erased: int = Field(description="Of those, rows of units that were erased.")
    rejected: int = Field(description="Malformed rows.")
    rejections: tuple[RejectedRow, ...] = Field(description="The first 100 of them.")
    values_left_out: int = Field(
        description="Features, or outcomes, left out of rows that were taken: the endpoint has 2,000 different names already."
    )


class RedactionView(Shown):
    """What becomes of a column's values."""

    column: str
    how: str
    length: int


class LogRulesView(Shown):
    """What is kept of an endpoint's requests."""

    endpoint: str
    sample_every: int = Field(
        description="One unit in that many is kept, whole. Failures of others are kept too, and counted by nobody."
    )
    redactions: tuple[RedactionView, ...]
    kept_days: dict[str, int] = Field(description="By table; what is not named is kept for good, copies as long as requests.")
    unit_header: str
    revision: int = Field(description="0 where nobody has said anything: everything is kept.")


class RedactionSent(Sent):
    """How one column is redacted."""

    column: Name = Field(description="`unit`, `request_id`, `prediction`, or `feature:NAME`.", examples=["feature:passport"])
    how: Name = Field(description="`drop`, `hash` or `truncate`.", examples=["hash"])
    length: int = Field(default=0, ge=0, le=256, description="Of `truncate`: characters that stay.")


class LogRulesSent(Sent):
    """All of what is kept from now on."""

    sample_every: int = Field(default=1, ge=1, le=MOST_EVERY)
    redactions: Annotated[tuple[RedactionSent, ...], Field(strict=False, max_length=MOST_REDACTIONS)] = ()
    kept_days: dict[str, int] = Field(default_factory=dict, max_length=4, examples=[{"requests": 90, "parts": 90}])
    unit_header: str = Field(default="x-unit-id", pattern=r"^[a-z0-9-]{1,64}$")


class Erasing(Sent):
    """A unit whose rows shall go."""

    unit: Name = Field(description="The unit's id, in clear. It is kept and told by its pseudonym only.", examples=["u-1842"])
    later: bool = Field(default=False, description="Whether rows that come later are left out too.")
    reason: Reason


class ErasureView(Shown):
    """One erasure."""

    id: str
    endpoint: str
    unit: str = Field(description="A pseudonym.")
    later: bool
    reason: str
    state: str = Field(description="`asked`, and `done` when no file holds a row of this unit any more.")
    asked_by: str
    asked_at: datetime
    done_at: datetime | None
    removed: int = Field(description="Rows taken out so far.")


@router.post(PATH)
def feed_inference_log(asks: Asks, sent: LogBatch) -> BatchTaken:
    """Takes requests and outcomes of an endpoint. Malformed rows are left out, told with their reasons, and the rest is kept.

    Sending a batch again changes nothing: a request's id counts once in its hour.
    """
    taken = asks.backend.feed.take(asks.actor, sent.endpoint, requests=sent.requests, outcomes=sent.outcomes)
    return BatchTaken.model_validate(taken)


_EVENT = {"type": "object", "description": "A CloudEvent 1.0 in JSON.", "properties": {"specversion": {"const": "1.0"}}}


@router.post(
    "/inference-log/{endpoint}/events",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"description": "In binary mode: what the model was asked or answered."}},
                STRUCTURED: {"schema": _EVENT},
                BATCH: {"schema": {"type": "array", "items": _EVENT}},
            },
        }
    },
)
async def feed_events(
    asks: Asks,
    request: Request,
    endpoint: EndpointName,
    version: Annotated[
        Whole | None, Query(description="The registered version that answers where the events come from.")
    ] = None,
) -> BatchTaken:
    """Takes CloudEvents as KServe's inference logger sends them: one in binary or structured mode, or a batch.

    Events of a batch hold at most 10,000 instances, and 1,000,000 values.

    A request's and its answer's event are joined by the request's `x-request-id`, or the event's id. As KServe's logger can
    send no header of one's own, the token may be the password of the URL:
    `https://token:cst_...@HOST/api/v1/inference-log/ENDPOINT/events`.
    """
    body = await request.body()
    headers = {name.lower(): value for name, value in request.headers.items()}
    taken = await run_in_threadpool(lambda: asks.backend.feed.take_events(asks.actor, endpoint, headers, body, version=version))
    return BatchTaken.model_validate(taken)


@router.get("/endpoints/{endpoint}/inference-log")
def show_log_rules(asks: Asks, endpoint: EndpointName, tagged: Tagged) -> LogRulesView:
    """What is kept of an endpoint's requests: sampling, redaction, retention."""
    with asks.reading("endpoint.read") as look:
        return tagged(_shown(endpoint)(look, asks.actor))


@router.put("/endpoints/{endpoint}/inference-log")
def set_log_rules(asks: Asks, held: Held, endpoint: EndpointName, sent: LogRulesSent) -> LogRulesView:
    """Says all of what is kept from now on. What lies in the log stays as it is, but for its age.

    Needs `If-Match` with the `ETag` of what was read.
    """
    told = sent.model_dump()
    with held.held("endpoint.read", _shown(endpoint), select(Endpoint.id).where(Endpoint.name == endpoint), needed=True):
        asks.backend.log_keeping.set_rules(asks.actor, endpoint, **told)
    with asks.reading("endpoint.read") as look:
        return held.answer(_shown(endpoint)(look, asks.actor))


@router.get("/endpoints/{endpoint}/inference-log/erasures")
def list_erasures(asks: Asks, endpoint: EndpointName, narrow: Annotated[Paged, Query()]) -> Page[ErasureView]:
    """Units that were, or are to be, erased from an endpoint's log, the newest first."""
    with asks.reading("endpoint.read") as look:
        found = log_rules.erasures(look.session, endpoint)
    items, following = narrow.cut(found, lambda one: (one.asked_at, one.id), newest_first=True)
    return Page(items=tuple(map(ErasureView.model_validate, items)), next=following)


@router.post("/endpoints/{endpoint}/inference-log/erasures", status_code=201)
def erase_unit(asks: Asks, once: Making, endpoint: EndpointName, sent: Erasing) -> ErasureView:
    """Has every row of a unit taken out of an endpoint's log, with their outcomes. The worker does it: look for `done`."""
    asked = sent.model_dump(exclude={"unit"})
    made = once.make(LogErasure, lambda: asks.backend.log_keeping.erase(asks.actor, endpoint, sent.unit, **asked).id)
    with asks.reading("endpoint.read") as look:
        return _erasure(look, endpoint, made.id)


@router.get("/endpoints/{endpoint}/inference-log/erasures/{erasure}")
def show_erasure(
    asks: Asks,
    endpoint: EndpointName,
    erasure: Annotated[str, Path(pattern=r"^ers_[0-9a-z]{26}$", description="The erasure's id.")],
) -> ErasureView:
    """One erasure."""
    with asks.reading("endpoint.read") as look:
        return _erasure(look, endpoint, erasure)


def _erasure(look: Reading, endpoint: str, identifier: str) -> ErasureView:
    return ErasureView.model_validate(log_rules.erasure(look.session, endpoint, identifier))


def _shown(endpoint: str) -> Callable[[Reading, Actor], LogRulesView]:
    def shown(look: Reading, _actor: Actor) -> LogRulesView:
        return LogRulesView.model_validate(log_rules.line(look.session, endpoint))

    return shown
