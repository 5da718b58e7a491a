"""The mirror: rows equal what the registry says, nothing is written twice, and nothing is removed that is only not seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure, Refusal
from backend.core.ledger import LedgerRow
from backend.core.work import LeaseLost, WorkItem, wake
from backend.registry import memory, passes, queries
from backend.registry.memory import Fault
from backend.registry.mirror import Mirror
from backend.registry.port import Page, RunFacts
from backend.registry.rows import MirroredAlias, MirroredVersion, MirrorState, Model, Version
from tests.databases import Clock
from tests.services.registry.worlds import SQLITE, World


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def fill(world: World, models: int, versions: int = 2) -> None:
    for number in range(models):
        for _ in range(versions):
            world.memory.add_version(f"m{number:03}", {"a": b"1"}, run=RunFacts(metrics={"auc": 0.5}, author="ana"))


def count(session: Session, table: Any, *conditions: Any) -> int:
    return session.exec(select(sa.func.count()).select_from(table).where(*conditions)).one()


def test_everything_is_there_after_one_pass(world: World) -> None:
    fill(world, 30)
    world.memory.move_alias("m003", "champion", 2)
    done = world.mirror.mirror_all()
    assert (done.models, done.versions, done.changed, done.removed, done.runs_read, done.runs_left) == (30, 60, 90, 0, 60, 0)
    with world.database.read() as session:
        assert (count(session, Model), count(session, MirroredVersion)) == (30, 60)
        page = queries.version(session, "m003", 2)
        assert (page.told.metrics, page.told.author, page.aliases) == ({"auc": 0.5}, "ana", ("champion",))
        assert page.registered is None
        assert queries.freshness(session).models == 30


def test_mirrored_facts_are_not_in_the_ledger(world: World) -> None:
    """100,000 versions that somebody else made are no decisions; see docs/decisions/0004."""
    with world.database.read() as session:
        before = count(session, LedgerRow)
    fill(world, 30)
    world.mirror.mirror_all()
    with world.database.read() as session:
        assert count(session, LedgerRow) == before


def test_a_second_pass_writes_nothing_and_asks_for_no_run_again(world: World, clock: Clock) -> None:
    fill(world, 30)
    world.mirror.mirror_all()
    asked, first = world.memory.calls["run"], clock.now
    clock.tick(minutes=1)
    done = world.mirror.mirror_all()
    assert (done.changed, done.runs_read, world.memory.calls["run"]) == (0, 0, asked)
    with world.database.read() as session:
        assert session.exec(select(MirroredVersion.mirrored_at).distinct()).all() == [first]
        assert session.exec(select(Model.mirrored_at).distinct()).all() == [first]
        assert queries.freshness(session).completed_at == clock.now


def test_only_what_changed_is_written(world: World, clock: Clock) -> None:
    fill(world, 10)
    world.mirror.mirror_all()
    clock.tick(minutes=1)
    world.memory.edit_version("m004", 1, description="edited")
    world.memory.move_alias("m005", "champion", 1)
    world.log("new")
    done = world.mirror.mirror_all()
    assert done.changed == 4, "one version edited, one model with a moved alias, one new model and its version"
    assert done.runs_read == 1, "the edited version's run is read again; the new one has none"
    with world.database.read() as session:
        renewed = session.exec(select(MirroredVersion.description).where(MirroredVersion.mirrored_at == clock.now)).all()
        assert sorted(renewed) == ["", "edited"]
        page = queries.version(session, "m004", 1)
        assert page.told.metrics == {"auc": 0.5}
        assert queries.by_alias(session, "m005", "champion") == 1


def test_versions_and_models_that_are_gone_are_marked_and_come_back(world: World, clock: Clock) -> None:
    fill(world, 5)
    world.memory.move_alias("m001", "champion", 1)
    world.versions.register(world.act_as("ana"), "m001", 1)
    world.mirror.mirror_all()
    kept = dict(world.memory._models)
    clock.tick(minutes=1)
    world.memory.remove_version("m000", 2)
    world.memory.remove_model("m001")
    assert world.mirror.mirror_all().removed == 2
    with world.database.read() as session:
        gone = session.exec(select(Model.name).where(col(Model.removed_at).is_not(None))).all()
        assert gone == ["m001"]
        assert count(session, MirroredVersion) == 10, "nothing is deleted"
        assert count(session, MirroredVersion, col(MirroredVersion.removed_at).is_not(None)) == 3
        assert session.exec(select(MirroredAlias.number)).all() == [None]
        assert session.exec(select(Version.removed_at)).one() == clock.now
    (entry,) = world.ledger("version.removed")
    assert entry.actor_id == SYSTEM.id
    assert world.mirror.mirror_all().removed == 0
    world.memory._models["m001"] = kept["m001"]
    world.mirror.mirror_all()
    with world.database.read() as session:
        assert count(session, MirroredVersion, col(MirroredVersion.removed_at).is_not(None)) == 1
        assert session.exec(select(Version.removed_at)).one() is None
    assert len(world.ledger("version.returned")) == 1


@SQLITE
def test_a_page_that_misses_something_removes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages count from the start: a model made meanwhile pushes another over the edge of a page."""
    fill(world, 6)
    world.mirror.mirror_all()
    models, versions = world.memory.models, world.memory.versions

    def some(ask: Callable[..., Page[Any]], left_out: str) -> Callable[..., Page[Any]]:
        def asked(*arguments: Any) -> Page[Any]:
            page = ask(*arguments)
            return Page(tuple(one for one in page.items if left_out not in str(one)), page.next)

        return asked

    monkeypatch.setattr(world.memory, "models", some(models, "m002"))
    monkeypatch.setattr(world.memory, "versions", some(versions, "m003/1"))
    assert world.mirror.mirror_all().removed == 0
    with world.database.read() as session:
        assert count(session, Model, col(Model.removed_at).is_not(None)) == 0


