"""Keys are replaced while everybody works, and killed at any moment: no secret is lost, and no old key outlives its use."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlmodel import SQLModel, select

from backend import schema
from backend.audit import heads, signing
from backend.audit.heads import HeadStore
from backend.audit.service import Audit
from backend.core import failpoints, sealed
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.outbound import Guard
from backend.core.sealed import Opener, Sealer, create_keys, key_of
from backend.delivery.resealing import KeyLine, SealingKeys
from backend.delivery.routers.names import router_type
from backend.delivery.rows import RouterRow, Server
from backend.delivery.servers import Servers
from backend.equipment.keys import SEALED
from backend.notify.routes import Routes
from backend.notify.rows import Route
from tests.services.delivery.surroundings import SECRET, Surroundings, refused

SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def around(database: Database, tmp_path: Path) -> Surroundings:
    return Surroundings(database, tmp_path)


def keys_of(around: Surroundings) -> SealingKeys:
    return SealingKeys(around.database, around.folder / "keys")


def with_secrets(around: Surroundings, count: int = 3) -> None:
    """Servers, a router, and a move that waits, each with a secret of its own."""
    for number in range(count):
        around.server(f"srv-{number}" if number else "srv", credential=f"{SECRET}-{number}")
    around.behind_router(credential=f"{SECRET}-router")
    with around.database.unit(SYSTEM) as tx:
        row = tx.session.exec(select(Server).where(Server.name == "srv")).one()
        asked = Sealer.from_folder(around.folder / "keys").seal(row.id, f"{SECRET}-move")
        row.move = {"settings": row.settings, "place": row.upstream, "sealed_credential": asked, "by": "idn_x"}
        tx.record("server.ask_move", row)


def lines(around: Surroundings) -> list[KeyLine]:
    with around.database.read() as session:
        return keys_of(around).status(session)


def texts(around: Surroundings) -> dict[tuple[str, str], str]:
    """(row id, where) -> what is sealed there."""
    found: dict[tuple[str, str], str] = {}
    with around.database.read() as session:
        for row in (*session.exec(select(Server)), *session.exec(select(RouterRow))):
            for where, text in (("row", row.sealed_credential), ("move", (row.move or {}).get("sealed_credential"))):
                if text:
                    found[row.id, where] = text
    return found


def opened(around: Surroundings) -> list[str]:
    """Every secret, as a worker that has just been started reads it."""
    opener = Opener.from_folder(around.folder / "keys")
    return sorted(opener.open(row, text) for (row, _), text in texts(around).items())


def test_every_secret_is_sealed_anew_and_the_old_key_is_destroyed(around: Surroundings) -> None:
    with_secrets(around)
    before, secrets, old = texts(around), opened(around), sealed.public_id(around.folder / "keys")
    keys = keys_of(around)
    new = keys.rotate(around.as_("otto"))
    assert opened(around) == secrets, "nothing was sealed anew yet, and everything is read"
    done = keys.tend()
    assert (done.resealed, done.unreadable, done.destroyed) == (4, (), (old,))
    after = texts(around)
    assert {key_of(text) for text in after.values()} == {new}
    assert not set(after.values()) & set(before.values())
    assert opened(around) == secrets
    assert list(sealed.readable_keys(around.folder / "keys")) == [new]
    (private,) = sealed.private_files(around.folder / "keys")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert [(one.id, one.state, one.secrets, one.is_here) for one in lines(around)] == [
        (new, "current", 5, True), (old, "destroyed", 0, False),
    ]  # fmt: skip
    assert keys.tend().resealed == 0
    around.check_ledger()
    actions = {one.action for one in around.events()}
    assert {"sealing_key.rotate", "sealing_key.replace", "server.reseal", "router.reseal", "sealing_key.destroy"} <= actions


def test_a_worker_that_runs_reads_on_through_rotations(around: Surroundings) -> None:
    """Its opener was made before; a key that came later is found, one that was destroyed is let go."""
    with_secrets(around)
    for _ in range(3):
        keys_of(around).rotate(around.as_("otto"))
        keys_of(around).tend()
        for (row, _where), text in texts(around).items():
            assert around.opener.open(row, text).startswith(SECRET)


def killed_at(failpoint: str, run: Callable[[], object]) -> None:
    """Runs it in a process of its own, which is killed as by a power cut at the failpoint."""
    pid = os.fork()
    if pid == 0:
        os.environ["COUNTERSIGN_FAILPOINT"] = failpoint
        try:
            run()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


@SQLITE
@pytest.mark.parametrize("failpoint", [one for one in failpoints.ROTATION if one.startswith("rotate")])
def test_killed_at_any_step_everything_is_still_read_and_the_next_round_goes_on(around: Surroundings, failpoint: str) -> None:
    with_secrets(around)
    otto, secrets = around.as_("otto"), opened(around)
    url = around.database.url.render_as_string(hide_password=False)

    def rotation() -> None:
        keys = SealingKeys(Database(url), around.folder / "keys")
        keys.rotate(otto)
        keys.tend()

    killed_at(failpoint, rotation)
    assert opened(around) == secrets
    around.server("later", credential=f"{SECRET}-later")
    assert opened(around) == sorted([*secrets, f"{SECRET}-later"])
    keys_of(around).tend()
    assert opened(around) == sorted([*secrets, f"{SECRET}-later"])
    keys_of(around).rotate(otto)
    keys_of(around).tend()
    assert opened(around) == sorted([*secrets, f"{SECRET}-later"])
    status = lines(around)
    assert [one.secrets for one in status if one.state == "current"] == [6]
    assert all(one.secrets == 0 for one in status if one.state != "current")
    assert not [one.name for one in (around.folder / "keys").iterdir() if one.name.startswith(".")], "nothing half written"
    around.check_ledger()


def test_a_process_with_the_key_before_seals_until_that_key_is_destroyed_and_is_refused_then(around: Surroundings) -> None:
    with_secrets(around)
    elsewhere = around.folder / "web"
    elsewhere.mkdir()
    shutil.copy(around.folder / "keys" / "sealing.pub", elsewhere)
    web = Servers(around.database, around.guard, Sealer.from_folder(elsewhere), around.connections, router_type)
    keys, olga = keys_of(around), around.as_("olga")
    keys.rotate(around.as_("otto"))
    place = {"kind": "memory", "settings": {"name": "late"}, "upstream": "memory:late"}
    web.register(olga, name="late", credential=f"{SECRET}-late", **place)
    assert f"{SECRET}-late" in opened(around)
    assert keys.tend().destroyed
    assert f"{SECRET}-late" in opened(around)
    place = {"kind": "memory", "settings": {"name": "never"}, "upstream": "memory:never"}
    refused("sealing-key", web.register, olga, name="never", credential=SECRET, **place)
    with around.database.read() as session:
        assert session.exec(select(Server).where(Server.name == "never")).one_or_none() is None


@pytest.mark.parametrize("rounds", [6])
def test_no_secret_is_lost_while_people_enter_them_and_two_workers_tend_the_keys(
    real_time_database: Database, tmp_path: Path, rounds: int
) -> None:
    around = Surroundings(real_time_database, tmp_path)
    otto, done, failed = around.as_("otto"), threading.Event(), list[BaseException]()

    def until_done(step: Callable[[], object]) -> Iterator[threading.Thread]:
        def run() -> None:
            try:
                while not done.wait(0.01):  # SQLite has one writer, and its lock is not given in turn
                    step()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        yield thread

    count = iter(range(10_000))

    def enter() -> None:
        number = next(count)
        around.server(f"srv-{number}", credential=f"{SECRET}-{number:05d}")

    threads = [one for step in (enter, keys_of(around).tend, keys_of(around).tend) for one in until_done(step)]
    try:
        for _ in range(rounds):
            keys_of(around).rotate(otto)
            keys_of(around).tend()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failed
    entered = next(count)
    assert entered > 1
    assert opened(around) == [f"{SECRET}-{number:05d}" for number in range(entered)]
    keys_of(around).tend()
    assert len([one for one in lines(around) if one.state != "destroyed"]) == 1


@SQLITE
def test_what_cannot_be_opened_is_told_and_its_key_is_kept(around: Surroundings) -> None:
    with_secrets(around)
    other = around.folder / "other"
    create_keys(other)
    with around.database.unit(SYSTEM) as tx:
        row = tx.session.exec(select(Server).where(Server.name == "srv-1")).one()
        row.sealed_credential = Sealer.from_folder(other).seal(row.id, "lost")
        tx.record("server.edit", row)
        lost = row.id
    keys = keys_of(around)
    keys.rotate(around.as_("otto"))
    done = keys.tend()
    assert (done.resealed, done.unreadable) == (3, (("server", lost),))
    strangers = [one for one in lines(around) if one.state == "unknown"]
    assert [(one.secrets, one.is_here) for one in strangers] == [(1, False)]


@SQLITE
def test_what_was_sealed_before_keys_had_names_is_read_and_sealed_anew(around: Surroundings) -> None:
    row = around.server(credential=SECRET)
    with around.database.unit(SYSTEM) as tx:
        found = tx.get(Server, row.id, lock=True)
        found.sealed_credential = str(found.sealed_credential).partition(".")[2]
        tx.record("server.edit", found)
    assert opened(around) == [SECRET]
    keys = keys_of(around)
    keys.rotate(around.as_("otto"))
    assert opened(around) == [SECRET]
    assert keys.tend().destroyed
    assert opened(around) == [SECRET]


@SQLITE
def test_where_the_private_keys_are_not_nothing_is_rotated_or_touched(around: Surroundings) -> None:
    with_secrets(around)
    before = texts(around)
    (around.folder / "keys" / "sealing.key").rename(around.folder / "away")
    refused("sealing-key", keys_of(around).rotate, around.as_("otto"))
    assert keys_of(around).tend().resealed == 0
    assert texts(around) == before


def test_what_routes_of_messages_keep_is_sealed_anew_and_what_was_forgotten_stays_so(around: Surroundings) -> None:
    """An address, a webhook's secret and the one before it; of a route that was removed nothing is left to be read."""
    folder, otto = around.folder / "keys", around.as_("otto")
    routes = Routes(around.database, Guard(["127.0.0.0/8"]), lambda: Sealer.from_folder(folder))
    address = "http://127.0.0.1:9/hook"
    first = routes.add(otto, "room", address, everybody=True)
    second = routes.rotate(otto, first.id)
    removed = routes.add(otto, "gone", address, everybody=True).id
    routes.remove(otto, removed)
    keys = SealingKeys(around.database, folder, SEALED)
    old, new = sealed.public_id(folder), keys.rotate(otto)
    done = keys.tend()
    assert (done.resealed, done.unreadable, done.destroyed) == (1, (), (old,))
    opener = Opener.from_folder(folder)
    with around.database.read() as session:
        row = session.exec(select(Route).where(Route.id == first.id)).one()
        kept = [row.sealed_address, str(row.sealed_secret), str(row.sealed_previous)]
        gone = session.exec(select(Route).where(Route.id == removed)).one()
        assert (gone.sealed_address, gone.sealed_secret, gone.sealed_previous) == ("", None, None)
    assert [opener.open(first.id, one) for one in kept] == [address, second.secret, first.secret]
    assert {key_of(one) for one in kept} == {new}
    around.check_ledger()


