"""What a fleet of Envoys comes to, from what each of them took, and how that is judged. No I/O."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from backend.delivery import rules as delivery
from backend.delivery.desired import EndpointRoute
from backend.delivery.routers.ads_door import Member, Snapshot
from backend.delivery.routers.ads_fleet import counted, merged
from backend.delivery.routers.envoy_render import render
from backend.delivery.routers.port import EnvoyAnswer
from backend.delivery.seen import SeenServer
from tests.routed import make_route

NOW, MINUTE = datetime(2026, 3, 2, tzinfo=UTC), timedelta(minutes=1)
ROUTE = make_route("10.0.0.1:8000", endpoint="ep", generation=1)


def lying(*routes: EndpointRoute) -> Snapshot:
    made = render(routes, 30.0)
    return Snapshot(made.routes, made.clusters)


def member(node: str, routes: int, **fields: Any) -> Member:
    return Member(node, fields.pop("connected", True), fields.pop("seconds", 60.0), routes, **fields)


NEWER, OTHER = replace(ROUTE, generation=2), make_route("10.0.0.1:8000", endpoint="other")


def test_where_all_agree_their_routes_are_told() -> None:
    found = merged([member("a", 2), member("b", 2)], {2: lying(NEWER, OTHER)}, 2, 30.0)
    assert found.routes == {"ep": NEWER, "other": OTHER}
    assert (found.rejected, [one.state for one in found.answers]) == ("", ["taken", "taken"])
    assert delivery.behind(found.answers) == ""


def test_where_they_differ_the_one_behind_is_told_and_who_it_is() -> None:
    late = member("b", 1, refused_number=2, reason="unknown cluster")
    found = merged([member("a", 2), late, member("c", 1)], {1: lying(ROUTE, OTHER), 2: lying(NEWER, OTHER)}, 2, 30.0)
    assert found.routes == {"ep": ROUTE, "other": OTHER}
    assert found.rejected == "1 of 3 Envoys, b: unknown cluster"
    assert delivery.behind(found.answers) == (
        "2 of 3 Envoys without the newest routes: b refused them: unknown cluster; c has not answered yet"
    )


def test_a_route_that_one_has_not_or_has_still_is_told_so() -> None:
    added = merged([member("a", 2), member("b", 1)], {1: lying(OTHER), 2: lying(NEWER, OTHER)}, 2, 30.0)
    assert added.routes == {"other": OTHER}
    removed = merged([member("a", 2), member("b", 1, connected=False)], {1: lying(ROUTE, OTHER), 2: lying(OTHER)}, 2, 30.0)
    assert removed.routes == {"ep": ROUTE, "other": OTHER}
    assert [one.state for one in removed.answers] == ["taken", "gone"]


def test_of_three_that_differ_the_furthest_behind_is_told() -> None:
    middle = replace(ROUTE, generation=2)
    newest = replace(ROUTE, generation=3)
    found = merged(
        [member("a", 3), member("b", 2), member("c", 1)], {1: lying(newest), 2: lying(middle), 3: lying(newest)}, 3, 30.0
    )
    assert found.routes == {"ep": middle}, "the one with the oldest number has the newest content"


def test_one_whose_snapshot_cannot_be_read_has_nothing_that_can_be_told() -> None:
    assert merged([member("a", 2), member("b", 1)], {1: None, 2: lying(NEWER)}, 2, 30.0).routes == {}
    assert merged([member("a", 0)], {}, 0, 30.0).routes == {}


def test_who_just_connected_does_not_count_before_it_takes_traffic() -> None:
    joining, stuck = member("new", 0, seconds=1.0), member("stuck", 0, seconds=9.0)
    refusing, left = member("r", 0, seconds=1.0, refused_number=1), member("l", 1, connected=False, seconds=1.0)
    assert counted([joining, stuck, refusing, left], 5.0) == [stuck, refusing, left]


def test_an_endpoint_is_partial_until_all_agree() -> None:
    wanted = delivery.Wanted("m", {}, route=NEWER)
    now = NOW
    seen = delivery.Seen(now, SeenServer({}), ROUTE, answers=(EnvoyAnswer("a", "taken"), EnvoyAnswer("b", "refused", "why")))
    verdict = delivery.judge(wanted, seen, now, stale_after=MINUTE)
    assert verdict.state == "partial"
    assert verdict.reason == (
        "the router still serves generation 1; 1 of 2 Envoys without the newest routes: b refused them: why"
    )
    assert delivery.judge(wanted, replace(seen, route=NEWER), now, stale_after=MINUTE).state == "in_sync"


def test_an_endpoint_before_which_no_envoy_is_connected_is_partial() -> None:
    seen = delivery.Seen(NOW, SeenServer({}), None, answers=(EnvoyAnswer("", "absent", "snapshot 7 is damaged"),))
    verdict = delivery.judge(delivery.Wanted("m", {}, route=NEWER), seen, NOW, stale_after=MINUTE)
    assert (verdict.state, verdict.reason) == (
        "partial",
        "the router has no route for ep; no Envoy is connected: snapshot 7 is damaged",
    )


def test_a_route_that_leaves_is_no_strangers_while_one_envoy_has_it_still() -> None:
    wanted = delivery.Wanted("m", {})
    seen = delivery.Seen(NOW, SeenServer({}), ROUTE, answers=(EnvoyAnswer("a", "taken"), EnvoyAnswer("b", "waiting")))
    assert delivery.judge(wanted, seen, NOW, stale_after=MINUTE).state == "partial"
    agreed = replace(seen, answers=(EnvoyAnswer("a", "taken"),))
    assert delivery.judge(wanted, agreed, NOW, stale_after=MINUTE).state == "out_of_sync"
