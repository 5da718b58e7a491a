"""What a server lost when it was started anew, told apart from what a hand took away; and what that means for the base."""

from __future__ import annotations

from typing import Any

import pytest

from backend.delivery import restarts
from backend.delivery.base import base_digest, base_from, restored
from backend.delivery.generations import Place
from backend.delivery.rules import Seen, Wanted, judge
from backend.delivery.seen import ModelState, SeenModel, SeenServer, SeenVersion
from tests.rules.test_delivery_rules import MINUTE, NOW, ONE, TWO, desired, route, server, wanted

NAME = "flight-delay"
BOTH: set[Place] = {(NAME, 1), (NAME, 2)}
LIVE = base_from(7, desired(), wanted(), Seen(NOW, server(1, 2), wanted().route))


def holds(fresh: bool = False, **states: ModelState) -> SeenServer:
    """A server that says these states of the versions (`v1="ready"`); without any it names the model alone."""
    versions = {int(name[1:]): SeenVersion(int(name[1:]), state) for name, state in states.items()}
    return SeenServer({NAME: SeenModel(NAME, versions, fresh=fresh)})


def lost(seen: SeenServer, before: dict[str, Any] | None = LIVE) -> set[Place]:
    return set(restarts.lost(desired(), wanted(), seen, before))


def told(seen: SeenServer, before: dict[str, Any] | None = LIVE, have: Any = None) -> dict[str, Any]:
    """The base after a look."""
    found = restarts.lost(desired(), wanted(), seen, before)
    return base_from(7, desired(), wanted(), Seen(NOW, seen, have or wanted().route), found)


def explained(seen: SeenServer, before: dict[str, Any] | None = LIVE, have: Any = None, want: Wanted | None = None) -> bool:
    want = want or wanted()
    verdict = judge(want, Seen(NOW, seen, have or want.route), NOW, stale_after=MINUTE)
    return restarts.explains(verdict, want, seen, restarts.lost(desired(), want, seen, before))


def test_a_server_that_loaded_nothing_since_it_was_started_lost_what_was_live() -> None:
    assert lost(holds(fresh=True)) == BOTH
    assert explained(holds(fresh=True))
    again = told(holds(fresh=True))
    assert (again["arms"], base_digest(again) == base_digest(LIVE)) == ([], False), "told as it was found"
    assert base_digest(restored(again)) == base_digest(LIVE)
    assert restored(LIVE) == LIVE


@pytest.mark.parametrize("gone", [holds(v1="not_loaded", v2="not_loaded"), holds(), SeenServer({}), holds(v1="failed")])
def test_what_a_server_does_not_explain_by_a_restart_was_a_hand(gone: SeenServer) -> None:
    assert lost(gone) == set()
    assert not explained(gone)
    assert base_digest(restored(told(gone))) != base_digest(LIVE)


def test_one_version_taken_away_by_hand_is_no_restart() -> None:
    one = holds(v1="ready", v2="not_loaded")
    assert not explained(one)
    assert base_digest(restored(told(one))) != base_digest(LIVE)


def test_what_is_lost_stays_so_until_it_is_ready_however_its_return_fares() -> None:
    before = told(holds(fresh=True))
    for seen in (holds(v1="failed", v2="failed"), holds(v1="ready", v2="loading"), holds(v1="not_loaded", v2="not_loaded")):
        assert explained(seen, before)
        assert base_digest(restored(told(seen, before))) == base_digest(LIVE)
    back = told(holds(v1="ready", v2="ready"), before)
    assert back == LIVE
    assert lost(holds(v1="ready", v2="not_loaded"), back) == set(), "unloaded by hand after it had come back"


def test_what_a_hand_had_taken_away_before_the_restart_is_not_lost_by_it() -> None:
    unloaded = told(holds(v1="not_loaded", v2="not_loaded"))
    assert lost(holds(fresh=True), unloaded) == set()
    assert not explained(holds(fresh=True), unloaded)
    assert lost(holds(fresh=True), None) == set(), "nobody knows what was live"


@pytest.mark.parametrize(
    ("seen", "have"),
    [
        (SeenServer({NAME: SeenModel(NAME, {9: SeenVersion(9, "ready")})}), None),
        (holds(fresh=True), route(desired(1))),
    ],
)
def test_another_hand_beside_a_restart_is_seen(seen: SeenServer, have: Any) -> None:
    before = told(holds(fresh=True))
    assert not explained(seen, before, have)
    assert base_digest(restored(told(seen, before, have))) != base_digest(LIVE)


def test_other_bytes_or_another_configuration_are_no_restart() -> None:
    bytes_ = SeenServer({NAME: SeenModel(NAME, {1: SeenVersion(1, "ready", package_digest=TWO), 2: SeenVersion(2, "loading")})})
    assert not explained(bytes_)
    config = Wanted(NAME, {NAME: {1: ONE, 2: TWO}}, configs={NAME: "sha256:wanted"}, route=wanted().route)
    other = SeenServer({NAME: SeenModel(NAME, {1: SeenVersion(1, "ready"), 2: SeenVersion(2, "loading")}, "sha256:other")})
    assert not explained(other, want=config)


def test_versions_that_are_only_kept_warm_go_and_come_back_with_the_rest() -> None:
    want = Wanted(NAME, {NAME: {1: ONE, 2: TWO, 3: TWO}}, route=wanted().route)
    assert explained(holds(fresh=True), want=want)
    assert not explained(holds(v1="ready", v2="ready", v3="not_loaded"), want=want), "unloaded by hand"
    before = told(holds(fresh=True))
    assert explained(holds(v1="ready", v2="failed", v3="failed"), before, want=want)
