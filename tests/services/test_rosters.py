"""Lists of people and grants, whom a mapping touches, activating again, and the last admin, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlmodel import col, select

from backend.access import rosters, touched
from backend.access.devices import device
from backend.access.rosters import GrantPage
from backend.access.service import Identities
from backend.access.session_rows import ToldGroups
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.settings import Settings
from tests.databases import Clock


@pytest.fixture
def identities(database: Database) -> Identities:
    made = Identities(database, Settings(demo_identities=True))
    made.seed_demo()
    return made


@pytest.fixture
def otto(identities: Identities) -> Actor:
    return identities.act_as("otto")


def granted(database: Database, **wanted: object) -> GrantPage:
    with database.read() as session:
        return rosters.grants(session, now=database.now(session), **wanted)  # type: ignore[arg-type]


def test_grants_come_by_their_end_page_by_page_and_none_is_lost_or_told_twice(
    database: Database, identities: Identities, otto: Actor, clock: Clock
) -> None:
    identities.create(otto, "gone")
    identities.grant(otto, "gone", "viewer", "environment:dev", expires_at=clock.now + timedelta(hours=1))
    clock.tick(hours=1)
    for number in range(7):
        identities.create(otto, f"p{number}", display_name=f"Person {number}")
        end = clock.now + timedelta(days=9 - number) if number % 2 else None
        identities.grant(otto, f"p{number}", "viewer", "model:churn", expires_at=end)
    seen, after = [], ""
    while True:
        page = granted(database, text="person", after=after, limit=2)
        assert page.total == 7
        seen += [one.name for one in page.rows]
        if page.after is None:
            break
        after = page.after
    assert seen[:3] == ["p5", "p3", "p1"]
    assert sorted(seen) == [f"p{number}" for number in range(7)]
    assert {one.name for one in granted(database, ends="soon").rows} == {"p1", "p3", "p5"}
    assert [one.name for one in granted(database, ends="over").rows] == ["gone"]
    assert "p5" not in {one.name for one in granted(database, ends="open").rows}
    assert {one.scope for one in granted(database, scope="model").rows} == {"model:churn"}
    assert {one.where for one in granted(database, scope="*", role="admin").rows} == {"everywhere"}
    assert granted(database, text="%").total == granted(database, text="_").total == 0, "no wildcard of SQL's"


@pytest.mark.parametrize("after", ["", "nonsense", "2026-13-45~grt_x", "2026-01-01T00:00:00~grt_x", "~", "x~y~z"])
def test_a_key_that_nobody_gave_out_breaks_nothing(database: Database, identities: Identities, otto: Actor, after: str) -> None:
    assert granted(database, after=after).total == 7


def test_people_are_found_by_name_role_and_state(database: Database, identities: Identities, otto: Actor) -> None:
    identities.create(otto, "builds", kind="service", owner="ana", display_name="Build server")
    identities.deactivate(otto, "carla", "Left.")
    with database.read() as session:
        now = database.now(session)
        assert rosters.people(session, now=now, kind="person").total == 7
        assert [one.owner for one in rosters.people(session, now=now, kind="service").rows] == ["ana"]
        assert [one.name for one in rosters.people(session, now=now, text="BEN").rows] == ["ben"]
        assert [one.name for one in rosters.people(session, now=now, active=False).rows] == ["carla"]
        assert [one.name for one in rosters.people(session, now=now, role="reviewer").rows] == ["ben", "carla"]
        first = rosters.people(session, now=now, limit=3)
        rest = rosters.people(session, now=now, limit=30, after=first.after or "")
        assert (len(first.rows), len(rest.rows), first.total) == (3, 5, 8)
        assert rosters.person(session, "system", now=now) is None, "the system is nobody to look after"
        assert [one.name for one in rosters.services_of(session, identities.act_as("ana").id, now=now)] == ["builds"]


def test_who_was_deactivated_comes_back_with_his_roles_and_a_row_each_in_the_ledger(
    database: Database, identities: Identities, otto: Actor
) -> None:
    identities.deactivate(otto, "carla", "Lost a laptop.")
    identities.deactivate(otto, "carla", "again")
    identities.activate(otto, "carla", "Found it.")
    identities.activate(otto, "carla")
    with database.read() as session:
        rows = session.exec(select(LedgerRow).where(col(LedgerRow.action).endswith("activate")).order_by(col(LedgerRow.seq)))
        told = [(one.action, json.loads(one.after_json).get("reason")) for one in rows]
        line = rosters.person(session, "carla", now=database.now(session))
    assert told == [("identity.deactivate", "Lost a laptop."), ("identity.activate", "Found it.")]
    assert line is not None
    assert (line.active, line.roles) == (True, ("reviewer",))
    with pytest.raises(Refusal) as refused:
        identities.activate(identities.act_as("ana"), "carla")
    assert refused.value.code == "not-allowed"


def test_the_last_admin_cannot_be_lost(database: Database, identities: Identities, otto: Actor) -> None:
    nora = identities.act_as("nora")
    identities.create(otto, "robot", kind="service", owner="ana")
    identities.grant(otto, "robot", "admin")
    with database.read() as session:
        line = rosters.person(session, "robot", now=database.now(session))
    assert line is not None
    robot = Actor(line.id, line.name, "service", owner_id=identities.act_as("ana").id)
    identities.take_back(nora, "otto", "admin", reason="Moves on.")
    for act in (lambda: identities.take_back(robot, "nora", "admin"), lambda: identities.deactivate(robot, "nora")):
        with pytest.raises(Refusal) as refused:
            act()
        assert refused.value.code == "last-admin", "a service is nobody who could help"
    with pytest.raises(Refusal, match="Nobody else is an admin"):
        identities.take_back(nora, "nora", "admin")


def test_whom_a_mapping_touches_is_known_from_the_newest_sign_in(
    database: Database, identities: Identities, otto: Actor
) -> None:
    ana, ben = identities.act_as("ana"), identities.act_as("ben")
    with database.unit(otto) as tx:
        for who, groups in ((ana, ["ml", "staff"]), (ben, ["ml"])):
            tx.add(ToldGroups(identity_id=who.id, provider="corp", groups=groups, told_at=tx.now))
    with database.read() as session:
        found = touched.by_group(session, "corp", "ml", "reviewer")
        assert [(one.name, one.has) for one in found] == [("ana", False), ("ben", True)]
        assert touched.by_group(session, "corp", "ML", "reviewer") == (), "compared exactly"
        assert touched.by_group(session, "other", "ml", "reviewer") == ()
        assert touched.groups_told(session, "corp") == (("ml", 2), ("staff", 1))
        with pytest.raises(NotFound):
            touched.by_group(session, "corp", "ml", "reviewer", "team:nothing")


AGENTS = {
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36": "Chrome on Linux",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0": "Firefox on Windows",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0": "Edge on Windows",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1": "Safari on iPhone",
    "curl/8.5.0": "curl",
    "<script>alert(1)</script>": "",
    "": "",
}


@pytest.mark.parametrize("agent", AGENTS)
def test_a_browser_is_named_in_words_and_nothing_of_its_own_is_kept(agent: str) -> None:
    assert device(agent) == AGENTS[agent]
    assert device(None) == ""
