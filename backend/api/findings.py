"""`/findings`: what was found wrong, who looks after it, and what people say of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, Strict, StringConstraints
from sqlmodel import col, select

from backend.api.asking import After, Asks, Instant, Limit, Name, Narrow, Page, Paged, Plain, Reading, Reason, Sent, Shown
from backend.api.changes import Why
from backend.api.once import Making
from backend.api.tags import Held, Tagged
from backend.core.context import Actor
from backend.findings import queries
from backend.findings.queries import FindingLine, FindingMoment
from backend.findings.rows import Finding
from backend.findings.rules import FINDING, SEVERITIES, Outcome
from backend.findings.service import MAX_REASON
from backend.policy.rules import Severity

router = APIRouter(prefix="/findings", tags=["findings"])
FindingRef = Annotated[
    str, Path(pattern=r"^([0-9]{1,9}|fnd_[0-9a-z]{26})$", description="A finding's number, or its id.", examples=["12"])
]
State = Annotated[str, StringConstraints(pattern=f"^({'|'.join(FINDING.states)})$")]
Severe = Annotated[str, StringConstraints(pattern=f"^({'|'.join(SEVERITIES)})$")]
Said = Annotated[str, StringConstraints(max_length=MAX_REASON), Plain]


class FindingsNarrow(Narrow):
    """What a list of findings is narrowed by."""

    state: Annotated[tuple[State, ...], Field(max_length=10, description="Repeat it for several.")] = ()
    severity: Annotated[tuple[Severe, ...], Field(max_length=10, description="Repeat it for several.")] = ()
    environment: Annotated[str, Field(max_length=63)] = ""
    endpoint: Annotated[str, Field(max_length=256)] = ""
    model: Annotated[str, Field(max_length=256)] = ""
    kind: Annotated[str, Field(max_length=64, description="A kind, or a family of kinds such as `drift`.")] = ""
    owner: Annotated[str, Field(max_length=256, description="Name of a person or of a team.")] = ""
    tests: Annotated[bool, Field(description="Whether tests are shown too.")] = False

    def filters(self) -> queries.Filters:
        """As the query takes them."""
        return queries.Filters(
            self.state, self.severity, self.environment, self.endpoint, self.model, self.kind, self.owner, self.tests
        )


class FindingsPage(FindingsNarrow):
    """The same, and which page."""

    after: After = None
    limit: Limit = 50


class FindingView(Shown):
    """One finding whole. `beside`: numbers of others of its family at its place that are not over."""

    line: FindingLine
    assigned: bool = Field(description="Whether somebody said whose it is; else it is the team's that owns the place.")
    outcome: str | None = Field(
        description="`fixed`, `expected`, `false_alarm` (a person's word), `no_longer_seen`, `gone`, `tested`; null: not over."
    )
    reason: str = Field(description="What was said with the newest act.")
    by: str
    former: int | None = Field(description="Number of the one before of the same cause.")
    later: int | None = Field(description="Number of the one after it.")
    beside: tuple[int, ...]
    blocks: bool = Field(description="Whether nothing starts at its endpoint while it is not over.")
    holds: bool = Field(description="Whether a rollout under way there takes no further step.")
    needs_person: bool
    clear_after_seconds: int
    escalated: int
    messages_made: bool = Field(description="Whether a worker made the messages of what became of it so far, if any were due.")
    opened_at: datetime
    resolved_at: datetime | None
    first_evidence: dict[str, Any] = Field(examples=[{"psi": 0.31, "threshold": 0.2}])
    latest_evidence: dict[str, Any] = Field(examples=[{"psi": 0.34, "threshold": 0.2}])
    history: tuple[FindingMoment, ...]


class FindingCount(Shown):
    """How many there are of one state and severity."""

    state: str
    severity: str
    count: int


class ToldView(Shown):
    """One message of a finding, and what became of it."""

    id: str
    whom: str
    event: str
    state: str = Field(description="`waiting`, `sent`, `dead` (given up) or `dropped` (not to be told any more).")
    created_at: datetime
    settled_at: datetime | None


class Acknowledging(Sent):
    """What is said with it, if anything."""

    reason: Said = ""


class Assigning(Sent):
    """Whose it is: a person's or a team's; with neither it is the team's again that owns the place."""

    person: Name | None = Field(default=None, examples=["olga"])
    team: Name | None = None
    reason: Said = ""


class Snoozing(Sent):
    """Until when nobody is called, and why: at most 90 days for `info`, 30 for `warning`, 7 for `critical`."""

    until: Annotated[Instant, Strict(False)] = Field(examples=["2026-03-02T06:00:00Z"])
    reason: Reason


class Resolving(Sent):
    """How it is over."""

    reason: Reason
    outcome: Outcome = "fixed"


