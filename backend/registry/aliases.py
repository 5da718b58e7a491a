"""Aliases that Countersign looks after: wanted by a joiner, written back and read back by the worker, watched ever after.

An alias that somebody moved by hand is recorded before anything is done about it, once for each move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure, NotFound
from backend.core.ledger import LedgerRow
from backend.core.unit import Unit
from backend.core.work import wake
from backend.registry import mirrored, rules
from backend.registry.port import Registry
from backend.registry.rows import Alias, MirroredAlias, Model
from backend.registry.rules import Wish

PutBack = Callable[[Session, str], bool]
"""Whether an alias of this name is put back."""
KIND = "alias"
"""The kind of work item, keyed by model id."""


def want(tx: Unit, model: str, alias: str, number: int | None) -> None:
    """Joins: the alias shall point at this version, or not exist (None)."""
    identifier = _locked_model(tx.session, model)
    row = tx.session.exec(_one(identifier, alias)).one_or_none()
    if row is None:
        row = tx.add(Alias(id=tx.new_id("als"), model_id=identifier, alias=alias))
    elif row.wanted == number and row.wanted_since is not None:
        wake(tx, KIND, identifier)
        return
    before = row.facts("wanted")
    row.wanted, row.wanted_since, row.written_at = number, tx.now, None
    tx.record("alias.want", row, before=before, after={"model": model, "alias": alias, "wanted": number})
    wake(tx, KIND, identifier)


def astray(session: Session) -> list[str]:
    """Ids of models with an alias that the mirror saw elsewhere than where it was last recorded."""
    there = sa.and_(col(MirroredAlias.model_id) == Alias.model_id, col(MirroredAlias.alias) == Alias.alias)
    moved = sa.func.coalesce(MirroredAlias.number, 0) != sa.func.coalesce(Alias.seen, 0)
    settled = (col(Alias.written_at).is_not(None), col(Alias.wanted).is_not(None))
    query = select(Alias.model_id).outerjoin(MirroredAlias, there).where(moved, *settled).distinct()
    return list(session.exec(query))


class Aliases:
    """Brings aliases to where they are wanted.

    Args:
        database: where wishes are kept.
        registry: where aliases are.
        put_back: whether an alias that was moved by hand is put back, or only reported: by name, as policy says now.
    """

    def __init__(self, database: Database, registry: Registry, *, put_back: PutBack) -> None:
        self._database = database
        self._registry = registry
        self._put_back = put_back

    def look(self, model_id: str) -> None:
        """Records what was moved by hand, by a fresh look, and wakes the worker to put it back where that is wished."""
        name, wishes = self._wishes(model_id)
        if wishes:
            self._note(model_id, wishes, self._registry.model(name).aliases, then_wake=True)

    def sync(self, model_id: str, go_on: Callable[[], None]) -> bool:
        """Writes what is pending or was moved, reads it back, records it. Returns whether any is to be watched further.

        Args:
            model_id: whose aliases.
            go_on: called before each call to the registry; raises when this worker must stop.
        """
        name, wishes = self._wishes(model_id)
        if not wishes:
            return False
        go_on()
        there = self._registry.model(name).aliases
        self._note(model_id, wishes, there, then_wake=False)
        for alias, wish in wishes.items():
            if "write" in rules.alias_need(wish, there.get(alias), put_back=self._may_put_back(model_id, alias)):
                go_on()
                self._write(model_id, name, alias, wish, exists=alias in there)
        return any(wish.wanted is not None for wish in wishes.values())

    def _wishes(self, model_id: str) -> tuple[str, Mapping[str, Wish]]:
        with self._database.read() as session:
            rows = session.exec(select(Alias).where(Alias.model_id == model_id).order_by(Alias.alias)).all()
            model = session.get(Model, model_id)
        wishes = {row.alias: wish for row in rows if (wish := _wish(row)) is not None}
        return (model.name if model else ""), wishes

    def _note(self, model_id: str, wishes: Mapping[str, Wish], there: Mapping[str, int], *, then_wake: bool) -> None:
        """Records each move since the last record. A wish that changed meanwhile is left to the next look."""
        back = self._put_back_now(wishes)
        needs = {alias: rules.alias_need(wish, there.get(alias), put_back=back[alias]) for alias, wish in wishes.items()}
        moved = [alias for alias, need in needs.items() if "note" in need]
        if not moved:
            return
        with self._database.unit(SYSTEM) as tx:
            mirrored.put_aliases(tx, model_id, there)
            for alias in moved:
                row = tx.session.exec(_one(model_id, alias)).one()
                if _wish(row) == wishes[alias]:
                    _record_move(tx, row, there.get(alias))
            if then_wake and any(back[alias] for alias in moved):
                wake(tx, KIND, model_id)

    def _put_back_now(self, aliases: Iterable[str]) -> Mapping[str, bool]:
        with self._database.read() as session:
            return {alias: self._put_back(session, alias) for alias in aliases}

    def _write(self, model_id: str, name: str, alias: str, wish: Wish, *, exists: bool) -> None:
        if wish.wanted is not None or exists:
            self._registry.set_alias(name, alias, wish.wanted)
        there = self._registry.model(name).aliases
        if there.get(alias) != wish.wanted:
            raise ExternalFailure("The registry", f"took the alias {alias} of {name} and reads back another", retryable=True)
        with self._database.unit(SYSTEM) as tx:
            mirrored.put_aliases(tx, model_id, there)
            row = tx.session.exec(_one(model_id, alias)).one()
            if (row.wanted, row.wanted_since) != (wish.wanted, wish.since):
                return  # somebody wants something else by now, and woke the worker
            before = row.facts("seen")
            row.seen, row.seen_at, row.written_at = wish.wanted, tx.now, tx.now
            tx.record("alias.write", row, before=before, after=row.facts("alias", "seen"))

    def _may_put_back(self, model_id: str, alias: str) -> bool:
        with self._database.read() as session:
            since = self._database.now(session) - rules.FIGHT_WINDOW
            identifier = session.exec(select(Alias.id).where(Alias.model_id == model_id, Alias.alias == alias)).one()
            return rules.may_put_back(self._put_back(session, alias), _drifts(session, identifier, since))


def _drifts(session: Session, identifier: str, since: datetime) -> int:
    query = select(sa.func.count()).where(
        LedgerRow.subject_kind == Alias.__subject__,
        LedgerRow.subject_id == identifier,
        LedgerRow.action == "alias.drift",
        col(LedgerRow.at) > since,
    )
    return session.exec(query).one()


def _wish(row: Alias) -> Wish | None:
    return Wish(row.wanted, row.wanted_since, row.written_at, row.seen) if row.wanted_since else None


def _record_move(tx: Unit, row: Alias, there: int | None) -> None:
    before = row.facts("seen")
    row.seen, row.seen_at = there, tx.now
    action = "alias.settled" if there == row.wanted else "alias.drift"
    tx.record(action, row, before=before, after=row.facts("alias", "seen", "wanted"))


def _one(model_id: str, alias: str) -> SelectOfScalar[Alias]:
    """One alias, locked on PostgreSQL."""
    return select(Alias).where(Alias.model_id == model_id, Alias.alias == alias).with_for_update()


def _locked_model(session: Session, model: str) -> str:
    """The model's id, locked: two who want its alias for the first time come one after the other."""
    found = session.exec(select(Model.id).where(Model.name == model).with_for_update()).one_or_none()
    if found is None:
        raise NotFound("model", model, "Register one of its versions first.")
    return found
