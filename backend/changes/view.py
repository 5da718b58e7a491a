"""One change whole, as its page and `change show` tell it: what it does, who decided, what is missing, what one may do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from backend.changes import course, difference, standing
from backend.changes.difference import Difference
from backend.changes.offers import offers
from backend.changes.queries import ChangeLine, line_of, names_of
from backend.changes.rows import Change, Comment, Vote
from backend.changes.rules import UNDECIDED
from backend.changes.standing import Standing
from backend.core.context import Actor
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.plan import parse_plan
from backend.delivery.rows import Endpoint
from backend.evidence import queries as evidence
from backend.evidence.queries import EvidenceView
from backend.rollouts import queries as rollouts
from backend.rollouts.queries import RolloutView


@dataclass(frozen=True)
class VoteView:
    """One vote, with the digests that it is bound to. `counts`: they are the present ones, and nobody voided it."""

    voter: str
    verdict: str
    comment: str
    at: datetime
    counts: bool
    void_reason: str
    plan_digest: str
    base_digest: str


@dataclass(frozen=True)
class CommentView:
    """One remark."""

    author: str
    text: str
    at: datetime


@dataclass(frozen=True)
class Impact:
    """What else a change touches: by name, other endpoints on its server, others that run its version, and by number and
    state other open changes on its endpoint.
    """

    on_the_same_server: tuple[str, ...]
    run_the_version: tuple[str, ...]
    open_changes: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class ChangeView:
    """Everything about one change.

    Args:
        changes: what the plan changes of its base; `since_earlier`: of the plan before the latest edit or rebase.
        drawn_on: where a rollout under way leads that the plan was drawn on; "" when it was drawn on what is live.
        missing: what it still takes until it is live, as sentences.
        may: action -> "" when the reader may do it now, else why not.
    """

    line: ChangeLine
    reason: str
    plan: Mapping[str, Any]
    plan_digest: str
    base: Mapping[str, Any]
    base_digest: str
    policy: str
    start_mode: str
    start_at: datetime | None
    supersede: bool
    changes: Difference
    since_earlier: Difference | None
    drawn_on: str
    votes: tuple[VoteView, ...]
    evidence: tuple[EvidenceView, ...]
    comments: tuple[CommentView, ...]
    missing: tuple[str, ...]
    may: Mapping[str, str]
    rollout: RolloutView | None
    impact: Impact

    def to_json(self) -> dict[str, Any]:
        """JSON-able form; times are ISO 8601 in UTC."""
        return {
            **{name: _plain(value) for name, value in vars(self).items()},
            "line": self.line.to_json(),
            "changes": self.changes.to_json(),
            "since_earlier": self.since_earlier.to_json() if self.since_earlier else None,
            "votes": [_plain(vars(one)) for one in self.votes],
            "evidence": [one.to_json() for one in self.evidence],
            "comments": [_plain(vars(one)) for one in self.comments],
            "rollout": self.rollout.to_json() if self.rollout else None,
            "impact": vars(self.impact),
        }


def view(session: Session, actor: Actor, ref: str | int, now: datetime) -> ChangeView:
    """One change as this reader sees it. NotFound."""
    at = standing.read(session, course.find(session, ref), now)
    change = at.change
    votes = session.exec(select(Vote).where(Vote.change_id == change.id).order_by(col(Vote.at), col(Vote.id))).all()
    comments = session.exec(
        select(Comment).where(Comment.change_id == change.id).order_by(col(Comment.at), col(Comment.id))
    ).all()
    voters, writers = {one.identity_id for one in votes}, {one.identity_id for one in comments}
    names = names_of(session, {change.requester_id, *voters, *writers})
    gates = evidence.views(session, change.id, at.policy.gates, plan_digest=change.plan_digest, now=now)
    counting = {one.id for one in at.votes}
    return ChangeView(
        line=line_of(change, at.endpoint, names.get(change.requester_id, change.requester_id)),
        reason=change.reason,
        plan=change.plan,
        plan_digest=change.plan_digest,
        base=change.base or {},
        base_digest=change.base_digest,
        policy=change.policy,
        start_mode=change.start_mode,
        start_at=change.start_at,
        supersede=change.supersede,
        changes=_changes(at),
        since_earlier=difference.from_plan(at.plan, parse_plan(change.earlier_plan)) if change.earlier_plan else None,
        drawn_on=at.drawn_on_what_is_to_come,
        votes=tuple(_vote(one, names, counting) for one in votes),
        evidence=gates,
        comments=tuple(CommentView(names.get(one.identity_id, one.identity_id), one.text, one.at) for one in comments),
        missing=tuple(_missing(at, gates)),
        may=offers(session, actor, at),
        rollout=rollouts.view(session, at.own, now) if at.own is not None else None,
        impact=_impact(session, at),
    )


def missing(session: Session, at: Standing) -> tuple[str, ...]:
    """What it takes until a change is live, the nearest first: what `ChangeView.missing` tells, without the rest."""
    gates = evidence.views(session, at.change.id, at.policy.gates, plan_digest=at.change.plan_digest, now=at.now)
    return tuple(_missing(at, gates))


def _changes(at: Standing) -> Difference:
    """Buckets move from where they are only while what is live is still what the plan was drawn on."""
    base = at.change.base or {"arms": [], "champion": None}
    newest = at.newest if at.change.base_digest == at.endpoint.base_digest else None
    desired = DesiredEndpoint.model_validate(newest.desired) if newest is not None else None
    ranges = desired.ranges if desired is not None else None
    return difference.from_base(at.plan, base, ranges=ranges, salt=desired.salt if desired is not None else None)


def _missing(at: Standing, gates: Sequence[EvidenceView]) -> Iterator[str]:
    """What it takes until the change is live, the nearest first."""
    due = at.circumstances
    if at.change.state not in UNDECIDED:
        return
    if at.change.state == "suspended":
        yield "It has to be drawn anew on what is live now."
        return  # what else it takes is known once it is drawn anew
    for gate in gates:
        if gate.standing != "passed" and (gate.standing, gate.weight) not in _HARMLESS:
            yield f"{gate.title}: {_SAYS[gate.standing]}."
    if at.change.state != "approved":
        yield from (f"{one[0].upper()}{one[1:]}." for one in at.lacks)
    if due.start_mode == "by_hand" and due.start_at is None:
        yield "Somebody has to start it."
    if due.start_at is not None and due.start_at > at.now:
        yield f"It starts at {due.start_at:%Y-%m-%d %H:%M} UTC."
    if due.waits:
        yield due.waits


_HARMLESS = {("error", "must_not_fail"), ("error", "inform"), ("failed", "inform")}
_SAYS = {
    "missing": "has not run yet",
    "running": "is running",
    "failed": "did not pass",
    "error": "could not run",
    "stale": "is out of date and will be repeated",
}


def _impact(session: Session, at: Standing) -> Impact:
    version = int(at.change.wanted["version"])
    others = session.exec(select(Endpoint).where(Endpoint.id != at.endpoint.id).order_by(Endpoint.name)).all()
    same_model = [one for one in others if one.model == at.endpoint.model]
    query = select(Change).where(
        Change.endpoint_id == at.endpoint.id, Change.id != at.change.id, col(Change.state).in_((*UNDECIDED, "applying"))
    )
    return Impact(
        on_the_same_server=tuple(one.name for one in others if one.server_id == at.endpoint.server_id),
        run_the_version=tuple(one.name for one in same_model if _runs(one, version)),
        open_changes=tuple((one.number, one.state) for one in session.exec(query.order_by(col(Change.number)))),
    )


def _runs(endpoint: Endpoint, version: int) -> bool:
    return any(one["version"] == version for one in (endpoint.base or {}).get("arms", ()))


def _vote(row: Vote, names: Mapping[str, str], counting: set[str]) -> VoteView:
    voter = names.get(row.identity_id, row.identity_id)
    return VoteView(
        voter, row.verdict, row.comment, row.at, row.id in counting, row.void_reason, row.plan_digest, row.base_digest
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value.isoformat() if isinstance(value, datetime) else value