class Testing(Sent):
    """Where whoever would be told shall be told of a test."""

    endpoint: Annotated[str, StringConstraints(max_length=256), Plain] = Field(examples=["flight-delay"])
    severity: Severity = "warning"


@router.get("")
def list_findings(asks: Asks, narrow: Annotated[FindingsPage, Query()]) -> Page[FindingLine]:
    """Findings, the worst first; what is over comes last."""
    with asks.reading("finding.read") as look:
        found = queries.page(look.session, narrow.filters(), after=narrow.after, limit=narrow.limit)
    return Page(items=found.items, next=found.next)


@router.get("/counts")
def count_findings(asks: Asks, narrow: Annotated[FindingsNarrow, Query()]) -> Page[FindingCount]:
    """How many findings there are of each state and severity; what there is none of is left out."""
    with asks.reading("finding.read") as look:
        found = queries.counts(look.session, narrow.filters())
    counted = (FindingCount(state=state, severity=one, count=count) for (state, one), count in sorted(found.items()))
    return Page(items=tuple(counted), next=None)


@router.post("/test", status_code=201)
def test_findings(asks: Asks, once: Making, sent: Testing, response: Response) -> FindingView:
    """Opens a finding at an endpoint that says that it is a test, and ends it; `/messages` of it says whom that reached."""
    made = once.make(Finding, lambda: asks.backend.findings.test(asks.actor, sent.endpoint, sent.severity).id)
    response.headers["location"] = f"/api/v1/findings/{made.id}"
    return _view(asks, made.id)


@router.get("/{finding}")
def show_finding(asks: Asks, finding: FindingRef, tagged: Tagged) -> FindingView:
    """One finding whole, with what was seen first and last and what people said of it."""
    return tagged(_view(asks, finding))


@router.get("/{finding}/messages")
def list_finding_messages(asks: Asks, finding: FindingRef, narrow: Annotated[Paged, Query()]) -> Page[ToldView]:
    """Who was told of a finding, and what became of it. What was counted together with another's stands with that one."""
    with asks.reading("finding.read") as look:
        items, following = narrow.cut(queries.told(look.session, finding), lambda one: (one.created_at, one.id))
    return Page(items=tuple(map(ToldView.model_validate, items)), next=following)


@router.post("/{finding}/acknowledge")
def acknowledge_finding(asks: Asks, held: Held, finding: FindingRef, sent: Acknowledging) -> FindingView:
    """Somebody looks after it, so that nobody else is called. Sending it again changes nothing."""
    with _seen(held, finding):
        asks.backend.findings.acknowledge(asks.actor, finding, sent.reason)
    return held.answer(_view(asks, finding))


@router.post("/{finding}/assign")
def assign_finding(asks: Asks, held: Held, finding: FindingRef, sent: Assigning) -> FindingView:
    """Says whose it is. Sending it again changes nothing."""
    with _seen(held, finding):
        asks.backend.findings.assign(asks.actor, finding, person=sent.person, team=sent.team, reason=sent.reason)
    return held.answer(_view(asks, finding))


@router.post("/{finding}/snooze")
def snooze_finding(asks: Asks, held: Held, finding: FindingRef, sent: Snoozing) -> FindingView:
    """Nobody is called until then. What waits for it goes on waiting. Sending it again changes nothing."""
    with _seen(held, finding):
        asks.backend.findings.snooze(asks.actor, finding, sent.until, sent.reason)
    return held.answer(_view(asks, finding))


@router.post("/{finding}/resolve")
def resolve_finding(asks: Asks, held: Held, finding: FindingRef, sent: Resolving) -> FindingView:
    """Says that it is over; what waited for it goes on. Sending it again changes nothing."""
    with _seen(held, finding):
        asks.backend.findings.resolve(asks.actor, finding, sent.reason, sent.outcome)
    return held.answer(_view(asks, finding))


@router.post("/{finding}/reopen")
def reopen_finding(asks: Asks, held: Held, finding: FindingRef, sent: Why) -> FindingView:
    """Says that it is not over, or that somebody has to answer it anew. Sending it again changes nothing."""
    with _seen(held, finding):
        asks.backend.findings.reopen(asks.actor, finding, sent.reason)
    return held.answer(_view(asks, finding))


def _view(asks: Asks, finding: str) -> FindingView:
    with asks.reading("finding.read") as look:
        return _shown(finding)(look, asks.actor)


def _shown(finding: str) -> Callable[[Reading, Actor], FindingView]:
    return lambda look, _actor: FindingView.model_validate(queries.view(look.session, finding))


def _seen(held: Held, finding: str) -> AbstractContextManager[None]:
    is_number = finding.isdecimal()
    row = select(col(Finding.id)).where(Finding.number == int(finding) if is_number else Finding.id == finding)
    return held.held("finding.read", _shown(finding), row)
