"""Commands of audit: export the signed head, verify the whole ledger, put another signing key in force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlmodel import Session, col, select

from backend.access.checks import require
from backend.audit.heads import Head, HeadStore
from backend.audit.signing import InForce, Succession
from backend.core import failpoints
from backend.core.canonical import canonical
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.ledger import GENESIS, Break, LedgerHead, LedgerRow, first_break

_PAGE = 2_000
BREAK = "audit.break"
"""The action under which a break of the chain stands in it."""


@dataclass(frozen=True)
class Verification:
    """What a verification found.

    Attributes:
        rows: rows that hold from the beginning.
        heads: signed heads that agree with the chain.
        signed_to: the last row that a signed head vouches for; of later rows nobody would notice that they were cut off.
        broken: the first bad row and why, or None.
    """

    rows: int
    heads: int
    last_hash: str
    broken: Break | None
    signed_to: int = 0

    @property
    def intact(self) -> bool:
        """Whether the chain holds from its first row to its end, and agrees with every signed head."""
        return self.broken is None

    @property
    def warning(self) -> str:
        """What an intact chain does not show by itself; "" when a signed head vouches for all of it."""
        if not self.intact or self.signed_to >= self.rows:
            return ""
        if not self.signed_to:
            return "No signed head was exported yet, so a chain that was rewritten whole would not show. A worker exports them."
        return f"Rows {self.signed_to + 1} to {self.rows} came after the newest signed head; the next export vouches for them."


class Audit:
    """The ledger's keeper."""

    def __init__(self, database: Database, heads: HeadStore) -> None:
        self._database = database
        self._heads = heads

    def export_head(self) -> Head | None:
        """Signs and exports the present head if it moved; None when there is nothing new."""
        with self._database.read() as session:
            head = session.get(LedgerHead, 1)
        if head is None or head.seq <= self._heads.latest_seq():
            return None
        return self._heads.export(head.seq, head.hash, self._database.now())

    def heads(self) -> list[Head]:
        """Every exported head, the oldest first, signatures checked. Refusal `head-altered`."""
        return self._heads.read()

    def signing_key(self) -> InForce:
        """The key that signs heads now: its name and since when; the caller asked for `sealing_key.list`."""
        return self._heads.signing_key()

    def rotate_key(self, actor: Actor) -> Succession:
        """Lets another key sign from now on; heads that were signed before stay good.

        It is in the ledger before it is in force: killed in between, the key before goes on signing, and it is done again.
        """
        with self._database.unit(actor) as tx:
            require(tx, actor, "ledger_key.rotate")
            head = tx.session.get(LedgerHead, 1)
            before, said = self._heads.key_id(), self._heads.succeed(head.seq if head is not None else 0, tx.now)
            told = {"key": said.next_id, "after_row": said.last_seq, "public": said.key, "signature": said.signature}
            tx.record("ledger_key.rotate", ("ledger_key", said.next_id), before={"key": before}, after=told)
        failpoints.reach("ledger-key-recorded")
        self._heads.enforce(said)
        return said

    def verify(self) -> Verification:
        """Walks the whole chain in one snapshot and compares it with the head row and with every signed head."""
        try:
            heads = self._heads.read()
        except Refusal as altered:
            return Verification(0, 0, GENESIS, Break(0, str(altered)))
        with self._database.read() as session:
            return _verify(session, heads)

    def watch(self) -> Verification:
        """Verifies; a break that is not the one found before is put into the ledger, from where it is told."""
        found = self.verify()
        if found.broken is None:
            return found
        facts = {"seq": found.broken.seq, "reason": found.broken.reason}
        with self._database.unit(SYSTEM) as tx:
            query = select(LedgerRow.after_json).where(LedgerRow.action == BREAK).order_by(col(LedgerRow.seq).desc()).limit(1)
            if tx.session.exec(query).first() != canonical(facts).decode():
                tx.record(BREAK, ("ledger", "chain"), after=facts)
        return found


def _verify(session: Session, heads: list[Head]) -> Verification:
    hashes = {head.seq: head for head in heads}
    seq, last, agreed = 0, GENESIS, 0
    for page in _pages(session):
        broken, seq, last = first_break(page, seq=seq, previous=last)
        if broken is not None:
            return Verification(seq, agreed, last, broken)
        for row in page:
            if (head := hashes.get(row.seq)) is None:
                continue
            if head.hash != row.hash:
                return Verification(row.seq - 1, agreed, row.previous, Break(row.seq, _rewritten(row.seq)))
            agreed += 1
    signed = max((head.seq for head in heads if head.vouches), default=0)
    return Verification(seq, agreed, last, _end_break(session, seq, last, heads), signed)


def _end_break(session: Session, seq: int, last: str, heads: list[Head]) -> Break | None:
    """Rows that were cut off the end: the head row or a signed head knows of more than there is."""
    recorded = session.get(LedgerHead, 1)
    signed = max((head.seq for head in heads), default=0)
    if signed > seq:
        return Break(seq + 1, f"row {seq + 1} is missing; a signed head knows of rows up to {signed}")
    if recorded is not None and (recorded.seq, recorded.hash) != (seq, last):
        return Break(seq + 1, f"row {seq + 1} is missing; the head row knows of rows up to {recorded.seq}")
    return None


def _rewritten(seq: int) -> str:
    return f"row {seq} is not the row that was signed; the chain was rewritten at or before it"


def _pages(session: Session) -> Iterator[list[LedgerRow]]:
    after = 0
    while True:
        page = session.exec(select(LedgerRow).where(col(LedgerRow.seq) > after).order_by(col(LedgerRow.seq)).limit(_PAGE)).all()
        if not page:
            return
        yield list(page)
        after = page[-1].seq
        session.expunge_all()