def test_every_column_that_holds_something_sealed_is_renewed_by_some_place() -> None:
    """Whoever adds a further one has to say in `SEALED` how it is sealed anew: else a rotation loses it."""
    metadata = SQLModel.metadata
    assert schema.notify is not None, "every table of every room is known"
    columns = {
        (table.name, column.name) for table in metadata.tables.values() for column in table.columns if "sealed" in column.name
    }
    assert len(columns) >= 5
    renewed = set()
    for place in SEALED:
        table = metadata.tables[str(place.table.__tablename__)]
        held = {column.name: f"{column.name}-of-before" for column in table.columns if "sealed" in column.name}
        row = place.table(id="x", **held)
        assert sorted(place.texts(row)) == sorted(held.values()), table.name
        place.renew(row, lambda text: text.replace("before", "now"))
        renewed |= {(table.name, name) for name in held if getattr(row, name) == f"{name}-of-now"}
    assert renewed == columns


@SQLITE
def test_only_an_admin_rotates(around: Surroundings) -> None:
    for name in ("ana", "ben", "olga", "audra"):
        refused("not-allowed", keys_of(around).rotate, around.as_(name))


def test_making_keys_again_makes_none_and_mends_what_a_crash_left(tmp_path: Path) -> None:
    create_keys(tmp_path)
    first = sealed.public_id(tmp_path)
    (tmp_path / "sealing.pub").unlink()
    create_keys(tmp_path)
    assert sealed.public_id(tmp_path) == first, "the public half is that of the private one that was there"
    name = sealed.add_private(tmp_path)
    sealed.publish_id(tmp_path, name)
    (tmp_path / "sealing.key").unlink()
    create_keys(tmp_path)
    assert (sealed.public_id(tmp_path), list(sealed.readable_keys(tmp_path))) == (name, [name])


