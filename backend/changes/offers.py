"""What somebody may do with a change now, and why not: the commands' own checks, asked without doing anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlmodel import Session

from backend.access import queries as access
from backend.access import rules as access_rules
from backend.access.queries import Person
from backend.access.requests import refuse_program
from backend.changes.applying import refuse_roll_back, refuse_start
from backend.changes.rules import CHANGE
from backend.changes.standing import Standing
from backend.changes.voting import Verdict, refuse_vote
from backend.core.context import Actor
from backend.core.errors import Refusal
from backend.rollouts import queries as rollouts
from backend.rollouts.rules import ROLLOUT

_ACTIONS: Mapping[str, str] = {
    "approve": "change.vote",
    "reject": "change.vote",
    "comment": "change.comment",
    "edit": "change.edit",
    "rebase": "change.edit",
    "recheck": "change.comment",
    "withdraw": "change.withdraw",
    "start": "change.start",
    "revoke": "change.revoke",
    "roll_back": "change.roll_back",
    "pause": "rollout.pause",
    "resume": "rollout.resume",
    "let_on": "rollout.let_on",
    "skip": "rollout.skip",
    "abort": "rollout.abort",
}
"""What a page offers -> the action that is asked of access."""


def offers(session: Session, actor: Actor, at: Standing) -> dict[str, str]:
    """For everything that can be done with a change: "" when this person may do it now, else why not and what would help."""
    where = {"environment": at.endpoint.environment, "model": at.endpoint.model, "endpoint": at.endpoint.name}
    person = access.some_people(session, [actor.id], now=at.now, **where).get(actor.id)
    grants = access.held(session, actor)
    team = access.owner_among(session, grants, endpoint=at.endpoint.name, model=at.endpoint.model)
    here = {"environment": at.endpoint.environment, "model": at.endpoint.model, "team": team}
    told = {}
    for name, action in _ACTIONS.items():
        if person is None or not person.active or not access_rules.may(grants, action, now=at.now, **here):
            told[name] = str(access_rules.refusal(actor.name, action, at.endpoint.environment, at.endpoint.model))
        else:
            told[name] = _why_not(_checks(session, at, person, actor)[name])
    return told


def _why_not(check: Callable[[], object]) -> str:
    try:
        check()
    except Refusal as refusal:
        return str(refusal)
    return ""


def _checks(session: Session, at: Standing, person: Person, actor: Actor) -> dict[str, Callable[[], object]]:
    def event(name: str) -> Callable[[], object]:
        return lambda: CHANGE.next(at.change.state, name)

    def step(*names: str) -> Callable[[], object]:
        return lambda: _refuse_step(at, names)

    return {
        "approve": lambda: _refuse_again(at, person, "approve"),
        "reject": lambda: _refuse_again(at, person, "reject"),
        "comment": lambda: None,
        "edit": event("edit"),
        "rebase": event("rebase"),
        "recheck": event("recheck"),
        "withdraw": event("withdraw"),
        "start": lambda: refuse_start(at),
        "revoke": event("revoke"),
        "roll_back": lambda: refuse_roll_back(at),
        "pause": step("pause"),
        "resume": step("resume_ramping", "resume_holding"),
        "let_on": lambda: _refuse_letting_on(at, actor),
        "skip": lambda: _refuse_skipping(session, at, actor),
        "abort": step("abort"),
    }


def _refuse_again(at: Standing, person: Person, verdict: Verdict) -> None:
    """A page offers no vote that was cast already; the command takes it as a double click."""
    if any((one.identity_id, one.verdict) == (person.id, verdict) for one in at.votes):
        raise Refusal(f"Your vote is to {verdict} it.", "Wait for the others, or vote otherwise.", code="voted")
    refuse_vote(at, person, verdict)


def _refuse_letting_on(at: Standing, actor: Actor) -> None:
    refuse_program(actor)
    _refuse_step(at, ("advance",))


def _refuse_skipping(session: Session, at: Standing, actor: Actor) -> None:
    refuse_program(actor)
    _refuse_step(at, ("skip",))
    row = rollouts.of_authorization(session, at.change.authorization_id or "")
    found = rollouts.skipping(session, rollouts.stand(session, row, at.now)) if row is not None else None
    if found is not None and found.to is None:
        raise Refusal(found.refusal, found.remedy, code="not-skipped")


def _refuse_step(at: Standing, events: tuple[str, ...]) -> None:
    if at.own is None:
        raise Refusal("It has no rollout yet.", "Wait until it has started.", code="no-rollout")
    if "advance" in events and not at.plan.steps[at.own.step].person:
        raise Refusal("This step goes on by itself.", "Pause the rollout to stop it.", code="not-asked")
    if not any(ROLLOUT.allows(at.own.state, event) for event in events):
        ROLLOUT.next(at.own.state, events[0])