@SQLITE
def test_a_model_that_only_its_versions_show_is_asked_for_by_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world, 3)
    models = world.memory.models
    monkeypatch.setattr(world.memory, "models", lambda page: Page(models(page).items[1:], None))
    world.mirror.mirror_all()
    with world.database.read() as session:
        assert queries.version(session, "m000", 2).told.number == 2


@SQLITE
@pytest.mark.parametrize("verb", ["models", "versions", "model", "version", "run"])
def test_an_outage_on_the_way_leaves_the_rows_as_they_were(world: World, clock: Clock, verb: Any) -> None:
    fill(world, 4)
    world.mirror.mirror_all()
    world.memory.remove_model("m000")
    world.memory.remove_version("m001", 1)
    world.log("new")
    world.memory.add_version("new", {"a": b"1"}, run=RunFacts())
    world.memory.script(Fault(verb, "unreachable", times=99))
    with pytest.raises(ExternalFailure):
        world.mirror.mirror_all()
    with world.database.read() as session:
        gone = count(session, Model, col(Model.removed_at).is_not(None))
        assert gone == (1 if verb in ("version", "run") else 0), "what was confirmed before is true"
        completed = queries.freshness(session).completed_at
    assert completed == clock.now, "an unfinished pass counts for nothing"


@SQLITE
def test_absences_and_runs_are_asked_for_a_few_at_a_time(world: World) -> None:
    mirror = Mirror(world.database, world.registry, most_runs=7, most_absent=3)
    fill(world, 10)
    done = mirror.mirror_all()
    assert (done.runs_read, done.runs_left) == (7, 13)
    for number in range(10):
        world.memory.remove_model(f"m{number:03}")
    seen = [(done.removed, done.absent_left) for done in (mirror.mirror_all() for _ in range(5))]
    assert seen == [(3, 7), (3, 4), (3, 1), (1, 0), (0, 0)]


@SQLITE
def test_the_newest_versions_runs_are_read_first(world: World, clock: Clock) -> None:
    for number in range(6):
        world.memory.add_version(f"m{number}", {"a": b"1"}, run=RunFacts(params={"n": str(number)}))
        clock.tick(seconds=1)
    Mirror(world.database, world.registry, most_runs=2).mirror_all()
    with world.database.read() as session:
        read = session.exec(select(MirroredVersion.params).where(col(MirroredVersion.run_read_at).is_not(None))).all()
    assert sorted(one["n"] for one in read) == ["4", "5"]


@SQLITE
def test_a_run_that_nobody_understands_does_not_keep_the_others_from_being_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, 3, versions=1)
    run = world.memory.run

    def strange(version: Any) -> Any:
        if version.model == "m001":
            raise ExternalFailure("MLflow", "sent an answer that cannot be understood", retryable=False)
        return run(version)

    monkeypatch.setattr(world.memory, "run", strange)
    assert world.mirror.mirror_all().runs_left == 0
    with world.database.read() as session:
        assert queries.version(session, "m002", 1).told.metrics == {"auc": 0.5}
        assert queries.version(session, "m001", 1).told.metrics == {}


def test_one_model_is_looked_at_alone(world: World) -> None:
    fill(world, 3)
    world.mirror.mirror_all()
    world.memory.edit_version("m001", 2, description="edited")
    world.memory.remove_version("m001", 1)
    world.memory.remove_model("m002")
    done = world.mirror.mirror_model("m001")
    assert (done.versions, done.changed, done.removed) == (1, 1, 1)
    assert world.mirror.mirror_model("m002").removed == 1
    assert world.mirror.mirror_model("never-there").removed == 0
    with world.database.read() as session:
        assert queries.version(session, "m001", 2).told.description == "edited"
        assert session.exec(select(Model.name).where(col(Model.removed_at).is_not(None))).all() == ["m002"]


def test_large_registries_are_paged_and_written_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MODEL_PAGE", 7)
    monkeypatch.setattr(memory, "_VERSION_PAGE", 11)
    monkeypatch.setattr(passes, "_AT_ONCE", 4)
    fill(world, 40, versions=3)
    done = world.mirror.mirror_all()
    assert (done.models, done.versions) == (40, 120)
    with world.database.read() as session:
        assert count(session, MirroredVersion) == 120


