"""A decision over the API: the word and the change that follows are one act."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.core.database import Database
from backend.experiments.designs.service import Experiments
from backend.inference_log.service import InferenceLog
from tests.api_world import Api
from tests.services.changes.test_experimenting import DESIGN, Planner, _through, planner
from tests.services.changes.world import ENDPOINT, World

__all__ = ["planner"]
AT = f"/endpoints/{ENDPOINT}/experiments/fewer"


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


@pytest.fixture
def asked(world: World, planner: Planner, tmp_path: Path) -> Iterator[Api]:
    experiments = Experiments(world.database, InferenceLog(tmp_path / "log"))
    experiments.create(world.ana, ENDPOINT, "fewer", "Fewer failures", DESIGN)
    found = Api(world, tmp_path, experiments=experiments)
    yield found
    found.close()


def test_a_decision_proposes_what_follows_and_says_which_change(asked: Api, world: World) -> None:
    asked.refused("wrong-state", "POST", f"{AT}/decide", {"outcome": "ship", "reason": "x"}, status=409)
    asked.refused("not-found", "GET", f"{AT}/figures", status=404)
    _through(world, world.changes.begin_experiment(world.ana, ENDPOINT, "fewer", "To know it").number)
    found = asked("GET", f"{AT}/figures")
    assert (found["state"], found["figures"], found["decision"]) == ("running", None, "")
    assert asked("GET", f"{AT}/looks")["items"] == []
    asked.refused("which-version", "POST", f"{AT}/decide", {"outcome": "ship", "reason": "x"}, status=422)
    sent = {"outcome": "ship", "reason": "It fails less.", "version": 2}
    told = asked("POST", f"{AT}/decide", sent)
    assert (told["state"], told["outcome"], told["reason"]) == ("decided", "ship", "It fails less.")
    change = asked("GET", f"/changes/{told['change']}")
    assert (change["line"]["version"], change["line"]["title"]) == (2, "Ship: Fewer failures")


def test_who_may_not_propose_may_not_decide_with_a_change(asked: Api, world: World) -> None:
    _through(world, world.changes.begin_experiment(world.ana, ENDPOINT, "fewer", "To know it").number)
    sent = {"outcome": "roll_back", "reason": "It fails more."}
    asked.refused("not-allowed", "POST", f"{AT}/decide", sent, by="audra", status=403)
    assert asked("GET", AT)["state"] == "running"