# The key that signs the ledger's heads


@pytest.fixture
def audit(around: Surroundings) -> Audit:
    heads.create_key(around.folder / "keys")
    return Audit(around.database, HeadStore((around.folder / "heads").as_uri(), around.folder / "keys"))


def test_heads_of_the_key_before_stay_good_and_the_next_one_signs(around: Surroundings, audit: Audit) -> None:
    audit.export_head()
    keys = around.folder / "keys"
    anchor = (keys / "ledger.pub").read_bytes()
    for _ in range(2):
        said = audit.rotate_key(around.as_("otto"))
        audit.export_head()
        assert signing.present_id(keys) == said.next_id
    found = audit.verify()
    assert (found.intact, found.heads, found.warning) == (True, 3, "")
    assert (keys / "ledger.pub").read_bytes() == anchor
    assert [one.name for one in keys.glob("ledger*.key")] == [f"ledger-{said.next_id}.key"], "older private halves are gone"
    heads.create_key(keys)
    assert audit.verify().intact
    row = around.events("ledger_key.rotate")[0]
    assert row.after["key"] == said.next_id
    refused("not-allowed", audit.rotate_key, around.as_("audra"))


@SQLITE
def test_a_retired_key_vouches_for_nothing_that_came_after_it(around: Surroundings, audit: Audit) -> None:
    """Somebody stole it, and signs the head of a later row after he took away those of the key in force."""
    keys, stolen = around.folder / "keys", around.folder / "stolen"
    audit.export_head()
    shutil.copytree(keys, stolen)
    audit.rotate_key(around.as_("otto"))
    thief = Audit(around.database, HeadStore((around.folder / "heads").as_uri(), stolen))
    assert thief.export_head() is not None
    found = audit.verify()
    assert found.intact
    assert found.signed_to < found.rows
    assert "came after the newest signed head" in found.warning


