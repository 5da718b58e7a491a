"""What the screens of delivery are told: never healthy when nobody looked lately, and the same for any moment of the past."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import NotFound
from backend.delivery import looking, queries, rules
from backend.delivery.generations import DesiredEndpoint, generation_from
from backend.delivery.looking import Judged
from backend.delivery.plan import BUCKETS, Plan, parse_plan
from backend.delivery.rows import Authorization, Endpoint, Generation, Look, Proof, PushRecord
from backend.delivery.rules import Seen
from backend.delivery.seen import SeenModel, SeenServer, SeenVersion
from backend.delivery.standing import read_place
from tests.databases import Clock
from tests.delivery_world import World
from tests.rules.test_plan import plan as plan_json
from tests.services.delivery.surroundings import ADMIN, SECRET, Surroundings

INTERVAL = timedelta(seconds=10)
PLAN: Plan = parse_plan(plan_json(endpoint="delay", model="flight-delay", ramp=[{"shares": {"v1": 9000, "v2": 1000}}]))
VOTE = {"identity_id": "idn_ben", "verdict": "approve", "plan_digest": "", "base_digest": "", "at": ""}


class Delivery(Surroundings):
    """Surroundings with what the reconciler and admission would have written, through the same pure functions."""

    def __init__(self, database: Database, folder: Path, clock: Clock) -> None:
        super().__init__(database, folder)
        self.clock = clock
        self.place = self.server(credential=SECRET)

    def admit(self, name: str, desired: DesiredEndpoint, reason: str, grant: str | None = None) -> None:
        """Writes the next generation."""
        with self.database.unit(SYSTEM) as tx:
            row = tx.session.exec(select(Endpoint).where(Endpoint.name == name)).one()
            before = row.facts("generation", "state")
            row.mode, row.generation, row.state, row.state_since = "managed", row.generation + 1, "pushing", tx.now
            one = Generation(
                id=f"{row.id}/{row.generation}", endpoint_id=row.id, number=row.generation, authorization_id=grant,
                reason=reason, step=desired.step, desired=desired.to_json(), digest=desired.digest(), admitted_at=tx.now,
                admitted_by=self.as_("ben").id,
            )  # fmt: skip
            tx.record("endpoint.admit", row, before=before, after=row.facts("generation", "state"))
            tx.record("generation.admit", tx.add(one))

    def grant(self, name: str, change: str = "chg_7") -> str:
        """An authorization of the plan."""
        with self.database.unit(SYSTEM) as tx:
            row = tx.session.exec(select(Endpoint).where(Endpoint.name == name)).one()
            one = Authorization(
                id=f"aut_{change}", endpoint_id=row.id, change_id=change, plan=PLAN.to_json(), plan_digest=PLAN.digest(),
                base_digest="", votes=[VOTE], policy="production@1", start_by=tx.now, created_at=tx.now,
            )  # fmt: skip
            tx.record("authorization.test", tx.add(one))
            return one.id

    def see(self, name: str, *ready: int, foreign: int | None = None, proofs: str = "", answers: bool = True) -> None:
        """One look, judged and written down by the reconciler's own functions; what is as wanted counts as proved.

        These served versions are ready under `flight-delay` (`foreign`: one that nobody approved). `proofs` are kinds, with `!`
        behind one that failed.
        """
        loaded = {number: SeenVersion(number, "ready") for number in (*ready, *([foreign] if foreign else []))}
        server = SeenServer({"flight-delay": SeenModel("flight-delay", loaded)}) if answers else None
        with self.database.unit(SYSTEM) as tx:
            place = read_place(tx.session, self.place.id)
            assert place is not None
            standing = next(one for one in place.standings if one.name == name)
            row, wanted, seen = standing.endpoint, standing.wanted(tx.now), Seen(tx.now, server, trouble="it is gone")
            verdict = rules.judge(wanted, seen, tx.now, stale_after=3 * INTERVAL)
            if verdict.state == "in_sync" and row.generation and not standing.is_proved:
                row.proved_generation, row.proved_at = row.generation, tx.now
                tx.record("endpoint.prove", row, after=row.facts("proved_generation", "state"))
            looking.write_down(tx, Judged(standing, wanted, seen, verdict))
            for kind in filter(None, proofs.split(",")):
                held = {"endpoint_id": row.id, "generation": row.generation, "checked_at": tx.now, "details": {}}
                tx.session.merge(Proof(kind=kind.strip("!"), verdict="failed" if "!" in kind else "ok", **held))

    def push(self, name: str, key: str, *, outcome: str, ended: float | None = 2.0) -> None:
        """One attempt of the newest generation that began now."""
        with self.database.unit(SYSTEM) as tx:
            row = tx.session.exec(select(Endpoint).where(Endpoint.name == name)).one()
            finished = tx.now + timedelta(seconds=ended) if ended is not None else None
            tx.add(
                PushRecord(
                    id=key, endpoint_id=row.id, generation=row.generation, token=1, started_at=tx.now, finished_at=finished,
                    outcome=outcome, steps=[{"step": "load", "seconds": 1.5, "note": ""}],
                    error="it broke" if outcome == "failed" else None,
                )
            )  # fmt: skip

    def ask(self, question: Any, *args: Any, **options: Any) -> Any:
        """One query on a session of its own, at the present time where the query takes one."""
        if question in (queries.endpoint, queries.endpoints, queries.counts):
            options |= {"now": self.database.now(), "interval": INTERVAL}
        with self.database.read() as session:
            return question(session, *args, **options)

    def detail(self) -> queries.EndpointDetail:
        found: queries.EndpointDetail = self.ask(queries.endpoint, "delay")
        return found


@pytest.fixture
def delivery(database: Database, tmp_path: Path, clock: Clock) -> Delivery:
    made = Delivery(database, tmp_path, clock)
    made.endpoint(served_name="flight-delay")
    return made


def baseline() -> DesiredEndpoint:
    first = generation_from(PLAN, 0, None).arms[0]
    return DesiredEndpoint(step=0, champion="v1", arms=(first.model_copy(update={"ranges": ((0, BUCKETS),)}),))


def ramp_started(delivery: Delivery) -> datetime:
    """A baseline that was proved, then a step of 90/10 that is proved a minute later; returns when the step was admitted."""
    delivery.admit("delay", baseline(), "baseline")
    delivery.see("delay", 1, proofs="answers,configured")
    delivery.clock.tick(minutes=1)
    delivery.admit("delay", generation_from(PLAN, 0, baseline(), clean=True), "start", delivery.grant("delay"))
    admitted = delivery.clock.now
    delivery.push("delay", "psh_1", outcome="failed")
    delivery.clock.tick(seconds=30)
    delivery.push("delay", "psh_2", outcome="proved")
    delivery.clock.tick(seconds=2)
    delivery.see("delay", 1, 2, proofs="answers,configured")
    return admitted


# -- lists


def test_a_proved_endpoint_is_healthy_until_nobody_looks_any_more(delivery: Delivery) -> None:
    ramp_started(delivery)
    line = delivery.ask(queries.endpoints).rows[0]
    assert (line.state, line.healthy, line.stale, line.seen_seconds) == ("in_sync", True, False, 0)
    assert (line.generation, line.proved_generation, line.champion_version, line.live_version) == (2, 2, 1, 1)
    assert [(one.kind, one.holds, one.age_seconds) for one in line.proofs] == [("answers", True, 0), ("configured", True, 0)]
    delivery.clock.tick(seconds=30)
    at_the_edge = delivery.ask(queries.endpoints).rows[0]
    assert (at_the_edge.state, at_the_edge.healthy) == ("in_sync", True)
    delivery.clock.tick(seconds=1)
    line = delivery.ask(queries.endpoints).rows[0]
    assert (line.state, line.healthy, line.stale, line.live_version) == ("stale", False, True, None)
    assert line.reason.startswith("not seen since 2026-03-02T09:01:32")
    assert [one.holds for one in line.proofs] == [False, False]
    assert delivery.ask(queries.counts) == {"stale": 1}
    assert delivery.row().state == "in_sync", "only what is shown ages"


def test_what_was_proved_of_an_earlier_generation_does_not_hold(delivery: Delivery) -> None:
    ramp_started(delivery)
    delivery.admit("delay", generation_from(PLAN, 1, generation_from(PLAN, 0, baseline())), "ramp", "aut_chg_7")
    line = delivery.ask(queries.endpoints).rows[0]
    assert (line.state, line.healthy, [one.holds for one in line.proofs]) == ("pushing", False, [False, False])
    assert (line.champion_version, line.live_version) == (2, 1)
    delivery.change("delay", state="in_sync")
    assert not delivery.ask(queries.endpoints).rows[0].healthy


def test_a_failed_proof_is_not_healthy(delivery: Delivery) -> None:
    delivery.admit("delay", baseline(), "baseline")
    delivery.see("delay", 1, proofs="answers,behaviour!")
    line = delivery.ask(queries.endpoints).rows[0]
    assert (line.healthy, [one.holds for one in line.proofs]) == (False, [True, False])


def test_an_endpoint_nobody_saw_yet_is_observed_and_not_healthy(delivery: Delivery) -> None:
    line = delivery.ask(queries.endpoints).rows[0]
    assert (line.state, line.stale, line.healthy, line.seen_seconds, line.champion_version) == (
        "observed",
        True,
        False,
        None,
        None,
    )
    delivery.change("delay", state="partial", mode="managed")
    assert delivery.ask(queries.endpoints).rows[0].reason == "not seen yet"


def test_lists_are_filtered_and_paged_by_name(delivery: Delivery) -> None:
    delivery.server("second")
    for number in range(4):
        delivery.endpoint(f"e{number}", environment="dev", server="second", served_name=None, model="Other_model")
    delivery.admit("delay", baseline(), "baseline")
    delivery.see("delay", 1)
    delivery.change("e1", state="in_sync", mode="managed")

    def names(**wanted: Any) -> list[str]:
        return [one.name for one in delivery.ask(queries.endpoints, **wanted).rows]

    assert names() == ["delay", "e0", "e1", "e2", "e3"]
    assert names(environment="production") == names(server="srv") == names(model="flight-delay") == ["delay"]
    assert names(state="in_sync") == ["delay"]
    assert (names(state="stale"), names(mode="managed")) == (["e1"], ["delay", "e1"])
    assert names(text="OTHER_") == ["e0", "e1", "e2", "e3"]
    assert names(text="%") == names(text="e_") == names(environment="mars") == []
    first = delivery.ask(queries.endpoints, limit=2)
    assert ([one.name for one in first.rows], first.after) == (["delay", "e0"], "e0")
    last = delivery.ask(queries.endpoints, after="e1", limit=2)
    assert ([one.name for one in last.rows], last.after) == (["e2", "e3"], None)
    assert delivery.ask(queries.counts) == {"in_sync": 1, "stale": 1, "observed": 3}


# -- one endpoint


def test_wanted_stands_against_seen(delivery: Delivery) -> None:
    ramp_started(delivery)
    detail = delivery.detail()
    told = [(one.name, one.role, one.champion, one.wanted_share, one.seen_share, one.seen_state) for one in detail.arms]
    assert told == [("v1", "arm", True, 9_000, 9_000, "ready"), ("v2", "arm", False, 1_000, 1_000, "ready")]
    assert (detail.strangers, detail.salt, detail.created_by_name) == ((), PLAN.salt, "Olga (platform engineer)")
    delivery.see("delay", 1, foreign=9)
    detail = delivery.detail()
    assert [(one.name, one.seen_share, one.seen_state) for one in detail.arms] == [
        ("v1", 9_000, "ready"),
        ("v2", 0, "not_loaded"),
    ]
    assert [(one.served_name, one.served_version) for one in detail.strangers] == [("flight-delay", 9)]
    assert (detail.line.state, detail.line.healthy) == ("out_of_sync", False)
    assert "version 9 of flight-delay is loaded and no approval names it" in detail.line.reason


def test_what_is_warm_or_leaving_is_told_as_that(delivery: Delivery) -> None:
    final = generation_from(PLAN, 1, baseline(), clean=True)
    gone = baseline().arms[0].model_copy(update={"name": "v0", "version": 8, "served_as": PLAN.arms[0].served_as, "ranges": ()})
    left = gone.model_copy(update={"served_as": gone.served_as.model_copy(update={"version": 8})})
    delivery.admit("delay", final.model_copy(update={"leaving": (left,)}), "start", delivery.grant("delay"))
    delivery.see("delay", 1, 2, foreign=8)
    assert [(one.name, one.role, one.seen_state) for one in delivery.detail().arms] == [
        ("v2", "arm", "ready"),
        ("v1", "warm", "ready"),
        ("v0", "leaving", "ready"),
    ]
    delivery.see("delay", 1, 2)
    assert [one.name for one in delivery.detail().arms] == ["v2", "v1"]


@pytest.mark.parametrize("how", ["stale", "unreachable"])
def test_what_nobody_sees_now_is_not_told_as_seen(delivery: Delivery, how: str) -> None:
    ramp_started(delivery)
    if how == "stale":
        delivery.clock.tick(minutes=5)
    else:
        delivery.see("delay", answers=False)
    detail = delivery.detail()
    assert (detail.line.state, detail.line.healthy, detail.seen) == (how, False, None)
    assert {(one.seen_share, one.seen_state, one.seen_champion) for one in detail.arms} == {(None, None, None)}
    assert detail.seen_at is not None
    assert not any(one.holds for one in detail.line.proofs)


def test_trouble_and_the_next_attempt_are_told(delivery: Delivery) -> None:
    delivery.admit("delay", baseline(), "baseline")
    delivery.see("delay")
    delivery.change("delay", last_error="Triton srv answered 500")
    later = delivery.clock.now + timedelta(minutes=1)
    with delivery.database.unit(SYSTEM) as tx:
        look = tx.get(Look, delivery.row().id)
        look.failures, look.retry_at = 3, later
    held = work.claim(delivery.database, "server", holder="w1", seconds=30)[0]
    detail = delivery.detail()
    assert (detail.last_error, detail.failures, detail.retry_at) == ("Triton srv answered 500", 3, later)
    assert detail.working
    with delivery.database.unit(SYSTEM) as tx:
        work.finish(tx, held, next_due=later)
    detail = delivery.detail()
    assert (detail.working, detail.next_look_at) == (False, later)


def test_a_name_nobody_has_is_not_found(delivery: Delivery) -> None:
    for question in (queries.endpoint, queries.history, queries.timeline, queries.unmanaged):
        with pytest.raises(NotFound):
            delivery.ask(question, "nobody")


# -- what happened


def test_history_says_who_admitted_what_for_which_change_and_when_it_was_proved(delivery: Delivery) -> None:
    admitted = ramp_started(delivery)
    start, first = delivery.ask(queries.history, "delay")
    assert (start.number, start.reason, start.change_id, start.policy) == (2, "start", "chg_7", "production@1")
    assert (start.admitted_at, start.admitted_by_name) == (admitted, "Ben (reviewer)")
    assert start.proved_at == admitted + timedelta(seconds=32)
    assert [(one.arm, one.version, one.buckets) for one in start.shares] == [("v1", 1, 9_000), ("v2", 2, 1_000)]
    assert (first.number, first.reason, first.change_id, first.champion_version) == (1, "baseline", None, 1)
    assert first.proved_at is None, "nobody kept when the baseline was proved, and the endpoint speaks of its newest only"
    assert [one.number for one in delivery.ask(queries.history, "delay", before=2)] == [1]
    assert [one.number for one in delivery.ask(queries.history, "delay", limit=1)] == [2]


def test_the_newest_proof_counts_without_a_push(delivery: Delivery) -> None:
    delivery.admit("delay", baseline(), "baseline")
    assert delivery.ask(queries.history, "delay")[0].proved_at is None
    delivery.see("delay", 1)
    assert delivery.ask(queries.history, "delay")[0].proved_at == delivery.clock.now


def test_the_push_log_is_newest_first_and_pages(delivery: Delivery) -> None:
    ramp_started(delivery)
    last, first = delivery.ask(queries.push_log)
    assert (last.id, last.endpoint, last.generation, last.outcome, last.seconds) == ("psh_2", "delay", 2, "proved", 2.0)
    assert (first.outcome, first.error, first.steps[0]["step"]) == ("failed", "it broke", "load")
    assert delivery.ask(queries.push_log, name="delay", before=(last.started_at, last.id)) == (first,)
    delivery.endpoint("other", served_name="other")
    assert delivery.ask(queries.push_log, name="other") == ()


def test_the_timeline_tells_only_what_is_new(delivery: Delivery) -> None:
    ramp_started(delivery)
    whole = delivery.ask(queries.timeline, "delay")
    assert [(one.kind, one.state, one.generation) for one in whole if one.kind != "state"] == [
        ("push", "proved", 2),
        ("observation", "in_sync", 2),
        ("push", "failed", 2),
        ("observation", "in_sync", 1),
    ]
    moved = [(one.details["before"], one.state, one.details["action"]) for one in whole if one.kind == "state"]
    assert moved == [
        ("pushing", "in_sync", "endpoint.observe"),
        ("in_sync", "pushing", "endpoint.admit"),
        ("pushing", "in_sync", "endpoint.observe"),
        ("observed", "pushing", "endpoint.admit"),
    ]
    assert [one.at for one in whole] == sorted((one.at for one in whole), reverse=True)
    delivery.clock.tick(seconds=1)
    delivery.see("delay", 1, 2, foreign=9)
    delivery.see("delay", 1, 2, foreign=10)
    drift = delivery.ask(queries.timeline, "delay", whole[0].at)
    assert [one.kind for one in drift].count("observation") == 2
    assert [one.state for one in drift if one.kind == "state"] == ["out_of_sync"], "it moved once"
    newest = drift[0].at
    assert delivery.ask(queries.timeline, "delay", newest) == ()
    delivery.clock.tick(seconds=1)
    delivery.push("delay", "psh_3", outcome="running", ended=None)
    running = delivery.ask(queries.timeline, "delay", newest)
    assert [(one.kind, one.state, one.says) for one in running] == [("push", "running", "")]
    with delivery.database.unit(SYSTEM) as tx:
        record = tx.get(PushRecord, "psh_3")
        record.outcome, record.finished_at = "failed", tx.now + timedelta(seconds=1)
    assert [one.state for one in delivery.ask(queries.timeline, "delay", running[0].at)] == ["failed"]
    assert len(delivery.ask(queries.timeline, "delay", limit=2)) == 2
    early = delivery.ask(queries.timeline, "delay", until=whole[-1].at)
    assert ([one.kind for one in early], {one.generation for one in early}) == (["observation", "state", "state"], {1})


def test_any_moment_can_be_asked_for(delivery: Delivery, clock: Clock) -> None:
    created = clock.now
    clock.tick(minutes=10)
    admitted = ramp_started(delivery)
    ask = queries.at
    before = delivery.ask(ask, "delay", created - timedelta(seconds=1))
    assert (before.exists, before.desired, before.seen, before.state) == (False, None, None, None)
    empty = delivery.ask(ask, "delay", created)
    assert (empty.exists, empty.desired, empty.votes, empty.state) == (True, None, (), "observed")
    first = delivery.ask(ask, "delay", admitted - timedelta(microseconds=1))
    assert (first.desired.number, first.desired.reason, first.state) == (1, "baseline", "in_sync")
    assert first.seen["models"]["flight-delay"]["versions"] == {"1": "ready"}
    step = delivery.ask(ask, "delay", admitted)
    assert (step.desired.number, step.desired.change_id, step.desired.policy) == (2, "chg_7", "production@1")
    assert (step.votes, step.state) == ((VOTE,), "pushing")
    assert step.desired.proved_at is None, "at that moment it was not proved yet"
    assert step.seen_at == admitted - timedelta(minutes=1)
    with delivery.database.unit(SYSTEM) as tx:
        grant = tx.get(Authorization, "aut_chg_7")
        grant.revoked_at = clock.tick(minutes=1)
        tx.record("authorization.test", grant)
    now = delivery.ask(ask, "delay", clock.now)
    assert now.desired.proved_at == admitted + timedelta(seconds=32)
    assert now.desired.revoked_at == clock.now
    assert now.seen["models"]["flight-delay"]["versions"] == {"1": "ready", "2": "ready"}
    assert delivery.ask(ask, "delay", clock.now - timedelta(seconds=1)).desired.revoked_at is None


def test_a_moment_when_nobody_answered_is_told_as_that(delivery: Delivery, clock: Clock) -> None:
    ramp_started(delivery)
    clock.tick(seconds=10)
    delivery.see("delay", answers=False)
    lost = clock.now
    clock.tick(seconds=10)
    delivery.see("delay", 1, 2)
    clock.tick(seconds=10)
    delivery.endpoints.pause(delivery.as_("olga"), "delay", reason="a migration")
    delivery.endpoints.set_repair(delivery.as_("olga"), "delay", "report", reason="it says nothing of the state")
    told = {name: delivery.ask(queries.at, "delay", at) for name, at in (
        ("before", lost - timedelta(seconds=1)), ("lost", lost), ("back", lost + timedelta(seconds=10)), ("now", clock.now),
    )}  # fmt: skip
    assert {name: one.state for name, one in told.items()} == {
        "before": "in_sync", "lost": "unreachable", "back": "in_sync", "now": "paused",
    }  # fmt: skip
    assert (told["lost"].reason, told["now"].reason) == ("it is gone", "a migration")
    assert told["lost"].seen_at < lost
    newest = delivery.ask(queries.timeline, "delay")[0]
    assert (newest.kind, newest.state, newest.says) == ("state", "paused", "a migration")
    assert newest.details["actor_id"] == delivery.as_("olga").id


def test_what_the_real_worker_writes_reads_as_it_happened(database: Database, tmp_path: Path, clock: Clock) -> None:
    world = World(database, tmp_path)
    world.live()
    clock.tick(seconds=5)
    with database.read() as session:
        detail = queries.endpoint(session, "flight-delay", now=clock.now, interval=INTERVAL)
        newest, first = queries.history(session, "flight-delay")
        log = queries.push_log(session, name="flight-delay")
        moment = queries.at(session, "flight-delay", clock.now)
    assert (detail.line.state, detail.line.healthy, detail.line.champion_version, detail.line.live_version) == (
        "in_sync",
        True,
        1,
        1,
    )
    assert {one.kind: (one.verdict, one.holds) for one in detail.line.proofs} == dict.fromkeys(
        ("answers", "behaviour", "bytes", "configured"), ("ok", True)
    )
    assert [(one.name, one.wanted_share, one.seen_share, one.seen_champion, one.seen_state) for one in detail.arms] == [
        ("v1", BUCKETS, BUCKETS, True, "ready")
    ]
    assert (newest.reason, newest.change_id, first.reason) == ("start", "chg_flight-delay_1", "baseline")
    assert None not in (newest.proved_at, first.proved_at)
    assert {one.outcome for one in log} <= {"proved", "unloaded"}
    assert (moment.state, moment.desired.number, moment.votes[0]["verdict"]) == ("in_sync", 2, "approve")
    world.server.stop()
    world.one_pass()
    with database.read() as session:
        lost = queries.endpoint(session, "flight-delay", now=clock.now, interval=INTERVAL)
    assert (lost.line.state, lost.line.healthy, lost.line.live_version) == ("unreachable", False, None)
    assert not any(one.holds for one in lost.line.proofs)


# -- servers


def test_servers_tell_what_stands_on_them_and_no_secret(delivery: Delivery) -> None:
    delivery.server("empty")
    delivery.behind_router()
    delivery.endpoint("routed", served_name="routed", router="edge")
    delivery.change("routed", mode="managed")
    delivery.see("delay", 1)
    empty, used = delivery.ask(queries.servers)
    assert (empty.name, empty.endpoints, empty.seen_at, empty.next_look_at, empty.has_credential) == (
        "empty",
        0,
        None,
        None,
        False,
    )
    assert (used.name, used.endpoints, used.managed, used.seen_at, used.has_credential) == (
        "srv",
        2,
        1,
        delivery.clock.now,
        True,
    )
    assert used.next_look_at is not None
    router = delivery.ask(queries.routers)[0]
    assert (router.name, router.endpoints, router.settings["admin_url"]) == ("edge", 1, ADMIN)
    assert SECRET not in repr((empty, used, router))


def test_what_runs_without_approval_is_listed_by_server(delivery: Delivery) -> None:
    assert delivery.ask(queries.unmanaged, "srv") == ()
    delivery.see("delay", 3, 4)
    found = delivery.ask(queries.unmanaged, "srv")
    assert [(one.endpoint, one.served_name, one.served_version) for one in found] == [
        ("delay", "flight-delay", 3),
        ("delay", "flight-delay", 4),
    ]
    assert {one.seen_at for one in found} == {delivery.clock.now}
    assert delivery.detail().strangers == found
