"""The whole fleet: worst first and page by page, as it stood at any moment, over a period; never a query a row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from backend.delivery import fleet, past
from backend.delivery.fleet import Filters
from backend.delivery.generations import generation_from
from tests.databases import counted
from tests.services.delivery.surroundings import refused
from tests.services.delivery.test_delivery_queries import INTERVAL, PLAN, Delivery, baseline, delivery, ramp_started

__all__ = ["delivery"]

STATES = {"e-fight": "fight", "e-gone": "unreachable", "e-paused": "paused", "e-partial": "partial", "e-watched": "observed"}


def many(delivery: Delivery) -> None:
    """`delay` in sync on its server; five others on a second one, each in a state of its own."""
    ramp_started(delivery)
    delivery.server("second")
    for name, state in STATES.items():
        delivery.endpoint(name, environment="dev", server="second", served_name=None, model="Other_model")
        managed = state != "observed"
        delivery.change(name, state=state, mode="managed" if managed else "observe", state_reason=f"it is {state}")


def ask(delivery: Delivery, question: Callable[..., Any], *args: Any, **options: Any) -> Any:
    with delivery.database.read() as session:
        return question(session, *args, **options)


def timed(delivery: Delivery) -> dict[str, Any]:
    return {"now": delivery.database.now(), "interval": INTERVAL}


def test_the_worst_comes_first_and_pages_go_on_where_the_last_one_ended(delivery: Delivery) -> None:
    many(delivery)
    found, after = [], ""
    for _ in range(4):
        page = ask(delivery, fleet.fleet, Filters(), after=after, limit=2, **timed(delivery))
        found += [one.name for one in page.rows]
        if page.after is None:
            break
        after = page.after
    # What nobody saw lately of `e-partial` says nothing any more: it is stale.
    assert found == ["e-fight", "e-gone", "e-partial", "e-paused", "e-watched", "delay"]


def test_filters_and_counts_agree_and_the_state_asked_for_does_not_change_the_counts(delivery: Delivery) -> None:
    many(delivery)
    wanted = Filters(environment="dev", state="troubled")
    rows = ask(delivery, fleet.fleet, wanted, **timed(delivery)).rows
    assert [one.state for one in rows] == ["fight", "unreachable", "stale"]
    everything = {"fight": 1, "unreachable": 1, "stale": 1, "paused": 1, "observed": 1}
    assert ask(delivery, fleet.counts, wanted, **timed(delivery)) == everything
    assert ask(delivery, fleet.counts, Filters(), **timed(delivery)) == {**everything, "in_sync": 1}

    def names(**asked: str) -> list[str]:
        return [one.name for one in ask(delivery, fleet.fleet, Filters(**asked), **timed(delivery)).rows]

    assert names(text="PAUS") == ["e-paused"]
    assert names(text="her_m") == ["e-fight", "e-gone", "e-partial", "e-paused", "e-watched"], "in a model's name; _ is no mark"
    assert names(text="%") == []
    assert names(server="srv") == ["delay"]
    assert names(mode="observe") == ["e-watched"]
    assert names(model="Other_model", state="fight") == ["e-fight"]
    assert names(router="none such") == []


def test_a_place_that_is_none_is_refused(delivery: Delivery) -> None:
    for after in ("x", "1", "~", "3~", "-1~a", "²~a"):
        refused("bad-page", ask, delivery, fleet.fleet, Filters(), after=after, **timed(delivery))


def test_what_was_seen_last_tells_versions_and_shares_until_it_is_too_old(delivery: Delivery) -> None:
    ramp_started(delivery)
    line = ask(delivery, fleet.fleet, Filters(), **timed(delivery)).rows[0]
    assert [(one.version, one.champion) for one in line.live] == [(1, True), (2, False)]
    assert sum(one.buckets for one in line.live) == 10_000
    delivery.clock.tick(minutes=1)
    assert ask(delivery, fleet.fleet, Filters(), **timed(delivery)).rows[0].live == ()


def test_the_standing_counts_what_runs_as_approved_only_where_nothing_failed_and_somebody_looked(delivery: Delivery) -> None:
    many(delivery)
    found = ask(delivery, fleet.standing, **timed(delivery))
    assert (found.total, found.managed, found.as_approved, found.troubled) == (6, 5, 1, 3)
    delivery.see("delay", 1, 2, proofs="answers!,configured")
    assert ask(delivery, fleet.standing, **timed(delivery)).as_approved == 0, "a proof failed"
    delivery.see("delay", 1, 2, proofs="answers,configured")
    assert ask(delivery, fleet.standing, **timed(delivery)).as_approved == 1
    delivery.clock.tick(minutes=1)
    assert ask(delivery, fleet.standing, **timed(delivery)).as_approved == 0, "nobody looked"


def test_every_moment_of_the_past_tells_what_was_desired_approved_and_seen_then(delivery: Delivery) -> None:
    created = delivery.clock.now
    delivery.clock.tick(minutes=1)
    admitted = ramp_started(delivery)
    delivery.clock.tick(minutes=5)
    delivery.see("delay", 1, 2, foreign=9)
    now = delivery.clock.now

    def at(moment: Any, **filters: str) -> Any:
        rows = ask(delivery, past.fleet_at, moment, Filters(**filters)).rows
        return rows[0] if rows else None

    assert at(created - timedelta(seconds=1)) is None, "it did not exist"
    first = at(created)
    assert (first.state, first.desired, first.seen, first.approved_by) == ("observed", None, None, ())
    before = at(admitted - timedelta(seconds=1))
    assert (before.desired.number, before.policy, before.approved_by) == (1, None, ())
    assert list(before.seen["models"]["flight-delay"]["versions"]) == ["1"]
    during = at(admitted)
    assert (during.desired.number, during.desired.change_id, during.policy) == (2, "chg_7", "production@1")
    assert during.approved_by == ("idn_ben",), "an identity that nobody knows stands for itself"
    assert list(during.seen["models"]["flight-delay"]["versions"]) == ["1"], "not yet what was pushed afterwards"
    later = at(now)
    assert later.state == "out_of_sync"
    assert list(later.seen["models"]["flight-delay"]["versions"]) == ["1", "2", "9"]
    assert at(now, environment="dev") is None


def test_the_past_is_paged_by_name(delivery: Delivery) -> None:
    many(delivery)
    found, after = [], ""
    while True:
        page = ask(delivery, past.fleet_at, delivery.clock.now, Filters(), after=after, limit=4)
        found += [one.name for one in page.rows]
        if page.after is None:
            break
        after = page.after
    assert found == sorted(["delay", *STATES])


def test_a_period_begins_with_the_generation_that_was_in_force_and_ends_with_its_last(delivery: Delivery) -> None:
    admitted = ramp_started(delivery)
    delivery.clock.tick(minutes=1)
    before_last = delivery.clock.now
    delivery.clock.tick(minutes=1)
    delivery.admit("delay", generation_from(PLAN, 1, generation_from(PLAN, 0, baseline())), "ramp", "aut_chg_7")
    row = delivery.row("delay")

    def numbers(start: Any, end: Any) -> list[int]:
        return [one.number for one in ask(delivery, past.spans, [row.id], start, end).get(row.id, ())]

    assert numbers(admitted - timedelta(days=1), delivery.clock.now) == [1, 2, 3]
    assert numbers(admitted, delivery.clock.now) == [2, 3]
    assert numbers(admitted - timedelta(days=1), before_last) == [1, 2]
    assert numbers(admitted - timedelta(days=2), admitted - timedelta(days=1)) == []


def test_moves_are_told_with_their_reasons_in_the_order_of_their_times(delivery: Delivery) -> None:
    start = delivery.clock.now - timedelta(seconds=1)
    ramp_started(delivery)
    delivery.clock.tick(minutes=1)
    delivery.see("delay", 1, 2, foreign=9)
    row = delivery.row("delay")
    found = ask(delivery, past.moves, [row.id], start, delivery.clock.now)
    assert [one.after for one in found][-1] == "out_of_sync"
    assert "no approval names it" in found[-1].reason
    assert [one.at for one in found] == sorted(one.at for one in found)
    latest = ask(delivery, past.latest, limit=2)
    assert latest[0] == ("delay", found[-1])
    assert ask(delivery, past.moves, [row.id], delivery.clock.now, delivery.clock.now) == ()


def test_a_page_of_many_costs_as_many_queries_as_a_page_of_one(delivery: Delivery) -> None:
    ramp_started(delivery)

    def costs() -> list[int]:
        now, found = delivery.clock.now, []
        row = delivery.row("delay")
        questions: list[tuple[Any, ...]] = [
            (fleet.fleet, Filters()), (fleet.standing,), (past.fleet_at, now, Filters()),
            (past.spans, [row.id], now - timedelta(days=1), now), (past.latest,),
        ]  # fmt: skip
        for question, *args in questions:
            options = timed(delivery) if question in (fleet.fleet, fleet.standing) else {}
            with counted(delivery.database) as statements:
                ask(delivery, question, *args, **options)
            found.append(len(statements))
        return found

    alone = costs()
    assert all(alone), "every question asks something"
    delivery.server("second")
    for number in range(12):
        delivery.endpoint(f"e{number:02}", environment="dev", server="second", served_name=None)
        delivery.admit(f"e{number:02}", replace_salt(number), "baseline")
    assert costs() == alone


def replace_salt(number: int) -> Any:
    return baseline().model_copy(update={"salt": f"s{number}"})
