"""Who hears of findings, once for each that happens and together where many do; and whom a test reaches."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.access.teams import Teams
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.findings import queries, sightings, tending
from backend.findings.rules import Cause, Sighting
from backend.findings.service import Findings
from backend.notify.outbox import about_of
from backend.policy.rules import EscalationStep, FindingRule
from tests.databases import Clock
from tests.services.changes.world import ENDPOINT, World
from tests.services.notify.conftest import Post

MAIL = "mailto://127.0.0.1:9?from=countersign@example.com"


@pytest.fixture
def post(database: Database, tmp_path: Path) -> Post:
    made = Post(World(database), tmp_path, mail_url=MAIL)
    made.addressed("ana", "ben", "carla", "olga", "otto", "nora", "audra")
    return made


def see(post: Post, *subjects: str, severity: Any = "warning") -> None:
    look = [
        Sighting(Cause("drift.feature", ENDPOINT, subject=one), severity, f"PSI of {one} is 0.31.", "drift", {})
        for one in subjects or ("dep_delay",)
    ]
    with post.database.unit(SYSTEM) as tx:
        sightings.seen(tx, look)
    post.fan_out()


def test_the_team_that_owns_the_place_hears_of_it_else_the_operators_there(post: Post, clock: Clock) -> None:
    see(post, "a")
    assert post.names("finding.opened") == {"olga"}
    teams, world = Teams(post.database, lambda *_: True), post.world
    teams.create(world.otto, "delays")
    for name in ("ana", "ben"):
        teams.add_member(world.otto, "delays", name)
    teams.set_owner(world.otto, "endpoint", ENDPOINT, "delays")
    see(post, "b")
    assert post.names("finding.opened") == {"olga", "ana", "ben"}
    Findings(post.database).assign(world.ana, 2, person="carla")
    post.fan_out()
    assert post.names("finding.assigned") == {"carla"}
    clock.tick(hours=1)
    with post.database.unit(SYSTEM) as tx:
        sightings.unseen(tx, [Cause("drift.feature", ENDPOINT, subject="b")])
    post.fan_out()
    assert post.names("finding.resolved") == {"carla"}


def test_many_at_one_look_are_one_message_and_a_worse_one_is_another(post: Post) -> None:
    see(post, *(f"f{number}" for number in range(20)))
    see(post, "worst", severity="critical")
    told = post.messages(event="finding.opened")
    assert [one.count for one in told] == [20, 1]


def test_seeing_it_again_tells_nobody_anything(post: Post, clock: Clock) -> None:
    see(post)
    for _ in range(3):
        clock.tick(hours=1)
        see(post)
    assert len(post.messages()) == 1


def test_what_is_for_information_is_told_to_whoever_asked_for_it_alone(post: Post) -> None:
    post.hook("http://127.0.0.1:9/x", "finding.opened")
    see(post, severity="info")
    assert [(one.event, one.route_key == "mail") for one in post.messages()] == [("finding.opened", False)]


def test_what_is_critical_comes_through_quiet_hours_and_what_is_not_waits(post: Post, clock: Clock) -> None:
    post.preferences.set(post.world.olga, quiet_from="08:00", quiet_to="20:00")
    see(post, "a")
    see(post, "b", severity="critical")
    due = {one.told["severity"]: one.due_at for one in post.messages()}
    assert due == {"warning": clock.now.replace(hour=20), "critical": clock.now}


def test_each_step_of_an_escalation_calls_its_own_people(post: Post, clock: Clock) -> None:
    steps = (EscalationStep(after_seconds=900, tell="owner"), EscalationStep(after_seconds=1_800, tell="admins"))
    post.world.policy(findings=FindingRule(escalation=steps))
    see(post)
    reached = []
    for _ in range(4):
        clock.tick(minutes=15)
        tending.tend(post.database)
        post.fan_out()
        reached.append(post.names("finding.escalated"))
    assert reached == [{"olga"}, {"olga", "otto", "nora"}, {"olga", "otto", "nora"}, {"olga", "otto", "nora"}]
    assert len(post.messages(event="finding.escalated")) == 3


def test_a_test_reaches_whoever_would_be_told_and_says_that_it_is_one(post: Post) -> None:
    see(post)
    post.hook("http://127.0.0.1:9/x", "finding.opened", actor=post.world.otto, everybody=True)
    row = Findings(post.database).test(post.world.olga, ENDPOINT)
    with post.database.read() as session:
        assert not queries.view(session, row.number).messages_made, "no worker has read it"
    post.fan_out()
    with post.database.read() as session:
        assert queries.view(session, row.number).messages_made
        told = queries.told(session, row.number)
        about = about_of(session, post.subjects, "finding", row.id)
    assert sorted((one.whom, one.event, one.state) for one in told) == [
        ("a route of everybody", "finding.opened", "waiting"),
        ("mail to Olga (platform engineer)", "finding.opened", "waiting"),
        ("mail to Olga (platform engineer)", "finding.resolved", "waiting"),
    ]
    assert about is not None
    assert about.label.startswith("A test, finding 2")
    assert "test" in about.title


def test_a_letter_names_the_finding_and_how_many_there_were(post: Post) -> None:
    see(post, "a", "<b>evil.example</b>")
    (message,) = post.messages()
    with post.database.read() as session:
        about = about_of(session, post.subjects, "finding", message.subject_id)
        assert about is not None
        letter = post.courier._letter(session, message, about, post.database.now(session) + timedelta(0))
    assert "Finding 1 (warning)" in letter.title
    assert "2 findings there were counted together" in letter.text
    assert "https://countersign.example/finding?finding=1" in letter.text
    assert b'"finding":1' in letter.body
    assert b'"severity":"warning"' in letter.body
