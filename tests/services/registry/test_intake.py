"""Taking a version in goes on by itself, tells how far it is, says what was kept where it fails, and can be tried again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.core.database import Database
from backend.core.errors import Refusal
from backend.registry import intakes, queries
from backend.registry.intake import Intake
from backend.registry.intakes import IntakeView
from backend.registry.memory import Fault
from backend.registry.rows import IntakeRow
from backend.registry.service import Versions
from tests.databases import Clock
from tests.services.registry.worlds import FILES, World, archive


@pytest.fixture
def world(database: Database) -> World:
    world = World(database)
    world.log("delay")
    world.mirror.mirror_all()
    return world


@pytest.fixture
def intake(world: World, tmp_path: Path) -> Iterator[Intake]:
    made = Intake(world.database, world.versions, tmp_path / "uploads", most=2)
    yield made
    for one in list_of(world):
        made.wait(one.id)


def list_of(world: World) -> tuple[IntakeView, ...]:
    with world.database.read() as session:
        return intakes.latest(session, now=world.database.now(session))


def packed(tmp_path: Path, files: dict[str, bytes] | None = None) -> io.BytesIO:
    return io.BytesIO(archive(tmp_path / "model.zip", files or dict(FILES)).read_bytes())


def test_a_version_is_registered_without_anybody_waiting(world: World, intake: Intake) -> None:
    ana = world.act_as("ana")
    done = intake.wait(intake.register(ana, "delay", 1))
    assert (done.state, done.fraction, done.started_by_name) == ("done", 1.0, "Ana (data scientist)")
    assert done.finished_at is not None
    with world.database.read() as session:
        assert queries.registered(session, "delay", 1).registered_by == ana.id


def test_an_upload_becomes_a_version_and_its_file_is_removed(world: World, intake: Intake, tmp_path: Path) -> None:
    done = intake.wait(intake.upload(world.act_as("ana"), "fresh", packed(tmp_path), "model.zip", description="New"))
    assert (done.state, done.number, done.file) == ("done", 1, "model.zip")
    with world.database.read() as session:
        assert queries.registered(session, "fresh", 1).author_identity_id == world.act_as("ana").id
    assert list((tmp_path / "uploads").iterdir()) == []


def test_while_it_runs_it_tells_how_far_it_is_and_is_started_once(world: World, intake: Intake) -> None:
    world.memory.script(Fault("download", seconds=1.5))
    ana = world.act_as("ana")
    first = intake.register(ana, "delay", 1)
    assert intake.register(ana, "delay", 1) == first, "a double click"
    (running,) = list_of(world)
    assert running.state == "running"
    assert intake.wait(first).state == "done"
    assert intake.wait(intake.register(ana, "delay", 1)).id != first, "once it is over, another may follow"


def test_what_is_refused_says_so_and_keeps_nothing(world: World, intake: Intake, tmp_path: Path) -> None:
    refused = intake.wait(intake.upload(world.act_as("ana"), "delay", packed(tmp_path, {"../x": b"x"}), "slip.zip"))
    assert (refused.state, refused.may_be_tried_again) == ("refused", False)
    assert "would leave its folder" in refused.message
    assert refused.kept == "Nothing reached MLflow, and the archive was removed."
    assert list((tmp_path / "uploads").iterdir()) == []
    with pytest.raises(Refusal, match="need not be tried again"):
        intake.again(world.act_as("ana"), refused.id)


def test_a_registry_that_fails_leaves_the_archive_for_another_try(world: World, intake: Intake, tmp_path: Path) -> None:
    world.memory.script(Fault("log_version", "unreachable"))
    ana = world.act_as("ana")
    failed = intake.wait(intake.upload(ana, "delay", packed(tmp_path), "model.zip"))
    assert (failed.state, failed.number) == ("failed", None)
    assert "cannot be reached" in failed.message
    assert "The archive is kept here for 24 hours" in failed.kept
    assert intake.wait(intake.again(ana, failed.id)).state == "done"


def test_one_that_the_registry_has_is_only_registered_the_next_time(world: World, intake: Intake, tmp_path: Path) -> None:
    world.memory.script(Fault("download", "error"))
    ana = world.act_as("ana")
    failed = intake.wait(intake.upload(ana, "delay", packed(tmp_path), "model.zip"))
    assert (failed.state, failed.number) == ("failed", 2)
    assert failed.kept == "MLflow has version 2; nothing was written about it here."
    again = intake.wait(intake.again(ana, failed.id))
    assert (again.state, again.kind, again.number) == ("done", "registry", 2)
    assert world.memory.calls["log_version"] == 1, "not sent twice"
    with world.database.read() as session:
        assert queries.registered(session, "delay", 2).author_identity_id == ana.id


def test_another_try_of_an_upload_is_one_effect_whoever_tries_and_however_often(
    world: World, intake: Intake, tmp_path: Path
) -> None:
    world.memory.script(Fault("log_version", "unreachable"), Fault("log_version", seconds=1.0))
    ana, olga = world.act_as("ana"), world.act_as("olga")
    failed = intake.wait(intake.upload(ana, "delay", packed(tmp_path), "model.zip", description="Retrained on May"))
    tried = intake.again(olga, failed.id)
    for actor in (olga, ana):
        with pytest.raises(Refusal, match="need not be tried again"):
            intake.again(actor, failed.id)
    assert intake.wait(tried).state == "done"
    with pytest.raises(Refusal, match="need not be tried again"):
        intake.again(ana, failed.id)
    assert world.memory.calls["log_version"] == 2, "once in vain, once for good"
    with world.database.read() as session:
        made = queries.registered(session, "delay", 2)
        old = intakes.one(session, failed.id, now=world.database.now(session))
    assert (made.author_identity_id, made.registered_by, made.description) == (ana.id, olga.id, "Retrained on May")
    assert (old.state, old.may_be_tried_again, old.kept) == ("failed", False, "It was tried again.")
    assert list((tmp_path / "uploads").iterdir()) == []


def test_of_two_who_try_again_at_once_one_is_refused(
    world: World, intake: Intake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.memory.script(Fault("log_version", "unreachable"))
    ana, olga = world.act_as("ana"), world.act_as("olga")
    failed = intake.wait(intake.upload(ana, "delay", packed(tmp_path), "model.zip"))
    came: list[str] = []
    keep = Intake._keep

    def meanwhile(self: Intake, *args: Any) -> Path:
        """Somebody else is faster, after the first one has looked at the row."""
        monkeypatch.setattr(Intake, "_keep", keep)
        came.append(intake.again(olga, failed.id))
        return keep(self, *args)

    monkeypatch.setattr(Intake, "_keep", meanwhile)
    with pytest.raises(Refusal, match="need not be tried again"):
        intake.again(ana, failed.id)
    assert intake.wait(came[0]).state == "done"
    assert world.memory.calls["log_version"] == 2
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_try_that_fails_too_can_be_tried_again_with_all_that_was_said(world: World, intake: Intake, tmp_path: Path) -> None:
    world.memory.script(Fault("log_version", "unreachable", times=2))
    ana, olga = world.act_as("ana"), world.act_as("olga")
    first = intake.wait(intake.upload(ana, "delay", packed(tmp_path), "model.zip", description="Retrained"))
    second = intake.wait(intake.again(olga, first.id))
    assert (second.state, second.may_be_tried_again) == ("failed", True)
    assert intake.wait(intake.again(olga, second.id)).state == "done"
    with world.database.read() as session:
        made = queries.registered(session, "delay", 2)
    assert (made.author_identity_id, made.description) == (ana.id, "Retrained")


def test_one_whose_process_ended_is_shown_as_interrupted(world: World, intake: Intake, clock: Clock) -> None:
    ana = world.act_as("ana")
    with world.database.unit(ana) as tx:
        row = IntakeRow(
            id="int_1", kind="registry", model="delay", number=1, started_by=ana.id, started_at=tx.now, beat_at=tx.now
        )
        tx.add(row)
    assert [one.state for one in list_of(world)] == ["running"]
    clock.tick(seconds=31)
    (one,) = list_of(world)
    assert (one.state, one.kept) == ("interrupted", "MLflow has version 1; nothing was written about it here.")
    assert intake.wait(intake.again(ana, one.id)).state == "done"


def test_whoever_may_not_register_starts_nothing(world: World, intake: Intake, tmp_path: Path) -> None:
    ben = world.act_as("ben")
    for start in (
        lambda: intake.register(ben, "delay", 1),
        lambda: intake.upload(ben, "delay", packed(tmp_path), "model.zip"),
    ):
        with pytest.raises(Refusal, match="may not register"):
            start()
    assert list_of(world) == ()
    assert not (tmp_path / "uploads").exists()


def test_only_so_many_are_taken_in_at_a_time(world: World, intake: Intake) -> None:
    for _ in range(2):
        world.log("delay")
    world.memory.script(Fault("download", seconds=1.0, times=3))
    ana = world.act_as("ana")
    for number in (1, 2):
        intake.register(ana, "delay", number)
    with pytest.raises(Refusal, match="2 versions are being taken in already"):
        intake.register(ana, "delay", 3)


def test_without_a_registry_nothing_is_started(world: World, tmp_path: Path) -> None:
    intake = Intake(world.database, Versions(world.database, None), tmp_path)
    with pytest.raises(Refusal, match="No model registry"):
        intake.register(world.act_as("ana"), "delay", 1)
