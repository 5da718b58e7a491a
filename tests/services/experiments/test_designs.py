"""Experiments as people design, plan, start and decide them: rights, states, mutual exclusion, and what is refused."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.ledger import LedgerRow
from backend.delivery.rows import Endpoint
from backend.experiments.designs import queries, service
from backend.experiments.designs.rows import Experiment
from backend.experiments.designs.service import Experiments
from backend.inference_log.service import InferenceLog
from tests.databases import Clock
from tests.designs import DESIGN
from tests.services.changes.world import ENDPOINT, World, refused

OTHER = "flight-delay-staging"


class Designing:
    """The commands over a world with two endpoints."""

    def __init__(self, database: Database, clock: Clock, folder: Path) -> None:
        self.world, self.database, self.clock = World(database), database, clock
        self.experiments = Experiments(database, InferenceLog(folder / "log", clock=clock))
        with database.unit(SYSTEM) as tx:
            first = tx.get(Endpoint, "end_1")
            told = {**first.model_dump(), "id": "end_2", "name": OTHER, "served_name": OTHER}
            tx.record("endpoint.create", tx.add(Endpoint(**told)))

    def create(self, slug: str = "sharper", endpoint: str = ENDPOINT, **told: Any) -> Experiment:
        return self.experiments.create(self.world.ana, endpoint, slug, "Fewer failures", {**DESIGN, **told})

    def started(self, slug: str = "sharper", change: str = "chg_1", endpoint_id: str = "end_1", **told: Any) -> str:
        """In a unit of its own, as a change does; the state afterwards."""
        with self.database.unit(SYSTEM) as tx:
            return service.started(tx, endpoint_id, slug, change, **told).state

    def view(self, slug: str = "sharper", endpoint: str = ENDPOINT) -> queries.ExperimentView:
        with self.database.read() as session:
            return queries.view(session, endpoint, slug, now=self.database.now(session))

    def acts(self) -> list[str]:
        with self.database.read() as session:
            query = select(LedgerRow.action).where(LedgerRow.subject_kind == "experiment").order_by(LedgerRow.seq)  # type: ignore[arg-type]
            return list(session.exec(query))


@pytest.fixture
def given(database: Database, clock: Clock, tmp_path: Path) -> Designing:
    return Designing(database, clock, tmp_path)


only_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_an_experiment_from_its_draft_to_what_came_of_it(given: Designing) -> None:
    ana, ben = given.world.ana, given.world.ben
    given.create()
    draft = given.view()
    assert (draft.line.state, draft.line.running_day, draft.line.owner) == ("draft", 0, "ana")
    assert [(one.version, one.buckets) for one in draft.shares] == [(0, 5_000), (2, 5_000)]
    assert draft.line.looks_for == "errors better by 0.02, with 50 % of units"
    edited = given.experiments.edit(ana, ENDPOINT, "sharper", title=" Fewer   and fewer ", revision=1)
    assert (edited.title, edited.revision) == ("Fewer and fewer", 2)
    assert given.experiments.edit(ana, ENDPOINT, "sharper", title="Fewer and fewer").revision == 2, "nothing new"
    assert given.started(planned={"days": 14.0}) == "running"
    given.clock.tick(hours=30)
    running = given.view()
    assert (running.line.running_day, running.planned, running.changes) == (2, {"days": 14.0}, ("chg_1",))
    assert running.line.started_at is not None
    assert running.ends_on == running.line.started_at + timedelta(days=14)
    assert given.started() == "running", "the same change again changes nothing"
    assert given.started(change="chg_2") == "running", "another split of it"
    given.experiments.decide(ben, ENDPOINT, "sharper", "ship", "It fails less.")
    over = given.view()
    assert (over.line.state, over.line.outcome, over.reason, over.decided_by) == ("decided", "ship", "It fails less.", "ben")
    assert given.acts() == [f"experiment.{one}" for one in ("create", "edit", "start", "split", "decide")]
    json.dumps(over.to_json())


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda g: g.experiments.edit(g.world.ana, ENDPOINT, "sharper", title="x"), "wrong-state"),
        (lambda g: g.experiments.withdraw(g.world.ana, ENDPOINT, "sharper", "x"), "wrong-state"),
        (lambda g: g.experiments.decide(g.world.ben, ENDPOINT, "sharper", "keep_running", "x"), "bad-outcome"),
        (lambda g: g.experiments.decide(g.world.ben, ENDPOINT, "sharper", "ship", " \n"), "no-reason"),
        (lambda g: g.experiments.decide(g.world.otto, ENDPOINT, "sharper", "ship", "x"), "not-allowed"),
        (lambda g: g.experiments.decide(g.world.ben, ENDPOINT, "sharper", "ship", "x", revision=1), "stale-write"),
        (lambda g: g.experiments.create(g.world.ana, ENDPOINT, "sharper", "x", DESIGN), "name-taken"),
        (lambda g: g.experiments.create(g.world.ana, ENDPOINT, "../x", "x", DESIGN), "bad-name"),
        (lambda g: g.experiments.create(g.world.ana, ENDPOINT, "other", "a\x00b", DESIGN), "bad-title"),
        (lambda g: g.experiments.create(g.world.ana, "nothing-there", "other", "x", DESIGN), "not-found"),
        (lambda g: g.experiments.create(g.world.otto, ENDPOINT, "other", "x", DESIGN), "not-allowed"),
        (lambda g: g.experiments.plan(g.world.ben, ENDPOINT, DESIGN), "not-allowed"),
    ],
)
@only_sqlite
def test_what_runs_is_not_changed_and_nothing_is_done_without_the_right(given: Designing, act: Any, code: str) -> None:
    given.create()
    given.started()
    before = given.acts()
    refused(code, lambda: act(given))
    assert given.acts() == before


@only_sqlite
def test_a_withdrawn_draft_never_starts_and_its_name_is_not_used_again(given: Designing) -> None:
    given.create()
    for _ in range(2):
        assert given.experiments.withdraw(given.world.ana, ENDPOINT, "sharper", "No traffic").state == "withdrawn"
    assert given.acts().count("experiment.withdraw") == 1
    refused("wrong-state", given.started)
    refused("name-taken", given.create)


@only_sqlite
def test_one_experiment_runs_on_an_endpoint_and_one_of_a_layer_anywhere(given: Designing) -> None:
    for slug, endpoint, layer in (("a", ENDPOINT, None), ("b", ENDPOINT, None), ("c", OTHER, None), ("d", OTHER, "page")):
        given.create(slug, endpoint, layer=layer)
    given.started("a")
    refused("busy", lambda: given.started("b", "chg_2"))
    assert given.started("c", "chg_3", "end_2") == "running", "other salts make others independent"
    refused("busy", lambda: given.started("d", "chg_4", "end_2"))
    given.experiments.decide(given.world.ben, ENDPOINT, "a", "no_decision", "It showed nothing.")
    given.experiments.decide(given.world.ben, OTHER, "c", "no_decision", "It showed nothing.")
    given.create("e", layer="page")
    given.started("e", "chg_5")
    with pytest.raises(Refusal, match="in the layer page, whose experiments exclude each other") as found:
        given.started("d", "chg_6", "end_2")
    assert not [one for one in (OTHER, ENDPOINT) if one in found.value.message], "the system sees no names"
    assert [one.slug for one in _lines(given, state="running")] == ["e"]
    with given.database.unit(SYSTEM) as tx:
        assert service.ended(tx, "end_1", "e", "roll_back", "A guardrail failed.") is not None
        assert service.ended(tx, "end_1", "e", "roll_back", "Again.") is None
    assert given.started("d", "chg_6", "end_2") == "running"


def test_two_changes_at_the_same_moment_start_one_of_a_layer(given: Designing) -> None:
    given.create("a", layer="page")
    given.create("b", OTHER, layer="page")
    told, gate = list[str](), threading.Barrier(2)

    def start(slug: str, endpoint_id: str) -> None:
        gate.wait()
        try:
            told.append(given.started(slug, f"chg_{slug}", endpoint_id))
        except Refusal as error:
            told.append(error.code)

    threads = [threading.Thread(target=start, args=one) for one in (("a", "end_1"), ("b", "end_2"))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(told) == ["busy", "running"]


def _lines(given: Designing, **narrow: str) -> tuple[queries.ExperimentLine, ...]:
    with given.database.read() as session:
        return queries.lines(session, now=given.database.now(session), **narrow)


@only_sqlite
def test_lists_are_narrowed_and_bounded(given: Designing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_DRAFTS", 2)
    given.create("a")
    given.clock.tick(minutes=1)
    given.create("b")
    refused("too-many", lambda: given.create("c"))
    given.create("c", OTHER)
    assert [one.slug for one in _lines(given, endpoint=ENDPOINT)] == ["b", "a"]
    assert len(_lines(given)) == 3
    assert _lines(given, state="running") == ()


@only_sqlite
def test_without_a_log_a_plan_says_that_nothing_is_known(given: Designing) -> None:
    found = given.experiments.plan(given.world.ana, ENDPOINT, DESIGN)
    assert [one.known for one in found.figures] == [False, False]
    assert all("let the champion be measured first" in one for one in found.blind)
    assert len(found.blind) == 2
    with pytest.raises(Refusal, match="blind to errors") as told:
        found.refuse_blind()
    assert told.value.code == "blind"
    found.refuse_blind(unknown=False)
    refused("not-measured", lambda: given.experiments.plan(given.world.ana, ENDPOINT, {**DESIGN, "looks": "pocock"}))
