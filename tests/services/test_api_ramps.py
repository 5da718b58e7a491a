"""Over the API: gates of steps, guardrails, a copy of the same age, how the rest is split, and skipping steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.core.database import Database
from tests.api_world import Api
from tests.services.changes.world import ENDPOINT, World

ROLLOUT = f"/endpoints/{ENDPOINT}/rollout"


pytestmark = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


def _proposal(**wishes: Any) -> dict[str, Any]:
    return {"endpoint": ENDPOINT, "version": 3, "title": "Newer", "reason": "It is better", **wishes}


def test_a_proposal_names_guardrails_a_copy_and_the_split_of_the_rest(asked: Api) -> None:
    asked.world.done(2, share=2_500)
    guardrails = [
        {"name": "errors", "kind": "errors", "margin": 0.01, "on_fail": "warn"},
        {"name": "p95", "kind": "latency", "margin": 0.1, "relative": True, "quantile": 0.95, "on_fail": "warn"},
    ]
    wishes = {
        "share_percent": 50,
        "rest": [{"version": 1, "share_percent": 30}, {"version": 2, "share_percent": 20}],
        "ramp": [{"shadow": True, "hold_seconds": 600, "person": True}, {"share_percent": 10, "hold_seconds": 3_600}],
        "guardrails": guardrails,
        "same_age": True,
    }
    made = asked("POST", "/changes", _proposal(**wishes), by="ana", status=201)
    wanted = asked.world.change(made["line"]["number"]).wanted
    assert wanted["rest"] == [{"version": 1, "share": 3_000}, {"version": 2, "share": 2_000}]
    assert [{key: one[key] for key in sent} for one, sent in zip(wanted["guardrails"], guardrails, strict=True)] == guardrails
    assert (wanted["same_age"], [one.get("shadow", False) for one in wanted["ramp"]]) == (True, [True, False])
    assert [step.get("shadow") for step in made["plan"]["ramp"]] == ["v3", None]
    assert {arm["name"] for arm in made["plan"]["arms"]} == {"v1", "v1-same-age", "v2", "v3"}
    number = made["line"]["number"]
    cleared = {"guardrails": [], "same_age": False, "rest": []}
    asked("PATCH", f"/changes/{number}", cleared, by="ana", If_Match=asked.tag(f"/changes/{number}", by="ana"))
    assert not {"guardrails", "same_age", "rest"} & asked.world.change(number).wanted.keys()


@pytest.mark.parametrize(
    ("wishes", "code", "says"),
    [
        ({"guardrails": [{"name": "slow", "kind": "slow", "margin": 0.01}]}, "bad-change", "slow needs above_seconds"),
        ({"guardrails": [{"name": "errors", "kind": "errors", "margin": 0}]}, "bad-change", "greater than 0"),
        ({"same_age": True}, "bad-change", "runs beside a ramp"),
        ({"ramp": [{"hold_seconds": 60}]}, "bad-change", "a step has a share, or is a shadow's"),
        ({"ramp": [{"share_percent": 1, "shadow": True}]}, "bad-change", "a step has a share, or is a shadow's"),
        ({"ramp": [{"share_percent": 1, "min_units": 100}]}, "bad-ramp", "Name a guardrail"),
        ({"rest": [{"version": 2, "share_percent": 50}], "share_percent": 50}, "bad-share", "runs 1"),
        ({"rest": [{"version": 1, "share_percent": 60}], "share_percent": 50}, "bad-change", "do not sum"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_words(asked: Api, wishes: dict[str, Any], code: str, says: str) -> None:
    refused = asked.refused(code, "POST", "/changes", _proposal(**wishes), by="ana", status=422)
    assert says in f"{refused['detail']} {refused['remedy']}"


def test_steps_are_skipped_by_whoever_looked_at_them(asked: Api) -> None:
    world, why = asked.world, "Watched on another endpoint"
    world.policy(may_skip=True)
    world.applied(2, ramp=[{"share": 1_000, "hold_seconds": 3_600}, {"share": 5_000, "person": True}])
    world.prove()
    world.run()
    seen = asked("GET", ROLLOUT)
    assert (seen["may_skip_to"], [one["person"] for one in seen["steps"]]) == (1, [False, True, False])
    looked = {"reason": why, "rollout": seen["id"], "step": 0}
    asked.refused("moved-on", "POST", f"{ROLLOUT}/skip", {**looked, "step": 1}, by="olga", status=409)
    asked.refused("not-allowed", "POST", f"{ROLLOUT}/skip", looked, by="ana", status=403)
    assert asked("POST", f"{ROLLOUT}/skip", looked, by="olga")["step"] == 0, "the worker does it"
    world.run()
    assert (world.rollout().state, world.rollout().step) == ("ramping", 1), world.rollout().reason
    world.prove()
    world.run()
    again = {**looked, "step": 1}
    refused = asked.refused("not-skipped", "POST", f"{ROLLOUT}/skip", again, by="olga", status=409)
    assert "asks for a person itself" in refused["detail"]


def test_no_step_is_skipped_where_the_policy_lets_none(asked: Api) -> None:
    world = asked.world
    world.applied(2, ramp=[{"share": 1_000, "hold_seconds": 3_600}, {"share": 5_000, "person": True}])
    world.prove()
    world.run()
    seen = asked("GET", ROLLOUT)
    looked = {"reason": "In a hurry", "rollout": seen["id"], "step": 0}
    assert seen["may_skip_to"] is None
    refused = asked.refused("not-skipped", "POST", f"{ROLLOUT}/skip", looked, by="olga", status=409)
    assert refused["detail"] == "The policy lets no step be skipped."
