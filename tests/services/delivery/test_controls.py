"""What an operator does by hand: each is recorded with its reason, wakes the server, and doing it twice is harmless."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery import admission, courses, rules
from backend.delivery.rows import Authorization, Endpoint, Generation, Look
from tests.services.delivery.surroundings import Surroundings, refused


@pytest.fixture
def around(database: Database, tmp_path: Path) -> Surroundings:
    made = Surroundings(database, tmp_path)
    made.server()
    made.endpoint()
    return made


def managed(around: Surroundings, state: str = "in_sync", **values: Any) -> Endpoint:
    """The endpoint as it stands some time after its signature."""
    around.change("delay", mode="managed", state=state, paused=state == "paused", **values)
    return around.row()


def act(around: Surroundings, verb: str, *more: Any, by: str = "olga", reason: str = "an incident") -> Endpoint:
    found: Endpoint = getattr(around.endpoints, verb)(around.as_(by), "delay", *more, reason=reason)
    return found


def failed_before(around: Surroundings) -> None:
    """Attempts failed, so that the next one has to wait."""
    with around.database.unit(SYSTEM) as tx:
        tx.add(Look(endpoint_id=around_id(around), failures=4, retry_at=tx.now + timedelta(hours=1)))


def around_id(around: Surroundings) -> str:
    return around.row().id


def look(around: Surroundings) -> Look:
    with around.database.read() as session:
        found = session.get(Look, around_id(around))
    assert found is not None
    return found


def test_a_pause_stops_and_a_resume_looks_again(around: Surroundings) -> None:
    row = managed(around, repairs=["2026-03-02T09:00:00+00:00"])
    wakes = around.wakes(row.server_id)
    paused = act(around, "pause")
    assert (paused.paused, paused.state, paused.state_reason) == (True, "paused", "an incident")
    assert paused.state_since == around.database.now()
    resumed = act(around, "resume", reason="it is over")
    assert (resumed.paused, resumed.state, resumed.repairs) == (False, "stale", [])
    assert around.wakes(row.server_id) == wakes + 2
    pause, resume = around.events("endpoint.pause")[0], around.events("endpoint.resume")[0]
    assert (pause.before, pause.after) == (
        {"state": "in_sync", "paused": False},
        {"state": "paused", "paused": True, "reason": "an incident"},
    )
    assert (resume.actor_id, resume.after["reason"]) == (around.as_("olga").id, "it is over")


def test_twice_is_harmless(around: Surroundings) -> None:
    managed(around)
    for verb, more in (("pause", ()), ("resume", ()), ("repair_now", ()), ("set_repair", ("report",))):
        first = act(around, verb, *more)
        told, wakes = len(around.events()), around.wakes(first.server_id)
        again = act(around, verb, *more, reason="clicked twice")
        assert (again.state, again.repair, again.revision) == (first.state, first.repair, first.revision), verb
        assert (len(around.events()), around.wakes(first.server_id)) == (told, wakes), verb


def test_every_state_pauses_as_the_machine_says(around: Surroundings) -> None:
    for state in courses.ENDPOINT.states:
        managed(around, state)
        if state == "observed":
            assert "Sign off" in refused("wrong-state", act, around, "pause").remedy
        else:
            assert act(around, "pause").state == "paused"


def test_a_repair_by_hand_ends_a_fight_and_does_not_wait(around: Surroundings) -> None:
    now = around.database.now()
    recent = [(now - timedelta(seconds=seconds)).isoformat() for seconds in (1, 2, 3)]
    managed(around, "fight", repairs=recent)
    failed_before(around)
    row = act(around, "repair_now", reason="found who it was")
    assert (row.state, row.repairs) == ("pushing", [])
    assert (look(around).failures, look(around).retry_at) == (0, None)
    assert not courses.fight([], now, interval=timedelta(seconds=10))
    broken = rules.Verdict("out_of_sync")
    decided = {"revoked": False, "proved": True, "retry_at": look(around).retry_at, "now": now}
    assert courses.course(broken, state=row.state, repair="report", **decided) == "push"


def test_a_repair_by_hand_of_a_push_that_waits_does_not_wait(around: Surroundings) -> None:
    managed(around, "pushing")
    failed_before(around)
    act(around, "repair_now")
    assert look(around).retry_at is None
    assert len(around.events("endpoint.repair_now")) == 1


def test_what_is_paused_or_observed_is_not_repaired(around: Surroundings) -> None:
    refused("wrong-state", act, around, "repair_now")
    managed(around, "paused")
    assert refused("wrong-state", act, around, "repair_now").remedy == "Resume it first."
    assert around.row().state == "paused"


def test_nothing_is_repaired_under_a_revoked_approval_but_a_rollback_is(around: Surroundings) -> None:
    row = managed(around, "out_of_sync", generation=1)
    with around.database.unit(SYSTEM) as tx:
        grant = Authorization(
            id="aut_1", endpoint_id=row.id, change_id="chg_1", plan={}, plan_digest="", base_digest="", votes=[], policy="",
            start_by=tx.now, created_at=tx.now,
        )  # fmt: skip
        tx.record("authorization.test", tx.add(grant))
        tx.session.flush()
        for number, reason in ((1, "start"), (2, "rollback")):
            one = Generation(
                id=f"{row.id}/{number}", endpoint_id=row.id, number=number, authorization_id="aut_1", reason=reason, step=0,
                desired={}, digest="", admitted_at=tx.now, admitted_by="idn_system",
            )  # fmt: skip
            tx.record("generation.test", tx.add(one))
        tx.session.flush()
        admission.revoke(tx, "aut_1", "a leak")
    assert "Roll the change back" in refused("revoked", act, around, "repair_now").remedy
    around.change("delay", generation=2)
    assert act(around, "repair_now").state == "pushing"


def test_how_it_repairs_is_set_with_a_reason(around: Surroundings) -> None:
    row = around.row()
    wakes = around.wakes(row.server_id)
    assert act(around, "set_repair", "report", reason="a migration").repair == "report"
    event = around.events("endpoint.set_repair")[0]
    assert (event.before, event.after) == ({"repair": "repair"}, {"repair": "report", "reason": "a migration"})
    assert (around.row().state, around.wakes(row.server_id)) == ("observed", wakes + 1)
    refused("bad-setting", act, around, "set_repair", "sometimes")


def test_every_control_needs_a_reason(around: Surroundings) -> None:
    managed(around)
    for verb, more in (("pause", ()), ("resume", ()), ("repair_now", ()), ("set_repair", ("report",))):
        for reason in ("", "  ", "x" * 1_001):
            refused("no-reason", act, around, verb, *more, reason=reason)
    assert around.row().state == "in_sync"


def test_who_may_stop_is_more_than_who_may_go_on(around: Surroundings) -> None:
    managed(around)
    for name in ("ana", "ben", "audra"):
        for verb, more in (("pause", ()), ("resume", ()), ("repair_now", ()), ("set_repair", ("report",))):
            refused("not-allowed", act, around, verb, *more, by=name)
    assert act(around, "pause", by="otto").paused
    for verb, more in (("resume", ()), ("repair_now", ()), ("set_repair", ("report",))):
        refused("not-allowed", act, around, verb, *more, by="otto")
    around.identities.grant(around.as_("otto"), "ben", "operator", "environment:production")
    assert not act(around, "resume", by="ben").paused
    refused("not-found", around.endpoints.pause, around.as_("olga"), "nobody", reason="why")
