"""Findings on a database: what looks make of causes, what people say of them, what the timer does, what waits for them."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from backend.access.teams import Teams
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.findings import queries, sightings, tending
from backend.findings.queries import Filters
from backend.findings.rows import Finding, FindingSight
from backend.findings.rules import Cause, Sighting
from backend.findings.service import Findings
from backend.policy.rules import EscalationStep, FindingRule
from tests.databases import Clock, counted
from tests.services.changes.world import ENDPOINT, MODEL, World, refused

HOUR = timedelta(hours=1)


def sighting(subject: str = "dep_delay", severity: Any = "warning", **options: Any) -> Sighting:
    given = {
        "cause": Cause("drift.feature", ENDPOINT, subject=subject), "severity": severity, "says": f"PSI of {subject} is 0.31.",
        "found_by": "drift of flight-delay", "evidence": {"psi": 0.31},
    }  # fmt: skip
    return Sighting(**{**given, **options})


class Around:
    """The commands over a world, and hands to look."""

    def __init__(self, world: World, clock: Clock) -> None:
        self.world, self.database, self.clock = world, world.database, clock
        self.findings = Findings(world.database)
        self.teams = Teams(world.database, lambda *_: True)

    def see(self, *sightings_: Sighting, **options: Any) -> tuple[Finding, ...]:
        with self.database.unit(SYSTEM) as tx:
            return sightings.seen(tx, sightings_ or (sighting(),), **options)

    def unsee(self, *causes: Cause) -> None:
        with self.database.unit(SYSTEM) as tx:
            sightings.unseen(tx, causes or (sighting().cause,))

    def row(self, number: int = 1) -> tuple[Finding, FindingSight]:
        with self.database.read() as session:
            return session.exec(select(Finding, FindingSight).join(FindingSight).where(Finding.number == number)).one()

    def state(self, number: int = 1) -> str:
        return self.row(number)[0].state

    def ledger(self) -> list[str]:
        return self.world.ledger("finding")

    def view(self, number: int = 1) -> queries.FindingView:
        with self.database.read() as session:
            return queries.view(session, number)

    def listed(self, **wanted: Any) -> list[int]:
        with self.database.read() as session:
            return [one.number for one in queries.page(session, Filters(**wanted)).items]


@pytest.fixture
def around(database: Database, clock: Clock) -> Around:
    return Around(World(database), clock)


# -- looks


def test_one_cause_is_one_finding_however_often_it_is_seen(around: Around) -> None:
    around.see()
    for _ in range(3):
        around.clock.tick(hours=1)
        around.see(sighting(evidence={"psi": 0.4}, says="PSI of dep_delay is 0.4."))
    row, sight = around.row()
    assert (row.number, row.state, row.endpoint, row.environment, row.model) == (1, "open", ENDPOINT, "production", MODEL)
    assert (sight.times, sight.last_seen_at - sight.first_seen_at) == (4, 3 * HOUR)
    assert (row.first_evidence, sight.evidence) == ({"psi": 0.31}, {"psi": 0.4})
    assert (row.says, sight.says) == ("PSI of dep_delay is 0.31.", "PSI of dep_delay is 0.4.")
    assert around.ledger() == ["finding.open"], "seeing it again decides nothing"


def test_the_same_look_told_twice_changes_nothing(around: Around) -> None:
    around.see()
    before = around.row()[1].model_dump()
    around.see(sighting(severity="critical"))
    assert (around.row()[1].model_dump(), around.ledger()) == (before, ["finding.open"])


def test_a_look_of_many_known_causes_asks_as_often_as_one_of_few(around: Around) -> None:
    def asks(many: int) -> int:
        told = [sighting(f"feature {number}") for number in range(many)]
        around.see(*told)
        around.clock.tick(hours=1)
        with counted(around.database) as statements:
            around.see(*told)
        return len(statements)

    assert 0 < asks(40) <= asks(2)


def test_causes_that_differ_in_anything_are_findings_of_their_own(around: Around) -> None:
    kinds = sighting(cause=Cause("nulls", ENDPOINT, subject="dep_delay"))
    places = sighting(cause=Cause("drift.feature", model=MODEL, subject="dep_delay"))
    found = around.see(sighting(), sighting("distance"), kinds, places, sighting())
    assert [one.number for one in found] == [1, 2, 3, 4, 1]
    assert (found[3].endpoint_id, found[3].environment, found[3].model) == (None, None, MODEL)


def test_what_becomes_worse_asks_for_an_answer_anew(around: Around) -> None:
    around.see()
    around.findings.acknowledge(around.world.olga, 1)
    around.clock.tick(hours=1)
    around.see(sighting(severity="critical", says="PSI of dep_delay is 2.5."))
    row = around.row()[0]
    assert (row.state, row.severity, row.says, row.rank) == ("open", "critical", "PSI of dep_delay is 2.5.", 0)
    around.clock.tick(hours=1)
    around.see()
    assert around.row()[0].severity == "critical", "it does not fall"
    assert around.ledger() == ["finding.open", "finding.acknowledge", "finding.rise"]


def test_clean_looks_end_it_after_its_time_and_the_next_time_names_it(around: Around) -> None:
    slow = sighting(clear_after=HOUR)
    around.see(slow)
    around.clock.tick(hours=5)
    around.unsee()
    assert around.state() == "open"
    around.clock.tick(minutes=30)
    around.see(slow)
    assert around.row()[1].clean_since is None, "seen again in between"
    for _ in range(3):
        around.clock.tick(minutes=30)
        around.unsee()
    row = around.row()[0]
    assert (row.state, row.outcome, row.by_id) == ("resolved", "no_longer_seen", None)
    around.clock.tick(hours=1)
    around.unsee()
    around.see(slow)
    assert [around.view(2).former, around.view(1).later] == [1, 2]
    assert around.ledger() == ["finding.open", "finding.clear", "finding.open_again"]


def test_where_a_person_must_look_it_stays(around: Around) -> None:
    around.see(sighting(needs_person=True))
    around.clock.tick(days=3)
    around.unsee()
    assert (around.state(), around.row()[1].clean_since) == ("open", around.clock.now)


def test_a_whole_look_ends_what_its_monitor_had_found_there_and_nothing_else(around: Around) -> None:
    around.see(sighting("a"), sighting("b"), sighting("c", found_by="another"))
    around.see(sighting("m", cause=Cause("drift.feature", model=MODEL, subject="m")))
    around.clock.tick(hours=1)
    with around.database.unit(SYSTEM) as tx:
        found = sightings.looked(tx, "drift of flight-delay", [sighting("b")], endpoint=ENDPOINT)
    assert [one.number for one in found] == [2]
    assert [around.state(number) for number in (1, 2, 3, 4)] == ["resolved", "open", "open", "open"]


def test_a_place_that_is_not_there_is_refused_and_evidence_is_kept_in_bounds(around: Around) -> None:
    for cause in (Cause("drift", "absent"), Cause("drift", model="absent")):
        with pytest.raises(NotFound):
            around.see(sighting(cause=cause))
    around.see(sighting(evidence={"nan": float("nan"), "text": "a\x00b" * 5_000}, says="x" * 900))
    row = around.row()[0]
    assert row.first_evidence["nan"] == "nan"
    assert len(row.says) == 300


def test_two_workers_that_see_it_first_at_the_same_moment_open_one(real_time_database: Database, clock: Clock) -> None:
    around = Around(World(real_time_database), clock)
    gate, failed = threading.Barrier(2), list[BaseException]()

    def look() -> None:
        try:
            gate.wait(10)
            around.see()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert failed == []
    row, sight = around.row()
    assert (row.number, sight.times) in ((1, 1), (1, 2))
    assert around.ledger() == ["finding.open"]


# -- what people say


def test_each_act_is_done_once_and_said_by_whom_and_why(around: Around) -> None:
    around.see()
    findings, world = around.findings, around.world
    until = around.clock.now + 2 * HOUR
    acts = (
        ("acknowledged", lambda: findings.acknowledge(world.ana, 1, "I look.")),
        ("snoozed", lambda: findings.snooze(world.olga, 1, until, "Until the data are back.")),
        ("resolved", lambda: findings.resolve(world.ben, 1, "It was the summer time.", "false_alarm")),
        ("open", lambda: findings.reopen(world.ana, 1, "It was not.")),
    )
    for state, act in acts:
        act()
        act()
        assert around.state() == state
    told = around.view()
    assert [(one.what, one.by, one.reason) for one in told.history] == [
        ("open", "Countersign", "PSI of dep_delay is 0.31."), ("acknowledge", "Ana (data scientist)", "I look."),
        ("snooze", "Olga (platform engineer)", "Until the data are back."),
        ("resolve", "Ben (reviewer)", "It was the summer time."),
        ("reopen", "Ana (data scientist)", "It was not."),
    ]  # fmt: skip
    assert (told.line.snoozed_until, told.outcome, told.resolved_at) == (None, None, None)


def test_what_is_over_is_not_resolved_otherwise_and_says_who_ended_it_and_as_what(around: Around) -> None:
    around.see()
    findings, ben = around.findings, around.world.ben
    ended = findings.resolve(ben, 1, "Mended", "fixed")
    assert findings.resolve(ben, 1, " Mended ", "fixed").revision == ended.revision
    told = f"Finding 1 is over already: ben ended it at {around.clock.now:%Y-%m-%d %H:%M} UTC as fixed."
    for reason, outcome in (("Mended", "false_alarm"), ("Another reason", "fixed")):
        with pytest.raises(Refusal, match=re.escape(told)) as refused:
            findings.resolve(ben, 1, reason, outcome)  # type: ignore[arg-type]
        assert refused.value.code == "wrong-state"
    assert around.ledger() == ["finding.open", "finding.resolve"]


def test_it_is_the_owning_teams_until_somebody_says_otherwise_and_follows_it(around: Around) -> None:
    world = around.world
    around.teams.create(world.otto, "delays")
    around.teams.create(world.otto, "europe")
    around.teams.set_owner(world.otto, "model", MODEL, "delays")
    around.see()
    assert around.view().line.owner == "delays"
    around.teams.set_owner(world.otto, "endpoint", ENDPOINT, "europe")
    assert tending.tend(around.database).followed == 1
    assert around.view().line.owner == "europe"
    around.findings.assign(world.ana, 1, person="olga")
    assert (around.view().line.owner, around.view().line.owner_kind, around.view().assigned) == (
        "Olga (platform engineer)",
        "person",
        True,
    )
    assert tending.tend(around.database).followed == 0
    assert around.listed(owner="olga") == [1]
    assert around.listed(owner="europe") == []
    around.findings.assign(world.ana, 1)
    assert around.listed(owner="europe") == [1]
    refused("bad-owner", around.findings.assign, world.ana, 1, person="olga", team="europe")
    world.identities.deactivate(world.otto, "carla")
    refused("bad-owner", around.findings.assign, world.ana, 1, person="carla")
    refused("not-found", around.findings.assign, world.ana, 1, team="absent")


def test_what_makes_no_sense_is_refused_and_changes_nothing(around: Around) -> None:
    around.see()
    world, findings = around.world, around.findings
    refused("bad-snooze", findings.snooze, world.olga, 1, around.clock.now + timedelta(days=31), "Long")
    refused("no-reason", findings.resolve, world.ben, 1, " ")
    refused("bad-outcome", findings.resolve, world.ben, 1, "Why", "nothing")
    refused("not-allowed", findings.resolve, world.ana, 1, "I want it to go on.")
    refused("not-allowed", findings.snooze, world.ana, 1, around.clock.now + HOUR, "Later")
    for ref in (77, "77", "fnd_absent", "x" * 500):
        refused("not-found", findings.acknowledge, world.olga, ref)
    assert (around.state(), around.ledger()) == ("open", ["finding.open"])


def test_one_of_which_the_cause_was_seen_again_is_not_reopened_beside_it(around: Around) -> None:
    around.see()
    around.findings.resolve(around.world.ben, 1, "Mended")
    around.clock.tick(hours=1)
    around.see()
    said = refused("moved-on", around.findings.reopen, around.world.ana, 1, "Not mended")
    assert "finding 2" in str(said)


def test_a_look_at_an_older_window_opens_again_what_somebody_ended(around: Around) -> None:
    ends = around.clock.now
    around.see(at=ends - 10 * HOUR)
    around.clock.tick(minutes=6)
    around.findings.resolve(around.world.ben, 1, "Mended")
    around.clock.tick(hours=1)
    around.see(at=ends - 9 * HOUR)
    assert (around.state(1), around.state(2)) == ("resolved", "open")


def test_a_snooze_is_not_begun_anew_by_another(around: Around) -> None:
    around.see()
    olga, days = around.world.olga, timedelta(days=1)
    around.findings.snooze(olga, 1, around.clock.now + 30 * days, "Long")
    around.clock.tick(days=20)
    refused("bad-snooze", around.findings.snooze, olga, 1, around.clock.now + 11 * days, "Longer")
    around.findings.snooze(olga, 1, around.clock.now + 9 * days, "Shorter")
    assert around.state() == "snoozed"


# -- the timer

STEPS = (
    EscalationStep(after_seconds=900, tell="operators"),
    EscalationStep(after_seconds=1_800, tell="admins", raise_to="critical"),
)


def test_a_snooze_ends_by_itself_and_asks_for_an_answer_anew(around: Around) -> None:
    around.see()
    around.findings.snooze(around.world.olga, 1, around.clock.now + HOUR, "Later")
    assert tending.tend(around.database) == tending.Tended()
    around.clock.tick(hours=1)
    assert tending.tend(around.database).woken == 1
    assert tending.tend(around.database).woken == 0
    row = around.row()[0]
    assert (row.state, row.open_since, row.snoozed_until) == ("open", around.clock.now, None)


def test_nobody_answers_so_that_the_next_are_called_each_once(around: Around) -> None:
    around.world.policy(findings=FindingRule(escalation=STEPS))
    around.see(sighting("a"), sighting("b"), sighting("c", "info"))
    around.findings.acknowledge(around.world.olga, 2)
    told = []
    for _ in range(9):
        around.clock.tick(minutes=5)
        told.append(tending.tend(around.database).escalated)
        assert tending.tend(around.database).escalated == 0, "another worker, or the same after a restart"
    assert told == [0, 0, 1, 0, 0, 1, 0, 0, 0]
    assert [around.row(number)[0].severity for number in (1, 2, 3)] == ["critical", "warning", "info"]
    with around.database.read() as session:
        rows = session.exec(
            select(LedgerRow.after_json).where(LedgerRow.action == "finding.escalate").order_by(col(LedgerRow.seq))
        )
        assert ['"tell":"operators"' in one or '"tell":"admins"' in one for one in rows] == [True, True]


def test_what_is_about_an_endpoint_that_is_gone_is_over(around: Around) -> None:
    around.see()
    with around.database.unit(SYSTEM) as tx:
        tx.session.get_one(Finding, around.row()[0].id).endpoint_id = "end_gone"
        tx.record("test.change", ("finding", around.row()[0].id))
    assert tending.tend(around.database).gone == 1
    assert (around.row()[0].state, around.row()[0].outcome) == ("resolved", "gone")


# -- what waits


def test_a_start_waits_for_findings_as_the_policy_says_until_somebody_says_that_they_are_over(around: Around) -> None:
    world = around.world
    world.policy(findings=FindingRule(block_promotion_at="critical"))
    number = world.approved()
    around.see(sighting(severity="warning"))
    assert world.standing(number).held == ""
    around.clock.tick(hours=1)
    around.see(sighting(severity="critical"), sighting("of the model", "critical", cause=Cause("schema", model=MODEL)))
    said = refused("findings", world.changes.start, world.ana, number)
    assert "finding 1 (critical)" in str(said)
    assert [around.view(one).blocks for one in (1, 2)] == [True, True]
    assert not around.view(1).holds
    around.findings.snooze(world.olga, 1, around.clock.now + HOUR, "Later")
    around.findings.resolve(world.ben, 2, "Mended")
    refused("findings", world.changes.start, world.ana, number)
    around.findings.resolve(world.ben, 1, "Mended")
    world.changes.start(world.ana, number)
    world.run()
    assert world.state(number) == "applying"


def test_an_approved_change_that_starts_by_itself_waits_and_says_for_what(around: Around) -> None:
    world = around.world
    world.policy(findings=FindingRule(block_promotion_at="warning"))
    number = world.reviewed()
    around.see()
    world.vote(number)
    world.run()
    assert (world.state(number), "finding 1" in world.change(number).state_reason) == ("approved", True)
    around.findings.resolve(world.ben, 1, "Mended")
    around.clock.tick(minutes=5)
    world.run()
    assert world.state(number) == "applying"


RAMP = ({"share": 1_000, "hold_seconds": 600},)


def _under_way(around: Around, resume: Any) -> int:
    around.world.policy(findings=FindingRule(hold_rollout_at="critical", resume=resume))
    number = around.world.applied(ramp=RAMP)
    around.world.prove()
    around.world.run()
    assert around.world.rollout().state == "holding"
    around.see(sighting(severity="critical"))
    return number


def test_a_rollout_is_held_by_a_finding_and_goes_on_when_it_is_over(around: Around) -> None:
    _under_way(around, "resolved")
    around.clock.tick(seconds=20)
    around.world.run()
    assert "Held by finding 1 (critical)" in around.world.rollout().reason, "said soon, and not at the end of the step"
    around.clock.tick(hours=1)
    around.world.run()
    assert (around.world.rollout().state, around.world.rollout().step) == ("holding", 0)
    around.findings.resolve(around.world.ben, 1, "Mended")
    around.clock.tick(minutes=1)
    around.world.run()
    assert (around.world.rollout().state, around.world.rollout().step) == ("ramping", 1)


def test_where_the_policy_says_so_a_person_resumes_it_and_not_before_the_finding_is_over(around: Around) -> None:
    world = around.world
    _under_way(around, "person")
    around.clock.tick(seconds=20)
    world.run()
    assert (world.rollout().state, "finding 1" in world.rollout().reason) == ("paused", True)
    refused("findings", world.rollouts.resume, world.olga, ENDPOINT, "Go on")
    around.findings.resolve(world.ben, 1, "Mended")
    around.clock.tick(hours=1)
    world.run()
    assert world.rollout().state == "paused"
    world.rollouts.resume(world.olga, ENDPOINT, "Go on")
    world.run()
    assert (world.rollout().state, world.rollout().step) == ("ramping", 1)


def test_going_back_is_never_kept_waiting(around: Around) -> None:
    number = _under_way(around, "person")
    around.world.changes.roll_back(around.world.olga, number, "Worse")
    around.world.prove()
    around.world.run()
    assert around.world.state(number) == "rolled_back"


# -- the list


def test_the_list_has_the_worst_first_and_pages_meet_every_one_once(around: Around) -> None:
    severities = ("info", "warning", "critical")
    around.see(*(sighting(f"f{number}", severities[number % 3]) for number in range(12)))
    around.findings.acknowledge(around.world.olga, 3)
    around.findings.resolve(around.world.ben, 6, "Mended")
    with around.database.read() as session:
        whole = queries.page(session).items
        seen, after = [], None
        while True:
            page = queries.page(session, after=after, limit=5)
            seen += [one.number for one in page.items]
            after = page.next
            if after is None:
                break
        counted = queries.counts(session)
    assert seen == [one.number for one in whole]
    assert sorted(seen) == list(range(1, 13))
    assert [(one.severity, one.state) for one in whole[:4]] == [("critical", "open")] * 2 + [
        ("critical", "acknowledged"),
        ("warning", "open"),
    ]
    assert whole[-1].state == "resolved"
    assert counted[("open", "critical")] == 2
    assert sum(counted.values()) == 12
    refused("bad-page", lambda: queries.page(around.database.read().__enter__(), after="nonsense"))


def test_filters_narrow_and_counts_follow_them(around: Around) -> None:
    around.see(sighting("a"), sighting("b", "critical"), sighting(cause=Cause("drifting", ENDPOINT)))
    around.see(sighting("m", cause=Cause("latency.slo", model=MODEL)))
    assert around.listed(kind="drift") == [2, 1]
    assert around.listed(kind="drift.feature", severities=("critical",)) == [2]
    assert around.listed(endpoint=ENDPOINT, states=("open",)) == [2, 3, 1]
    assert around.listed(environment="production", model=MODEL) == [2, 3, 1]
    assert around.listed(endpoint="absent") == []
    assert around.view(1).beside == (2,)
    with around.database.read() as session:
        assert queries.kinds(session) == ("drift", "drifting", "latency")
        assert sum(queries.counts(session, Filters(kind="drift")).values()) == 2


def test_a_test_is_shown_where_it_is_asked_for_and_holds_nothing(around: Around) -> None:
    around.world.policy(findings=FindingRule(block_promotion_at="info", hold_rollout_at="info"))
    row = around.findings.test(around.world.olga, ENDPOINT, "critical")
    assert (row.state, row.outcome, row.test) == ("resolved", "tested", True)
    assert (around.listed(), around.listed(tests=True)) == ([], [1])
    refused("wrong-state", around.findings.reopen, around.world.ana, 1, "x")
    refused("wrong-state", around.findings.assign, around.world.ana, 1, person="ana")
    refused("wrong-state", around.findings.acknowledge, around.world.olga, 1)
    assert around.ledger() == ["finding.open", "finding.clear"]
    refused("not-allowed", around.findings.test, around.world.ana, ENDPOINT)
    refused("not-found", around.findings.test, around.world.olga, "absent")
