"""`/data-sets`: who may read recorded requests row by row; and reading them, which the ledger notes each time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field, Strict

from backend.access import data_sets
from backend.access.rows import DataSetGrant
from backend.api.asking import Asks, EndpointName, Instant, ModelName, Name, Number, Page, Paged, Sent, Shown
from backend.api.once import Making
from backend.delivery.recorded import MOST

router = APIRouter(tags=["data-sets"])
GrantId = Annotated[str, Path(pattern=r"^dsg_[0-9a-z]{26}$", description="The grant's id.")]
Limit = Annotated[int, Query(ge=1, le=MOST)]
Moment = Annotated[Instant, Query(description="With its zone.", examples=["2026-03-01T06:00:00Z"])]


class DataSetGrantView(Shown):
    """One grant of a data set."""

    id: str
    identity: str | None
    team: str | None
    data_set: str
    given_by: str
    given_at: datetime
    until: datetime
    is_in_force: bool


class DataSetGranting(Sent):
    """A data set to be given to an identity or to a team's members."""

    data_set: Name = Field(description="`probes/MODEL` or `requests/ENDPOINT`.", examples=["requests/flight-delay"])
    identity: Name | None = Field(default=None, examples=["ana"])
    team: Name | None = None
    until: Annotated[Instant, Strict(False)] = Field(description="When it ends, within 366 days.")


class GrantMade(Shown):
    """The grant that there is now, or was."""

    id: str


class RecordedRows(Shown):
    """Rows of single people."""

    rows: tuple[dict[str, Any], ...]


class DataSetsNarrow(Paged):
    """Whose data sets."""

    mine: Annotated[bool, Field(description="Your own, by yourself or by a team, for which no role is needed.")] = False


@router.get("/data-sets/grants")
def list_data_set_grants(asks: Asks, narrow: Annotated[DataSetsNarrow, Query()]) -> Page[DataSetGrantView]:
    """Who may read which data set until when, ended grants included; or one's own."""
    if narrow.mine:
        with asks.looking() as look:
            found = data_sets.own_lines(look.session, asks.actor, now=look.now)
    else:
        with asks.reading("data_set.list") as look:
            found = data_sets.lines(look.session, now=look.now)
    items, following = narrow.cut(found, lambda one: (one.data_set, one.given_at, one.id))
    return Page(items=tuple(map(DataSetGrantView.model_validate, items)), next=following)


@router.post("/data-sets/grants", status_code=201)
def grant_data_set(asks: Asks, once: Making, sent: DataSetGranting) -> GrantMade:
    """Lets an identity, or a team's members, read a data set row by row. Giving it again moves its end."""
    asked = sent.model_dump(exclude={"data_set"})
    made = once.make(DataSetGrant, lambda: asks.backend.data_sets.grant(asks.actor, sent.data_set, **asked).id)
    return GrantMade(id=made.id)


@router.delete("/data-sets/grants/{grant}")
def take_back_data_set(asks: Asks, grant: GrantId) -> GrantMade:
    """Ends a grant at once."""
    asks.backend.data_sets.take_back(asks.actor, grant)
    return GrantMade(id=grant)


@router.get("/models/{model}/versions/{number}/recorded")
def list_recorded_probes(asks: Asks, model: ModelName, number: Number, limit: Limit = 100) -> RecordedRows:
    """Recorded requests inside a version's package. 403 `data-set` without a grant; the read is in the ledger."""
    return RecordedRows(rows=asks.backend.recorded.probes(asks.actor, model, number, limit=limit))


@router.get("/endpoints/{endpoint}/requests")
def list_recorded_requests(asks: Asks, endpoint: EndpointName, start: Moment, end: Moment, limit: Limit = 100) -> RecordedRows:
    """Requests that an endpoint was asked. 403 `data-set` without a grant; the read is in the ledger."""
    return RecordedRows(rows=asks.backend.recorded.requests(asks.actor, endpoint, start, end, limit=limit))
