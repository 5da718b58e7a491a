"""Registering, uploading and fetching versions, on both databases, with a registry that fails by script."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from backend.core.canonical import digest_bytes, digest_tree, tree_files
from backend.core.database import Database
from backend.core.errors import ExternalFailure, NotFound, Refusal
from backend.core.ledger import LedgerRow, first_break
from backend.registry import queries
from backend.registry.memory import Fault
from backend.registry.port import RunFacts
from backend.registry.rows import MirroredVersion, Upload, Version
from backend.registry.rules import UPLOAD_TAG, Limits
from backend.registry.service import Versions
from tests.services.registry.worlds import FILES, SQLITE, World, archive, rows

RUN = RunFacts(
    metrics={"auc": 0.71},
    params={"depth": "3"},
    datasets=({"name": "flights", "digest": "abc", "source_type": "", "context": "training"},),
    author="ana",
    code_version="1234",
)
DIGEST = digest_tree([(path, len(content), digest_bytes(content)) for path, content in FILES.items()])


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def refused(code: str, *call: Any) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        call[0](*call[1:])
    assert refusal.value.code == code
    return refusal.value


def test_a_registered_version_is_written_down_with_all_that_was_said_of_it(world: World) -> None:
    number = world.log(run=RUN, tags={"team": "delay"}, description="first")
    row = world.versions.register(world.act_as("ana"), "delay", number)
    assert row.artifact_digest == DIGEST
    assert [one[0] for one in row.artifact_files] == sorted(FILES)
    assert (row.metrics, row.params, row.code_version, row.author) == ({"auc": 0.71}, {"depth": "3"}, "1234", "ana")
    assert (row.tags, row.description, row.input_example) == ({"team": "delay"}, "first", "input_example.json")
    assert row.signature is not None
    assert row.signature["inputs"] == [{"name": "hour", "type": "double", "required": True}]
    assert row.dependencies == ["numpy==2.4.6", "onnx==1.23"]
    assert (row.pickled, row.registered_by) == ([], world.act_as("ana").id)
    assert row.author_identity_id is None, "what a run says of its author is a claim"
    (entry,) = world.ledger("version.register")
    assert (entry.subject_id, entry.actor_id) == (row.id, world.act_as("ana").id)
    assert entry.after is not None
    assert (entry.after["model"], entry.after["artifact_digest"]) == ("delay", DIGEST)


def test_the_same_bytes_again_change_nothing(world: World) -> None:
    number = world.log()
    first = world.versions.register(world.act_as("ana"), "delay", number)
    again = world.versions.register(world.act_as("olga"), "delay", number)
    assert (again.id, again.registered_by) == (first.id, world.act_as("ana").id)
    assert len(world.ledger("version.register")) == 1


def test_other_bytes_under_a_registered_number_are_refused_with_both_digests(world: World) -> None:
    number = world.log()
    world.versions.register(world.act_as("ana"), "delay", number)
    world.memory.change_byte("delay", number, "model.onnx")
    refusal = refused("digest-mismatch", world.versions.register, world.act_as("ana"), "delay", number)
    assert refusal.facts["expected"] == DIGEST
    assert refusal.facts["found"] == world.versions.digest_now("delay", number) != DIGEST
    with world.database.read() as session:
        assert queries.registered(session, "delay", number).artifact_digest == DIGEST


@SQLITE
def test_only_who_may_register_here_does_and_nothing_is_downloaded_for_others(world: World) -> None:
    number = world.log()
    for name in ("ben", "audra", "otto"):
        refused("not-allowed", world.versions.register, world.act_as(name), "delay", number)
    assert world.memory.calls["download"] == world.memory.calls["files"] == 0


@SQLITE
def test_who_loses_the_right_meanwhile_registers_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    number = world.log()
    ana, otto = world.act_as("ana"), world.act_as("otto")

    def take_back(fraction: float, words: str) -> None:
        if words == "looking for pickled code" and fraction < 0.81:
            world.identities.take_back(otto, "ana", "contributor")

    with pytest.raises(Refusal):
        world.versions.register(ana, "delay", number, progress=take_back)
    with world.database.read() as session:
        assert rows(session) == []


@SQLITE
def test_a_role_on_one_model_reaches_no_other(world: World) -> None:
    otto = world.act_as("otto")
    world.identities.take_back(otto, "ana", "contributor")
    world.identities.grant(otto, "ana", "contributor", "model:delay")
    world.log("delay")
    world.log("other")
    world.versions.register(world.act_as("ana"), "delay", 1)
    refused("not-found", world.versions.register, world.act_as("ana"), "other", 1)


@SQLITE
def test_a_version_that_is_not_ready_or_not_there_is_refused(world: World) -> None:
    number = world.log()
    world.memory.edit_version("delay", number, status="PENDING_REGISTRATION")
    refused("version-not-ready", world.versions.register, world.act_as("ana"), "delay", number)
    for model, wanted in (("delay", 9), ("absent", 1)):
        with pytest.raises(NotFound):
            world.versions.register(world.act_as("ana"), model, wanted)


@SQLITE
def test_without_a_registry_every_call_says_what_to_set(world: World, tmp_path: Path) -> None:
    lonely = Versions(world.database, None)
    refused("no-registry", lonely.register, world.act_as("ana"), "delay", 1)
    refused("no-registry", lonely.digest_now, "delay", 1)
    refused("no-registry", lonely.fetch, "delay", 1, tmp_path)


@SQLITE
def test_pickled_code_is_flagged_or_refused_and_never_runs(world: World, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return open, (str(tmp_path / "sprung"), "w")

    number = world.log(files={**FILES, "code.bin": pickle.dumps(Trap())})
    strict = Versions(world.database, world.registry, Limits(pickles="refuse"))
    refused("pickled-code", strict.register, world.act_as("ana"), "delay", number)
    row = world.versions.register(world.act_as("ana"), "delay", number)
    assert row.pickled == ["code.bin"]
    (entry,) = world.ledger("version.register")
    assert entry.after is not None
    assert entry.after["pickled"] == 1
    refused("pickled-code", strict.upload, world.act_as("ana"), "delay", archive(tmp_path / "a", {"x": pickle.dumps(Trap())}))
    assert world.memory.calls["log_version"] == 0
    assert not (tmp_path / "sprung").exists()


@SQLITE
def test_artifacts_beyond_the_bounds_and_strange_names_are_refused(world: World) -> None:
    ana = world.act_as("ana")
    cases = {
        "too-large": {"a": bytes(3 << 20), "b": bytes(3 << 20)},
        "too-many-files": {f"f{number}": b"1" for number in range(101)},
        "duplicate-path": {"Model": b"1", "model": b"2"},
        "bad-path": {"../x": b"1"},
        "no-artifact": {},
    }
    for code, files in cases.items():
        refused(code, world.versions.register, ana, "delay", world.log(files=files))
    with world.database.read() as session:
        assert rows(session) == []


@SQLITE
@pytest.mark.parametrize("verb", ["version", "model", "files", "download"])
def test_a_failing_registry_leaves_nothing_half_registered(world: World, verb: Any) -> None:
    number = world.log(run=RUN)
    world.memory.script(Fault(verb, "error"))
    with pytest.raises(ExternalFailure) as failure:
        world.versions.register(world.act_as("ana"), "delay", number)
    assert failure.value.retryable
    with world.database.read() as session:
        assert rows(session) == []
    world.versions.register(world.act_as("ana"), "delay", number)


def test_two_who_register_at_once_make_one_registration(real_time_database: Database) -> None:
    world = World(real_time_database)
    number = world.log()
    found: list[str] = []

    def register(name: str) -> None:
        found.append(world.versions.register(world.act_as(name), "delay", number).id)

    threads = [threading.Thread(target=register, args=(name,)) for name in ("ana", "olga", "ana", "olga")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(world.ledger("version.register")) == 1


@SQLITE
def test_progress_never_goes_back_and_ends(world: World, tmp_path: Path) -> None:
    seen: list[float] = []
    world.versions.upload(
        world.act_as("ana"), "delay", archive(tmp_path / "a"), progress=lambda fraction, words: seen.append(fraction)
    )
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)


# -- uploads


def test_an_upload_becomes_a_version_with_a_verified_author(world: World, tmp_path: Path) -> None:
    ana = world.act_as("ana")
    row = world.versions.upload(ana, "delay", archive(tmp_path / "a"), description="by hand")
    assert (row.number, row.artifact_digest, row.author_identity_id) == (1, DIGEST, ana.id)
    told = world.memory.version("delay", 1)
    assert told.description == "by hand"
    with world.database.read() as session:
        upload = session.exec(select(Upload)).one()
    assert (told.tags[UPLOAD_TAG], upload.identity_id, upload.artifact_digest) == (upload.id, ana.id, DIGEST)
    assert [event.action for event in world.ledger("version.upload")] == ["version.upload"]


def test_a_tag_alone_makes_nobody_the_author(world: World, tmp_path: Path) -> None:
    """Whoever can write tags in the registry can copy one; other bytes, or another model, are not what was handed in."""
    world.versions.upload(world.act_as("ana"), "delay", archive(tmp_path / "a"))
    tag = {UPLOAD_TAG: world.memory.version("delay", 1).tags[UPLOAD_TAG]}
    for model, files in (("delay", {**FILES, "model.onnx": b"\x08other"}), ("other", FILES)):
        number = world.log(model, files, tags=tag)
        assert world.versions.register(world.act_as("olga"), model, number).author_identity_id is None


def test_an_upload_that_was_interrupted_can_be_registered_by_its_number(world: World, tmp_path: Path) -> None:
    """The registry has the version; whoever registers it, the author is who handed it in."""
    world.memory.script(Fault("log_version", "apply_then_timeout"))
    with pytest.raises(ExternalFailure) as failure:
        world.versions.upload(world.act_as("ana"), "delay", archive(tmp_path / "a"))
    assert failure.value.applied_unknown
    row = world.versions.register(world.act_as("olga"), "delay", 1)
    assert (row.author_identity_id, row.registered_by) == (world.act_as("ana").id, world.act_as("olga").id)


@SQLITE
def test_what_the_registry_kept_is_read_back_before_it_is_registered(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = world.memory.log_version

    def damaged(*arguments: Any, **options: Any) -> Any:
        made = logged(*arguments, **options)
        world.memory.change_byte("delay", made.number, "model.onnx")
        return made

    monkeypatch.setattr(world.memory, "log_version", damaged)
    refused("digest-mismatch", world.versions.upload, world.act_as("ana"), "delay", archive(tmp_path / "a"))
    with world.database.read() as session:
        assert rows(session) == []


@SQLITE
def test_a_bad_archive_reaches_neither_the_registry_nor_the_database(world: World, tmp_path: Path) -> None:
    ana = world.act_as("ana")
    refused("bad-path", world.versions.upload, ana, "delay", archive(tmp_path / "a", {"../x": b"1"}))
    refused("bad-name", world.versions.upload, ana, "a/b", archive(tmp_path / "b"))
    refused("not-allowed", world.versions.upload, world.act_as("ben"), "delay", archive(tmp_path / "c"))
    assert world.memory.calls["log_version"] == 0
    with world.database.read() as session:
        assert session.exec(select(Upload)).all() == []


# -- fetching


def test_fetch_puts_the_registered_tree_into_the_folder(world: World, tmp_path: Path) -> None:
    number = world.log()
    world.versions.register(world.act_as("ana"), "delay", number)
    assert world.versions.fetch("delay", number, tmp_path / "new") == DIGEST
    assert digest_tree(tree_files(tmp_path / "new")) == DIGEST


@SQLITE
def test_fetch_gives_nobody_files_that_are_not_the_registered_ones(world: World, tmp_path: Path) -> None:
    number, out = world.log(), tmp_path / "out"
    refused("not-registered", world.versions.fetch, "delay", number, out)
    world.versions.register(world.act_as("ana"), "delay", number)
    world.memory.change_byte("delay", number)
    refused("digest-mismatch", world.versions.fetch, "delay", number, out)
    assert list(out.iterdir()) == []
    world.memory.script(Fault("download"), Fault("download", "unreachable"))
    with pytest.raises(ExternalFailure):
        world.versions.fetch("delay", number, out)
    assert list(out.iterdir()) == []
    (out / "mine").write_text("keep")
    refused("not-empty", world.versions.fetch, "delay", number, out)
    assert (out / "mine").read_text() == "keep"


def test_the_ledger_holds_and_what_was_registered_stays_as_it_was(world: World) -> None:
    number = world.log(run=RUN, description="then")
    row = world.versions.register(world.act_as("ana"), "delay", number)
    world.memory.edit_version("delay", number, description="now")
    world.mirror.mirror_all()
    with world.database.read() as session:
        assert session.get_one(Version, row.id).description == "then"
        assert session.get_one(MirroredVersion, row.id).description == "now"
        page = queries.version(session, "delay", number)
        assert page.changed_since == ("description",)
        assert first_break(session.exec(select(LedgerRow).order_by(LedgerRow.seq)))[0] is None  # type: ignore[arg-type]


def test_runs_that_are_gone_leave_their_part_empty(world: World) -> None:
    number = world.log(run=RUN)
    version = world.memory._models["delay"].versions[number]
    version.run = None
    version.facts = replace(version.facts, run_id="deleted")
    row = world.versions.register(world.act_as("ana"), "delay", number)
    assert (row.metrics, row.author, row.run_id) == ({}, "", "deleted")
