"""The unit of work: nothing governed changes without its ledger row, and everything or nothing is kept."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
import sqlalchemy as sa
from sqlmodel import select, update

from backend import migrate
from backend.access.rows import Identity
from backend.core import ledger
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import NotFound, StaleWrite
from backend.core.joined import Joined
from backend.core.unit import UnrecordedChange, assert_outside_unit


def _add(database: Database, name: str) -> str:
    with database.unit(SYSTEM) as tx:
        row = tx.add(Identity(id=tx.new_id("idn"), name=name, created_at=tx.now))
        tx.record("identity.create", row, after=row.facts("name"))
        return row.id


def _rows(database: Database) -> list[ledger.LedgerRow]:
    with database.read() as session:
        return list(session.exec(select(ledger.LedgerRow).order_by(ledger.LedgerRow.seq)))


def test_migrations_equal_the_models(database: Database) -> None:
    assert migrate.differences(database) == []
    migrate.require_current(database)


def test_a_unit_commits_rows_and_ledger_together(database: Database) -> None:
    _add(database, "ana")
    _add(database, "ben")
    rows = _rows(database)
    assert [row.action for row in rows] == ["identity.create"] * 2
    assert ledger.first_break(rows)[0] is None


def test_a_governed_change_without_a_ledger_row_is_refused(database: Database) -> None:
    identifier = _add(database, "ana")
    with pytest.raises(UnrecordedChange), database.unit(SYSTEM) as tx:
        tx.get(Identity, identifier).display_name = "Ana"
    with pytest.raises(UnrecordedChange), database.unit(SYSTEM) as tx:
        tx.session.delete(tx.get(Identity, identifier))
    with pytest.raises(UnrecordedChange), database.unit(SYSTEM) as tx:
        tx.session.exec(update(Identity).values(display_name="Eve"))
    with database.read() as session:
        assert session.get(Identity, identifier).display_name == ""
    assert len(_rows(database)) == 1


def test_what_is_refused_in_an_attempt_leaves_neither_row_nor_ledger_row(database: Database) -> None:
    with database.unit(SYSTEM) as tx:
        for name, fails in (("ana", False), ("ben", True), ("carla", False)):
            with suppress(NotFound), tx.attempt():
                row = tx.add(Identity(id=tx.new_id("idn"), name=name, created_at=tx.now))
                tx.record("identity.create", row, after=row.facts("name"))
                if fails:
                    raise NotFound("identity", name)
    with database.read() as session:
        assert sorted(session.exec(select(Identity.name))) == ["ana", "carla"]
    assert [row.action for row in _rows(database)] == ["identity.create"] * 2


def test_whole_commands_join_one_unit_for_its_actor_alone(database: Database) -> None:
    with pytest.raises(StaleWrite), database.unit(SYSTEM) as tx:
        joined = Joined(tx, database)
        identifier = _add(joined, "ana")
        with joined.read() as session:
            assert session.get(Identity, identifier) is not None
        with pytest.raises(RuntimeError), joined.unit(Actor("idn_x", "Eve")):
            pass
        raise StaleWrite("identity", "ana")
    assert _rows(database) == []


def test_a_record_about_another_subject_does_not_cover_a_change(database: Database) -> None:
    identifier = _add(database, "ana")
    with pytest.raises(UnrecordedChange), database.unit(SYSTEM) as tx:
        tx.get(Identity, identifier).display_name = "Ana"
        tx.record("identity.rename", ("identity", "idn_other"))


def test_an_exception_keeps_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.unit(SYSTEM) as tx:
        tx.add(Identity(id="idn_x", name="x", created_at=tx.now))
        tx.record("identity.create", ("identity", "idn_x"))
        _ = 1 / 0
    assert _rows(database) == []
    with database.read() as session:
        assert session.get(Identity, "idn_x") is None


def test_the_reader_cannot_write(database: Database) -> None:
    with database.read() as session, pytest.raises(sa.exc.DBAPIError):
        session.add(Identity(id="idn_x", name="x", created_at=database.now()))
        session.flush()


def test_no_unit_waits_or_keeps_others_waiting_for_ever(database: Database) -> None:
    """PostgreSQL ends a unit that is silent for too long; on SQLite whoever waits for the lock gives up in time."""
    asked = ("PRAGMA busy_timeout", 30_000) if database.is_sqlite else ("SHOW idle_in_transaction_session_timeout", "10s")
    with database.unit(SYSTEM) as tx:
        assert tx.session.connection().exec_driver_sql(asked[0]).scalar_one() == asked[1]


def test_units_do_not_nest_and_calls_stay_outside(database: Database) -> None:
    assert_outside_unit("a call")
    with database.unit(SYSTEM):
        with pytest.raises(RuntimeError, match="inside another"), database.unit(SYSTEM):
            pass
        with pytest.raises(RuntimeError, match="a call inside a unit"):
            assert_outside_unit("a call")


def test_times_come_back_aware_and_exact(database: Database) -> None:
    identifier = _add(database, "ana")
    with database.read() as session:
        created = session.get(Identity, identifier).created_at
    assert created == database.now()
    assert created.utcoffset().total_seconds() == 0


@pytest.mark.parametrize("verb", ["UPDATE ledger SET action = 'x'", "DELETE FROM ledger"])
def test_the_database_refuses_to_rewrite_the_ledger(database: Database, verb: str) -> None:
    _add(database, "ana")
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), database.engine.begin() as connection:
        connection.exec_driver_sql(verb)


def test_parallel_units_keep_one_unbroken_chain(real_time_database: Database) -> None:
    def work(number: int) -> None:
        for turn in range(10):
            _add(real_time_database, f"p{number}-{turn}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = _rows(real_time_database)
    assert len(rows) == 80
    assert ledger.first_break(rows)[0] is None


def test_a_stale_revision_is_refused(database: Database) -> None:
    from backend.delivery.rows import Server

    with database.unit(SYSTEM) as tx:
        row = tx.add(
            Server(id="srv_1", name="s", kind="memory", settings={}, upstream="", created_by="idn_system", created_at=tx.now)
        )
        tx.record("server.add", row)
    with database.unit(SYSTEM) as tx:
        row = tx.get(Server, "srv_1", lock=True)
        tx.expect(row, 1)
        tx.record("server.edit", row)
    with pytest.raises(StaleWrite), database.unit(SYSTEM) as tx:
        tx.expect(tx.get(Server, "srv_1", lock=True), 1)