@SQLITE
@pytest.mark.parametrize("what", ["last_seq", "key", "signature", "at"])
def test_a_statement_about_keys_that_was_altered_is_named(around: Surroundings, audit: Audit, what: str) -> None:
    audit.rotate_key(around.as_("otto"))
    (file,) = (around.folder / "keys").glob("ledger-succession-*.json")
    text = file.read_text()
    start = text.index(f'"{what}":') + len(what) + 4
    file.write_text(text[:start] + ("1" if text[start] != "1" else "2") + text[start + 1 :])
    found = audit.verify()
    assert not found.intact
    assert found.broken is not None
    assert "altered" in found.broken.reason or "damaged" in found.broken.reason


@SQLITE
def test_killed_between_the_row_and_the_key_the_key_before_signs_on(around: Surroundings, audit: Audit) -> None:
    otto, url = around.as_("otto"), around.database.url.render_as_string(hide_password=False)
    store = HeadStore((around.folder / "heads").as_uri(), around.folder / "keys")
    killed_at("ledger-key-recorded", lambda: Audit(Database(url), store).rotate_key(otto))
    audit.export_head()
    assert audit.verify().warning == ""
    audit.rotate_key(otto)
    audit.export_head()
    assert (audit.verify().intact, audit.verify().warning) == (True, "")


def test_two_who_rotate_the_ledger_key_at_once_leave_one_chain_of_keys(around: Surroundings, audit: Audit) -> None:
    said = [signing.succeed(around.folder / "keys", 1, around.database.now()) for _ in range(2)]
    signing.enforce(around.folder / "keys", said[0])
    with pytest.raises(Refusal):
        signing.enforce(around.folder / "keys", said[1])
    audit.export_head()
    assert audit.verify().intact
