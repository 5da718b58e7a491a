"""The ledger's keeper finds every way of rewriting history: a row altered, removed, reordered, rewritten, cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import select

from backend.access.rows import Identity
from backend.audit import heads as heads_module
from backend.audit.queries import events
from backend.audit.service import Audit
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.ledger import LedgerRow, link


@pytest.fixture
def audit(database: Database, tmp_path: Path) -> Audit:
    heads_module.create_key(tmp_path / "keys")
    store = heads_module.HeadStore((tmp_path / "heads").as_uri(), tmp_path / "keys")
    for number in range(12):
        with database.unit(SYSTEM) as tx:
            row = tx.add(Identity(id=f"idn_{number:02d}", name=f"p{number}", created_at=tx.now))
            tx.record("identity.create", row, after={"number": number})
    return Audit(database, store)


def _tamper(database: Database, *statements: str) -> None:
    """As somebody who owns the database and drops the append-only guard first."""
    with database.engine.begin() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("DROP TRIGGER ledger_no_UPDATE")
            connection.exec_driver_sql("DROP TRIGGER ledger_no_DELETE")
        else:
            connection.exec_driver_sql("DROP TRIGGER ledger_append_only ON ledger")
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_an_untouched_ledger_is_intact(audit: Audit) -> None:
    audit.export_head()
    found = audit.verify()
    assert (found.rows, found.heads, found.intact) == (12, 1, True)


def test_an_intact_chain_says_what_no_signed_head_vouches_for(audit: Audit, database: Database) -> None:
    assert "No signed head" in audit.verify().warning
    audit.export_head()
    assert audit.verify().warning == ""
    with database.unit(SYSTEM) as tx:
        tx.record("identity.create", tx.add(Identity(id="idn_x", name="x", created_at=tx.now)))
    assert audit.verify().warning.startswith("Rows 13 to 13 came after")


@pytest.mark.parametrize(
    "column", ["actor_id", "action", "subject_id", "after_json", "before_json", "request_id", "actor_kind", "subject_kind"]
)
def test_an_altered_row_is_named(audit: Audit, database: Database, column: str) -> None:
    _tamper(database, f"UPDATE ledger SET {column} = 'forged' WHERE seq = 7")
    found = audit.verify()
    assert found.broken is not None
    assert found.broken.seq == 7
    assert found.rows == 6


def test_an_altered_time_is_named(audit: Audit, database: Database) -> None:
    _tamper(database, "UPDATE ledger SET at = '2020-01-01 00:00:00.000000' WHERE seq = 3")
    assert audit.verify().broken.seq == 3


def test_a_removed_row_is_named(audit: Audit, database: Database) -> None:
    _tamper(database, "DELETE FROM ledger WHERE seq = 5")
    assert audit.verify().broken.seq == 5


def test_a_cut_end_is_found_by_the_head_row(audit: Audit, database: Database) -> None:
    _tamper(database, "DELETE FROM ledger WHERE seq > 10")
    assert audit.verify().broken.seq == 11


def test_a_cut_end_with_a_mended_head_is_found_by_the_signed_head(audit: Audit, database: Database) -> None:
    audit.export_head()
    with database.read() as session:
        kept = session.get(LedgerRow, 10).hash
    _tamper(database, "DELETE FROM ledger WHERE seq > 10", f"UPDATE ledger_head SET seq = 10, hash = '{kept}'")
    assert audit.verify().broken.seq == 11


def test_a_wholly_rewritten_chain_is_found_by_the_signed_head(audit: Audit, database: Database) -> None:
    audit.export_head()
    _tamper(database, *_rewrite_from(database, 9))
    found = audit.verify()
    assert found.broken.seq == 12
    assert "rewritten" in found.broken.reason


def _rewrite_from(database: Database, seq: int) -> list[str]:
    """SQL that alters one row and recomputes every hash after it, as a careful forger would."""
    with database.read() as session:
        rows = [session.get(LedgerRow, number) for number in range(seq, 13)]
    previous, statements = rows[0].previous, []
    for row in rows:
        row.previous, row.action = previous, "forged" if row.seq == seq else row.action
        previous = row.expected_hash()
        statements.append(
            f"UPDATE ledger SET action = '{row.action}', previous = '{row.previous}', hash = '{previous}' WHERE seq = {row.seq}"
        )
    return [*statements, f"UPDATE ledger_head SET hash = '{previous}'"]


def test_an_altered_head_file_is_named(audit: Audit, tmp_path: Path) -> None:
    audit.export_head()
    file = next((tmp_path / "heads").glob("head-*.json"))
    file.write_text(file.read_text().replace('"seq":12', '"seq":11'))
    found = audit.verify()
    assert not found.intact
    assert file.name in found.broken.reason


def test_a_head_is_exported_once_for_each_move(audit: Audit, tmp_path: Path) -> None:
    assert audit.export_head().seq == 12
    assert audit.export_head() is None
    assert len(list((tmp_path / "heads").glob("*.json"))) == 1


def test_events_page_by_key_and_stop_at_a_moment(audit: Audit, database: Database) -> None:
    with database.read() as session:
        first = events(session, limit=5)
        second = events(session, limit=5, before_seq=first[-1].seq)
        one = events(session, subject=("identity", "idn_03"))
    assert [event.seq for event in first + second] == list(range(12, 2, -1))
    assert [event.after for event in one] == [{"number": 3}]


def test_link_refuses_facts_without_a_canonical_form(database: Database) -> None:
    from backend.core.errors import Refusal
    from backend.core.ledger import GENESIS, Entry

    entry = Entry("x.y", "x", "1", None, {"value": float("nan")})
    with pytest.raises(Refusal):
        link(entry, seq=1, at=database.now(), actor_id="a", actor_kind="system", request="", previous=GENESIS)


def test_verification_holds_while_others_append(real_time_database: Database, tmp_path: Path) -> None:
    import threading

    heads_module.create_key(tmp_path / "keys")
    audit = Audit(real_time_database, heads_module.HeadStore((tmp_path / "heads").as_uri(), tmp_path / "keys"))
    stop = threading.Event()

    def append() -> None:
        while not stop.is_set():
            with real_time_database.unit(SYSTEM) as tx:
                tx.record("note.add", ("note", "1"))

    thread = threading.Thread(target=append)
    thread.start()
    try:
        found = [audit.verify() for _ in range(20)]
    finally:
        stop.set()
        thread.join()
    assert all(one.intact for one in found)
    assert found[-1].rows > 0


def test_a_break_is_put_into_the_ledger_once_so_that_it_is_told(audit: Audit, database: Database) -> None:
    assert audit.watch().intact
    _tamper(database, "UPDATE ledger SET actor_id = 'forged' WHERE seq = 7")
    for _ in range(2):
        assert audit.watch().broken.seq == 7
    with database.read() as session:
        (row,) = session.exec(select(LedgerRow).where(LedgerRow.action == "audit.break")).all()
    assert '"seq":7' in row.after_json