def test_between_whole_passes_only_what_changed_lately_is_read(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, 6)
    world.mirror.mirror_all()
    monkeypatch.setattr(memory, "_MODEL_PAGE", 2)
    clock.tick(minutes=1)
    for name in ("m001", "m002", "new"):
        world.memory.add_version(name, {"a": b"1"}, run=RunFacts(metrics={"auc": 0.9}))
    world.memory.calls.clear()
    done = world.mirror.mirror_recent()
    assert (done.models, done.changed, done.runs_read) == (3, 3 + 3, 3)
    assert (world.memory.calls["models"], world.memory.calls["versions"]) == (2, 3)
    world.memory.calls.clear()
    assert world.mirror.mirror_recent().changed == 0
    assert world.memory.calls == {"models": 1}
    with world.database.read() as session:
        assert queries.version(session, "new", 1).told.metrics == {"auc": 0.9}
        assert queries.version(session, "m002", 3).told.number == 3


@SQLITE
def test_a_registry_that_leads_round_in_a_circle_is_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.memory, "models", lambda page: Page((), "again"))
    with pytest.raises(ExternalFailure, match="repeats its pages"):
        world.mirror.mirror_all()


# -- as the worker calls it


@SQLITE
def test_a_call_may_take_longer_than_an_ordinary_lease(world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One page of a large registry takes a minute; the worker that waits for it keeps its claim."""
    world.mirror = Mirror(world.database, world.registry, lease_seconds=1.0)
    models = world.memory.models

    def slow(page: str | None) -> Any:
        clock.tick(seconds=100)
        return models(page)

    monkeypatch.setattr(world.memory, "models", slow)
    world.mirror.start()
    left = handle(world)
    assert left is not None
    assert (left.holder, left.last_error) == (None, None)


def item(world: World, key: str, kind: str = "mirror") -> WorkItem | None:
    with world.database.read() as session:
        return session.get(WorkItem, (kind, key))


def handle(world: World, key: str = "*") -> WorkItem | None:
    claim = world.claim("mirror", key)
    assert claim is not None
    world.mirror.handle_mirror(claim)
    return item(world, key)


def test_the_whole_pass_comes_again_and_one_models_does_not(world: World, clock: Clock) -> None:
    fill(world, 2)
    world.mirror.start()
    left = handle(world)
    assert left is not None
    assert (left.due_at, left.holder, left.failures) == (clock.now + timedelta(seconds=60), None, 0)
    with world.database.unit(SYSTEM) as tx:
        wake(tx, "mirror", "m001")
    assert handle(world, "m001") is None


@SQLITE
def test_a_registry_that_fails_is_left_alone_for_longer_each_time(world: World, clock: Clock) -> None:
    world.mirror.start()
    world.memory.up = False
    waits = []
    for _ in range(3):
        left = handle(world)
        assert left is not None
        waits.append((left.due_at - clock.now).total_seconds())
        assert "cannot be reached" in str(left.last_error)
    assert waits == [5, 10, 20]
    world.memory.up = True
    left = handle(world)
    assert left is not None
    assert (left.failures, left.last_error) == (0, None)


@SQLITE
def test_unread_runs_make_the_next_pass_come_sooner(world: World, clock: Clock) -> None:
    world.mirror = Mirror(world.database, world.registry, most_runs=1)
    fill(world, 2)
    world.mirror.start()
    left = handle(world)
    assert left is not None
    assert left.due_at - clock.now == timedelta(seconds=6)


@SQLITE
def test_where_a_whole_pass_takes_long_most_looks_are_at_the_latest_changes(world: World, clock: Clock) -> None:
    fill(world, 2)
    world.mirror.start()
    handle(world)
    with world.database.unit(SYSTEM) as tx:
        tx.get(MirrorState, "*").seconds = 20.0
    whole = []
    for _ in range(5):
        clock.tick(minutes=1)
        world.memory.calls.clear()
        handle(world)
        whole.append(world.memory.calls["versions"] > 0)
    assert whole == [False, False, False, True, True], "200 s after one that took 20 s; that one took no time"


@SQLITE
def test_without_a_registry_the_item_says_so(world: World) -> None:
    world.mirror = Mirror(world.database, None)
    world.mirror.start()
    left = handle(world)
    assert left is not None
    assert "COUNTERSIGN_MLFLOW_URL" in str(left.last_error)
    with pytest.raises(Refusal):
        world.mirror.mirror_all()


def test_a_worker_that_lost_its_lease_stops_between_two_pages(world: World, clock: Clock) -> None:
    fill(world, 2)
    world.mirror.start()
    claim = world.claim("mirror", "*")
    assert claim is not None
    clock.tick(seconds=31)
    second = world.claim("mirror", "*")
    assert second is not None
    with pytest.raises(LeaseLost):
        world.mirror.handle_mirror(claim)
    assert world.memory.calls["models"] == 0
    held = item(world, "*")
    assert held is not None
    assert held.token == second.token
