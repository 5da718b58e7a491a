"""What people do about findings: answer one, say whose it is, silence it for a time, say that it is over, and try the alarm."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import select

from backend.access import queries as access
from backend.access.checks import require
from backend.access.rows import Identity
from backend.access.scopes import named_team
from backend.access.service import named_identity
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal, StaleWrite
from backend.core.moments import in_utc
from backend.core.unit import Unit
from backend.findings import rules, sightings
from backend.findings.moves import facts, move, record
from backend.findings.rows import Finding
from backend.findings.rules import OUTCOMES, Cause, Outcome, Sighting
from backend.policy.rules import Severity

MAX_REASON = 2_000
TEST_KIND = "test"


class Findings:
    """Commands on findings. A finding is named by its number or its id; whoever may not see it is told that it is not there.

    `revision`: what whoever acts looked at; one that was decided on since is left alone (StaleWrite). Seeing it again is no
    decision.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def acknowledge(self, actor: Actor, ref: str | int, reason: str = "", *, revision: int | None = None) -> Finding:
        """Somebody looks after it, so that nobody else is called. Saying it again changes nothing."""
        with self._database.unit(actor) as tx:
            row = _permitted(tx, actor, ref, "finding.acknowledge", revision)
            if row.state != "acknowledged":
                move(tx, row, "acknowledge", reason=_words(reason, needed=False))
            return row

    def assign(
        self,
        actor: Actor,
        ref: str | int,
        *,
        person: str | None = None,
        team: str | None = None,
        reason: str = "",
        revision: int | None = None,
    ) -> Finding:
        """Says whose it is: a person's or a team's; with neither it is the team's again that owns the place.

        Refusal code `bad-owner` for both, and for somebody who is not active.
        """
        with self._database.unit(actor) as tx:
            row = _permitted(tx, actor, ref, "finding.assign", revision)
            whom, which = _owner(tx, row, person, team)
            if (whom, which, person is not None or team is not None) != (row.owner_id, row.owner_team_id, row.assigned):
                before = facts(row)
                row.owner_id, row.owner_team_id, row.assigned = whom, which, person is not None or team is not None
                row.reason, row.by_id = _words(reason, needed=False), actor.id
                record(tx, row, "finding.assign", before)
            return row

    def snooze(self, actor: Actor, ref: str | int, until: datetime, reason: str, *, revision: int | None = None) -> Finding:
        """Nobody is called until then. It still holds and blocks what the policy says, and becoming worse ends it.

        Refusal code `bad-snooze` for an end that lies too far ahead.
        """
        with self._database.unit(actor) as tx:
            row = _permitted(tx, actor, ref, "finding.snooze", revision)
            end = in_utc(until)
            rules.FINDING.next(row.state, "snooze")
            rules.check_snooze(row.severity, end, tx.now, since=row.state_since if row.state == "snoozed" else None)
            if (row.state, row.snoozed_until) != ("snoozed", end):
                move(tx, row, "snooze", reason=_words(reason), snoozed_until=end)
            return row

    def resolve(
        self, actor: Actor, ref: str | int, reason: str, outcome: Outcome = "fixed", *, revision: int | None = None
    ) -> Finding:
        """Says that it is over, and how. Where its cause is seen later, another one is opened that names this one.

        Saying the same again changes nothing. Refusal `wrong-state` where it is over already and that was told otherwise: what
        is said second would be nowhere.
        """
        if outcome not in OUTCOMES:
            raise Refusal(f"{str(outcome)[:40]!r} is no outcome.", f"Use one of {', '.join(OUTCOMES)}.", code="bad-outcome")
        with self._database.unit(actor) as tx:
            row = _permitted(tx, actor, ref, "finding.resolve", revision)
            told = _words(reason)
            if row.state != "resolved":
                move(tx, row, "resolve", reason=told, outcome=outcome)
            elif (row.outcome, row.reason) != (outcome, told):
                raise _is_over(tx, row)
            return row

    def reopen(self, actor: Actor, ref: str | int, reason: str, *, revision: int | None = None) -> Finding:
        """Says that it is not over, or that whoever answered or silenced it shall not have. Somebody is to answer again."""
        with self._database.unit(actor) as tx:
            row = _permitted(tx, actor, ref, "finding.acknowledge", revision)
            if row.state != "open":
                _refuse_a_second(tx, row)
                move(tx, row, "reopen", reason=_words(reason))
            return row

    def test(self, actor: Actor, endpoint: str, severity: Severity = "warning") -> Finding:
        """Opens a finding that says that it is a test, and ends it at once, so that whoever would be told is told of both.

        It holds and blocks nothing. What became of its messages is told by `queries.told`.
        """
        if severity not in rules.SEVERITIES:
            raise Refusal(
                f"{str(severity)[:40]!r} is no severity.", f"Use one of {', '.join(rules.SEVERITIES)}.", code="bad-severity"
            )
        with self._database.unit(actor) as tx:
            _require_at(tx, actor, endpoint)
            return _fired(tx, endpoint, severity)

    def fire(self, endpoint: str) -> None:
        """The same by Countersign itself: a check of a change asks whether an alarm reaches anybody. NotFound."""
        with self._database.unit(SYSTEM) as tx:
            _fired(tx, endpoint, "warning")


