"""`/endpoints/.../window-reports`: Evidently's page of one window, asked for, listed, and handed out to who may see rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, Strict

from backend.api.asking import Asks, EndpointName, Instant, Name, Page, Paged, Reading, Sent, Shown, Whole
from backend.api.once import Making
from backend.core.context import Actor
from backend.window_reports import queries
from backend.window_reports.rows import WindowReport
from backend.window_reports.rules import LEAST_ROWS, MOST_FEATURES, MOST_ROWS, ROWS, Asked, Side

router = APIRouter(prefix="/endpoints/{endpoint}/window-reports", tags=["window-reports"])
ReportId = Annotated[str, Path(pattern=r"^wrp_[0-9a-z]{26}$", description="The report's id.")]
PartName = Literal["drift", "summary", "classification", "regression"]
Moment = Annotated[Instant, Strict(False)]


class SideAsked(Sent):
    """Which requests: a span of at most 31 days, of one version and arm where they are named."""

    start: Moment = Field(description="With its zone.", examples=["2026-03-01T00:00:00Z"])
    end: Moment = Field(description="Outside of the span.", examples=["2026-03-02T00:00:00Z"])
    version: Whole | None = Field(default=None, examples=[2])
    arm: Name | None = None


class ReportAsked(Sent):
    """What a report shall show."""

    current: SideAsked
    reference: SideAsked | None = Field(
        default=None,
        description="What it is compared with. By default the same hours a week earlier, of the same version and arm.",
    )
    parts: Annotated[tuple[PartName, ...], Field(strict=False, min_length=1, max_length=4)] = Field(
        default=("drift", "summary"), examples=[["drift", "summary"]]
    )
    rows: Annotated[int, Field(ge=LEAST_ROWS, le=MOST_ROWS)] = Field(default=ROWS, description="The most of each side.")
    features: Annotated[tuple[Name, ...], Field(strict=False, min_length=1, max_length=MOST_FEATURES)] | None = Field(
        default=None, description=f"Only these. By default all, up to {MOST_FEATURES}."
    )
    outcome: Name | None = Field(
        default=None, description="The outcome's name, for `classification` and `regression`.", examples=["late"]
    )
    threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="From which probability on a prediction is a call of 1."
    )


class ReportSide(Shown):
    """One side of a report."""

    start: datetime
    end: datetime
    version: int | None
    arm: str | None
    rows: int | None = Field(description="How many requests there were; null until they were read.")
    drawn: int | None = Field(description="How many of them are shown.")


class WindowReportView(Shown):
    """One report, without what it shows."""

    id: str
    endpoint: str
    state: Literal["queued", "running", "done", "failed"]
    says: str = Field(description="Why it failed, with what to do next; or what it shows.")
    notes: tuple[str, ...] = Field(description="What was left out, cut, or could not be made.")
    parts: tuple[str, ...]
    current: ReportSide
    reference: ReportSide
    features: tuple[str, ...] | None
    outcome: str | None
    threshold: float
    most_rows: int
    monitor: str = Field(description="That had it made of a window in which it alarmed; empty where a person asked.")
    asked_by: str
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    digest: str | None = Field(description="SHA-256 of its page.")
    size: int | None = Field(description="Bytes of its page.")


@router.post("", status_code=201)
def ask_window_report(
    asks: Asks, once: Making, endpoint: EndpointName, sent: ReportAsked, response: Response
) -> WindowReportView:
    """Has Evidently's report made of a sample of a window. The worker does it: look for `done`.

    403 `data-set` without a grant of `requests/ENDPOINT`; that rows are read for it is in the ledger.
    """
    asked = Asked(
        current=_side(sent.current),
        reference=_side(sent.reference) if sent.reference is not None else None,
        parts=sent.parts,
        rows=sent.rows,
        features=sent.features,
        outcome=sent.outcome,
        threshold=sent.threshold,
    )
    made = once.make(WindowReport, lambda: asks.backend.window_reports.ask(asks.actor, endpoint, asked).id)
    response.headers["location"] = f"/api/v1/endpoints/{endpoint}/window-reports/{made.id}"
    with asks.reading("endpoint.read") as look:
        return _shown(endpoint, made.id)(look, asks.actor)


@router.get("")
def list_window_reports(asks: Asks, endpoint: EndpointName, narrow: Annotated[Paged, Query()]) -> Page[WindowReportView]:
    """Reports of an endpoint, the newest first. What they show takes a grant; that they are there does not."""
    with asks.reading("endpoint.read") as look:
        found = queries.lines(look.session, endpoint)
    items, following = narrow.cut(found, lambda one: (one.asked_at, one.id), newest_first=True)
    return Page(items=tuple(map(WindowReportView.model_validate, items)), next=following)


@router.get("/{report}")
def show_window_report(asks: Asks, endpoint: EndpointName, report: ReportId) -> WindowReportView:
    """One report: how it stands, and what was left out of it."""
    with asks.reading("endpoint.read") as look:
        return _shown(endpoint, report)(look, asks.actor)


@router.get("/{report}/page", response_class=Response, responses={200: {"content": {"text/html": {}}}})
def open_window_report(asks: Asks, endpoint: EndpointName, report: ReportId) -> Response:
    """A report's page, which stands by itself. 403 `data-set` without a grant; each opening is in the ledger.

    It is served with a policy that leaves it no origin and no network; keep that where you serve it further.
    """
    opened = asks.backend.window_reports.open(asks.actor, endpoint, report)
    headers = {
        "content-security-policy": opened.policy,
        "content-disposition": f'attachment; filename="{report}.html"',
        "cache-control": "no-store",
    }
    return Response(opened.page, media_type="text/html; charset=utf-8", headers=headers)


@router.delete("/{report}", status_code=204)
def remove_window_report(asks: Asks, endpoint: EndpointName, report: ReportId) -> None:
    """Takes a report away, also one that is still being made."""
    asks.backend.window_reports.remove(asks.actor, endpoint, report)


def _side(sent: SideAsked) -> Side:
    return Side(sent.start, sent.end, sent.version, sent.arm)


def _shown(endpoint: str, report: str) -> Callable[[Reading, Actor], WindowReportView]:
    return lambda look, _actor: WindowReportView.model_validate(queries.line(look.session, endpoint, report))
