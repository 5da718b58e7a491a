"""Baselines as values: what counts as running, what stands in the way, and what moves the digest that is signed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backend.core.errors import Refusal
from backend.delivery.baselines import (
    Found,
    Kept,
    base_digest,
    baseline,
    check_choice,
    obstacles,
    refuse_other_than_runs,
    unmanaged,
)
from backend.delivery.desired import ArmRoute, EndpointRoute
from backend.delivery.seen import ModelState, SeenModel, SeenServer, SeenVersion

BYTES, CONFIG = "sha256:" + "1" * 64, "sha256:" + "2" * 64
ROUTE = EndpointRoute("e", "m", "h:1", 3, "salt", "x-unit-id", "v1", (ArmRoute("v1", 1, "m", 1, ((0, 10_000),)),))


def model(name: str, states: dict[int, ModelState], *, digest: str | None = BYTES, config: str | None = CONFIG) -> SeenModel:
    return SeenModel(name, {number: SeenVersion(number, state, "", digest) for number, state in states.items()}, config)


def found(*models: SeenModel, route: EndpointRoute | None = None) -> Found:
    return Found("m", "h:1", SeenServer({one.name: one for one in models}), route)


def kept(version: int = 1, **changes: Any) -> Kept:
    return replace(Kept(("m", version), version, BYTES, "sha256:" + "3" * 64, CONFIG), **changes)


def digest(one: Found, revisions: tuple[tuple[str, int], ...] = (("srv", 1),)) -> str:
    return base_digest(one, endpoint="end_1", revisions=revisions)


def test_only_what_is_under_the_own_name_counts_as_running() -> None:
    one = found(
        model("m", {1: "ready", 2: "failed", 3: "not_loaded"}),
        *(model(name, {1: "ready"}) for name in ("m.0123abcd", "m.other", "mm")),
    )
    assert [each.place for each in one.running] == [("m", 1), ("m", 2), ("m.0123abcd", 1)]
    assert one.ready == (("m", 1), ("m.0123abcd", 1))
    assert [each.served_name for each in unmanaged(one.server, ["m"])] == ["m.other", "mm"]
    assert unmanaged(one.server, ["m", "m.other", "mm"]) == ()


@pytest.mark.parametrize("state", ["loading", "unloading", "unknown"])
def test_what_is_on_its_way_is_not_signed_off(state: ModelState) -> None:
    one = found(model("m", {1: "ready", 2: state}))
    assert obstacles(one) == (f"version 2 of m is {state}",)
    with pytest.raises(Refusal) as refused:
        check_choice(one, {("m", 1): 1}, None)
    assert refused.value.code == "not-settled"
    assert obstacles(found(model("m", {1: "ready", 2: "failed"}))) == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"upstream": "elsewhere:1"}, "not to h:1"),
        ({"champion": "v9"}, "no arm of its own"),
        ({"arms": (ArmRoute("v1", 1, "m", 1, ((0, 9_000),)),)}, "100 %"),
        ({"arms": (ArmRoute("v1", 2, "m", 2, ((0, 10_000),)),)}, "not ready"),
        ({"arms": ()}, "no arm of its own"),
    ],
)
def test_a_route_that_says_something_else_than_what_runs_stands_in_the_way(changes: dict[str, Any], says: str) -> None:
    assert obstacles(found(model("m", {1: "ready"}), route=ROUTE)) == ()
    said = obstacles(found(model("m", {1: "ready"}), route=replace(ROUTE, **changes)))
    assert len(said) == 1
    assert says in said[0]


def test_a_route_with_names_that_no_plan_could_have_is_refused() -> None:
    arms = (ArmRoute("Not A Slug", 1, "m", 1, ((0, 10_000),)),)
    with pytest.raises(Refusal) as refused:
        baseline(found(model("m", {1: "ready"}), route=replace(ROUTE, arms=arms)), [kept()], None, salt="s")
    assert refused.value.code == "route-unusable"


def test_the_digest_moves_with_everything_that_is_signed_and_with_nothing_else() -> None:
    plain = found(model("m", {1: "ready"}), route=ROUTE)
    others = {
        "a version more": found(model("m", {1: "ready", 2: "ready"}), route=ROUTE),
        "its state": found(model("m", {1: "failed"}), route=ROUTE),
        "its bytes": found(model("m", {1: "ready"}, digest="sha256:" + "9" * 64), route=ROUTE),
        "its configuration": found(model("m", {1: "ready"}, config=None), route=ROUTE),
        "its traffic": found(model("m", {1: "ready"}), route=replace(ROUTE, champion="v2")),
        "no traffic": found(model("m", {1: "ready"})),
    }
    digests = {
        digest(plain),
        digest(plain, (("srv", 2),)),
        digest(plain, (("srv", 1), ("rtr", 1))),
        *map(digest, others.values()),
    }
    assert len(digests) == 3 + len(others)
    assert digest(found(model("m", {1: "ready"}), model("theirs", {5: "ready"}), route=ROUTE)) == digest(plain)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"package_digest": "sha256:" + "9" * 64}, "other bytes"), ({"interface_digest": "sha256:" + "9" * 64}, "configuration")],
)
def test_a_baseline_that_would_make_the_reconciler_push_is_refused(changes: dict[str, str], says: str) -> None:
    one = found(model("m", {1: "ready"}))
    for copies, expected in (([kept()], ""), ([kept(**changes)], says)):
        desired = baseline(one, copies, None, salt="s")
        if not expected:
            refuse_other_than_runs(one, desired, copies)
            continue
        with pytest.raises(Refusal) as refused:
            refuse_other_than_runs(one, desired, copies)
        assert (refused.value.code, expected in refused.value.message) == ("not-what-runs", True)


def test_a_version_that_came_while_others_were_copied_is_refused() -> None:
    copies = [kept()]
    desired = baseline(found(model("m", {1: "ready"})), copies, None, salt="s")
    with pytest.raises(Refusal) as refused:
        refuse_other_than_runs(found(model("m", {1: "ready", 2: "ready"})), desired, copies)
    assert "no approval names it" in refused.value.message


def test_storage_that_cannot_be_hashed_is_taken_at_its_word() -> None:
    one = found(model("m", {1: "ready"}, digest=None, config=None))
    refuse_other_than_runs(one, baseline(one, [kept()], None, salt="s"), [kept()])