def _fired(tx: Unit, endpoint: str, severity: Severity) -> Finding:
    place = sightings.place_of(tx, endpoint)
    says = "This is a test of who is told. Nothing is wrong."
    look = Sighting(Cause(TEST_KIND, endpoint, subject=tx.new_id("tst")), severity, says, TEST_KIND, {})
    print_ = rules.fingerprint(TEST_KIND, place.key, look.cause.subject)
    row = sightings.opened(tx, look, print_, place, None, tx.now, test=True)
    move(tx, row, "clear", outcome=rules.TESTED)
    return row


def find(tx: Unit, ref: str | int) -> Finding | None:
    """A finding by its number or its id, locked."""
    text = str(ref)
    query = select(Finding).where(Finding.number == int(text) if text.isdecimal() and len(text) < 10 else Finding.id == text)
    return tx.session.exec(query.with_for_update()).one_or_none()


def missing(ref: str | int) -> NotFound:
    """What is told of a finding that is not there, or that may not be seen."""
    return NotFound("finding", str(ref)[:60], "Look into the list of findings.")


def _permitted(tx: Unit, actor: Actor, ref: str | int, action: str, revision: int | None) -> Finding:
    row = find(tx, ref)
    if row is None:
        raise missing(ref)
    where = {"environment": row.environment, "model": row.model, "endpoint": row.endpoint}
    require(tx, actor, action, **where, missing=missing(ref))
    if row.test:  # what it sends is the proof that an alarm arrives: nothing else may send anything of it
        raise Refusal("This was a test.", "Test it once more instead.", code="wrong-state")
    if revision is not None and revision != row.revision:
        raise StaleWrite("finding", str(row.number))
    return row


def _require_at(tx: Unit, actor: Actor, endpoint: str) -> None:
    place = sightings.place_of(tx, endpoint)
    require(tx, actor, "finding.test", environment=place.environment, model=place.model, endpoint=endpoint)


def _owner(tx: Unit, row: Finding, person: str | None, team: str | None) -> tuple[str | None, str | None]:
    """(identity, team) that it is given to."""
    if person is not None and team is not None:
        raise Refusal("A finding has one owner.", "Name a person or a team.", code="bad-owner")
    if person is not None:
        whom: Identity = named_identity(tx.session, person)
        if not whom.active or whom.kind != "person":
            raise Refusal(f"{person[:80]} is not an active person.", "Name somebody who can look after it.", code="bad-owner")
        return whom.id, None
    if team is not None:
        return None, named_team(tx.session, team).id
    return None, access.owner(tx.session, endpoint=row.endpoint, model=row.model)


def _is_over(tx: Unit, row: Finding) -> Refusal:
    """Who ended it, when and as what."""
    whom = tx.session.get(Identity, row.by_id) if row.by_id is not None else None
    when = f" at {row.resolved_at:%Y-%m-%d %H:%M} UTC" if row.resolved_at is not None else ""
    who, as_what = whom.name if whom is not None else "Countersign", (row.outcome or "").replace("_", " ")
    return Refusal(
        f"Finding {row.number} is over already: {who} ended it{when} as {as_what}.",
        "Nothing of this was kept. Reopen it first if it ended otherwise.",
        code="wrong-state",
    )


def _refuse_a_second(tx: Unit, row: Finding) -> None:
    """One cause has one finding that is not over."""
    if row.state != "resolved":
        return
    query = select(Finding.number).where(Finding.fingerprint == row.fingerprint, Finding.state != "resolved")
    if (other := tx.session.exec(query).first()) is not None:
        raise Refusal(f"Its cause was seen again since, as finding {other}.", f"Look after finding {other}.", code="moved-on")


def _words(text: str, *, needed: bool = True) -> str:
    told = " ".join(text.split())
    if (needed and not told) or len(told) > MAX_REASON or (told and not told.isprintable()):
        raise Refusal("This needs a reason.", f"Say in a sentence why (at most {MAX_REASON} characters).", code="no-reason")
    return told
