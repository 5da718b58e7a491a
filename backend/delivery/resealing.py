"""Another key takes the place of the one that credentials are sealed to, and every credential is sealed anew.

The order is what makes it safe to be killed anywhere in between (`failpoints.ROTATION`): the new private key is a file before
the database names it; the database names it before anything is sealed to it; each credential is sealed anew in a unit of its
own; and an old key is destroyed only once nothing is sealed to it. Whatever is left undone, the next `tend` goes on with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from backend.access.checks import require
from backend.core import failpoints, sealed
from backend.core.columns import Row
from backend.core.context import SYSTEM, Actor
from backend.core.credentials import is_reference
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.sealed import Opener, Sealer, key_of
from backend.core.sealing import SealingKey, exclude, seal
from backend.core.unit import Unit
from backend.delivery.rows import RouterRow, Server

Again = Callable[[str], str]


@dataclass(frozen=True)
class Place:
    """Where sealed texts lie.

    Args:
        table: a governed table with an `id`, for which its texts are sealed.
        texts: the sealed texts of one of its rows.
        renew: puts `again(text)` in the place of each of them.
    """

    table: type[Row]
    texts: Callable[[Any], Sequence[str]]
    renew: Callable[[Any, Again], None]


def _texts(row: Server | RouterRow) -> list[str]:
    waiting = (row.move or {}).get("sealed_credential")
    return [one for one in (row.sealed_credential, waiting) if one and not is_reference(one)]


def _renew(row: Server | RouterRow, again: Again) -> None:
    if row.sealed_credential and not is_reference(row.sealed_credential):
        row.sealed_credential = again(row.sealed_credential)
    waiting = (row.move or {}).get("sealed_credential")
    if row.move and waiting and not is_reference(waiting):
        row.move = {**row.move, "sealed_credential": again(waiting)}


SERVERS_AND_ROUTERS = (Place(Server, _texts, _renew), Place(RouterRow, _texts, _renew))


@dataclass(frozen=True)
class KeyLine:
    """One key as `status` tells it: how many secrets are sealed to it, and whether its private half is on this machine.

    Args:
        used_by: what has a secret that is sealed to it, as `server triton`, by its kind and name.
    """

    id: str
    state: str
    secrets: int
    is_here: bool
    made_at: datetime | None = None
    replaced_at: datetime | None = None
    destroyed_at: datetime | None = None
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tended:
    """What one round did.

    Attributes:
        resealed: rows whose secrets were sealed anew.
        unreadable: (kind, id) of rows with a secret that no key here opens; their key is kept.
        destroyed: keys that nothing was sealed to any more.
    """

    resealed: int = 0
    unreadable: tuple[tuple[str, str], ...] = ()
    destroyed: tuple[str, ...] = field(default=())


class SealingKeys:
    """The keys that secrets are sealed to.

    Args:
        folder: where their files are.
        places: every place where something sealed lies.
    """

    def __init__(self, database: Database, folder: Path, places: Sequence[Place] = SERVERS_AND_ROUTERS) -> None:
        self._database, self._folder, self._places = database, folder, tuple(places)

    def status(self, session: Session) -> list[KeyLine]:
        """Every key, the present one first, with what is sealed to it. The caller asked for `sealing_key.list`."""
        rows = sorted(session.exec(select(SealingKey)), key=lambda one: (one.state != "current", -one.made_at.timestamp()))
        used = self._used(session)
        here, present = sealed.readable_keys(self._folder), sealed.public_id(self._folder)

        def line(name: str, state: str, row: SealingKey | None = None) -> KeyLine:
            by = used.pop(name, [])
            found = KeyLine(name or "unnamed", state, len(by), name in here, used_by=tuple(sorted(set(by))))
            if row is None:
                return found
            return replace(found, made_at=row.made_at, replaced_at=row.replaced_at, destroyed_at=row.destroyed_at)

        lines = [line(one.id, one.state, one) for one in rows]
        if present not in {one.id for one in rows}:
            lines.insert(0, line(present, "current"))
        return lines + [line(name, "unknown") for name in sorted(used)]

    def rotate(self, actor: Actor) -> str:
        """Puts a new key in force; returns its name. What is sealed to older ones is sealed anew by `tend`.

        Refusal codes: not-allowed, sealing-key where this process does not have the private keys.
        """
        with self._database.unit(actor) as tx:
            require(tx, actor, "sealing_key.rotate")
            self._require_keys()
            exclude(tx, shared=False)
            before = _current(tx) or self._recorded(tx)
            name = sealed.add_private(self._folder)
            failpoints.reach("rotate-key")
            row = tx.add(SealingKey(id=name, made_by=actor.id, made_at=tx.now))
            before.state, before.replaced_at = "old", tx.now
            tx.record("sealing_key.rotate", row, before={"key": before.id}, after={"key": name})
            tx.record("sealing_key.replace", before, after={"by": name})
        failpoints.reach("rotate-recorded")
        self._publish()
        failpoints.reach("rotate-published")
        return name

    def tend(self, by: Actor = SYSTEM) -> Tended:
        """Goes on where a rotation stands: seals anew what is sealed to an older key, then destroys what nothing needs.

        For whoever has the private keys; does nothing elsewhere. Safe to call at any time and from several processes.
        """
        if not sealed.readable_keys(self._folder):
            return Tended()
        self._publish()
        resealed, unreadable = 0, list[tuple[str, str]]()
        for place, row_id in self._behind():
            try:
                resealed += self._reseal(by, place, row_id)
            except Refusal as refusal:
                if refusal.code not in ("credential-unreadable", "not-found"):
                    raise
                unreadable += [(str(place.table.__subject__), row_id)] if refusal.code != "not-found" else []
        return Tended(resealed, tuple(unreadable), self._destroy_unneeded(by))

    def _require_keys(self) -> None:
        if not sealed.readable_keys(self._folder) or not os.access(self._folder, os.W_OK):
            raise Refusal(
                "The private sealing keys are not where this runs.",
                "Run it where the worker runs, on its data folder.",
                code="sealing-key",
            )

    def _recorded(self, tx: Unit) -> SealingKey:
        """The row of the key that was there before any was named in the database."""
        row = SealingKey(id=sealed.public_id(self._folder), made_by=SYSTEM.id, made_at=tx.now)
        return tx.add(row)

    def _publish(self) -> None:
        """The public key in force is the one that the database says; also after a crash between the two."""
        with self._database.read() as session:
            current = session.exec(select(SealingKey.id).where(SealingKey.state == "current")).one_or_none()
        if current and current != sealed.public_id(self._folder) and current in sealed.readable_keys(self._folder):
            sealed.publish_id(self._folder, current)

    def _behind(self) -> list[tuple[Place, str]]:
        """Rows with something that is not sealed to the key in force."""
        present = sealed.public_id(self._folder)
        with self._database.read() as session:
            return [
                (place, row.subject()[1])
                for place in self._places
                for row in session.exec(select(place.table))
                if any(key_of(text) != present for text in place.texts(row))
            ]

    def _reseal(self, actor: Actor, place: Place, row_id: str) -> int:
        opener, sealer = Opener.from_folder(self._folder), Sealer.from_folder(self._folder)
        with self._database.unit(actor) as tx:
            row: Any = tx.get(place.table, row_id, lock=True)
            present = sealed.public_id(self._folder)
            before = sorted({key_of(text) for text in place.texts(row)})
            if before in ([], [present]):
                return 0
            place.renew(row, lambda text: seal(tx, sealer, row_id, opener.open(row_id, text)))
            after = sorted({key_of(text) for text in place.texts(row)})
            tx.record(f"{place.table.__subject__}.reseal", row, before={"keys": before}, after={"keys": after})
        failpoints.reach("rotate-resealed")
        return 1

    def _destroy_unneeded(self, actor: Actor) -> tuple[str, ...]:
        """A look first: a key is gone for good, and no round needs the database's write lock for it again."""
        with self._database.read() as session:
            known = dict(session.exec(select(SealingKey.id, SealingKey.state).where(col(SealingKey.state) != "current")).all())
            unneeded = [name for name, state in known.items() if state == "old" and not self._is_needed(session, name)]
        destroyed = tuple(name for name in unneeded if self._destroy(actor, name))
        here = sealed.readable_keys(self._folder)
        for name, state in known.items():
            if name in here and (state == "destroyed" or name in destroyed):
                here[name].unlink(missing_ok=True)
        return destroyed

    def _destroy(self, actor: Actor, name: str) -> bool:
        """Asked once more while nothing can be sealed; from then on nothing is sealed to it."""
        with self._database.unit(actor) as tx:
            exclude(tx, shared=False)
            row = tx.get(SealingKey, name, lock=True)
            if row.state != "old" or self._is_needed(tx.session, name):
                return False
            row.state, row.destroyed_at = "destroyed", tx.now
            tx.record("sealing_key.destroy", row, after={"key": name})
        failpoints.reach("rotate-destroyed")
        return True

    def _is_needed(self, session: Session, name: str) -> bool:
        used = self._used(session)
        return bool(used.get(name) or used.get("")) or sealed.public_id(self._folder) == name

    def _used(self, session: Session) -> dict[str, list[str]]:
        """Key -> what has a secret that is sealed to it, once for each secret."""
        found: dict[str, list[str]] = {}
        for place in self._places:
            for row in session.exec(select(place.table)):
                kind, identifier = row.subject()
                for text in place.texts(row):
                    found.setdefault(key_of(text), []).append(f"{kind} {getattr(row, 'name', identifier)}")
        return found


def _current(tx: Unit) -> SealingKey | None:
    return tx.session.exec(select(SealingKey).where(SealingKey.state == "current").with_for_update()).one_or_none()
