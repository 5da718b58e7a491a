"""Servers and routers stand apart: no two share a place, and none writes where Countersign keeps its own. Joiners, mostly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlmodel import select

from backend.core.errors import Refusal
from backend.core.unit import Unit
from backend.delivery.footprint import Footprint, Parts, footprint, overlap, real_path
from backend.delivery.named import add_named
from backend.delivery.rows import RouterRow, Server

Row = Server | RouterRow
R = TypeVar("R", Server, RouterRow)
_PLACES = 0x706C616365  # "place": the advisory lock on PostgreSQL under which places are taken


def add_apart(tx: Unit, row: R) -> None:
    """Adds a row with a name and places of its own. Refusal `bad-name`, `name-taken` or `address-taken`."""
    _take_turns(tx)
    add_named(tx, row)
    demand_apart(tx, row, row.settings, _place(row))


def demand_apart(tx: Unit, row: Row, settings: Mapping[str, Any], place: str) -> None:
    """Refusal `address-taken`, naming the other, where a row with these settings and this place would stand on another's.

    Until the unit ends nobody else takes a place.
    """
    _take_turns(tx)
    wanted = footprint(row.kind, settings, place)
    for other in (*tx.session.exec(select(Server)), *tx.session.exec(select(RouterRow))):
        if other.subject() == row.subject():
            continue
        shared = _shared(wanted, _of(other), alike=type(other) is type(row))
        if shared is not None:
            raise Refusal(
                f"The {other.__subject__} {other.name} is at the same place already: {shared[:200]}.",
                f"Use {other.name}, or give an address and folders that nothing else has. If {other.name} is no longer "
                "needed, remove it first.",
                code="address-taken",
                other=other.name,
            )


def refuse_reserved(reserved: Iterable[Path], kind: str, settings: Mapping[str, Any], place: str) -> None:
    """Refusal `path-reserved` for a path in, at or around one where Countersign keeps its own: the worker would write there."""
    kept = frozenset(real_path(str(path)) for path in reserved)
    taken = overlap(footprint(kind, settings, place).files, kept)
    if taken is not None:
        raise Refusal(
            f"{_spelled(taken)[:200]} is where Countersign keeps its own files, or contains them.",
            "Give a folder or file of its own, which only this server or router and the worker use.",
            code="path-reserved",
        )


def _take_turns(tx: Unit) -> None:
    """Two who take one place at once would each see it free; SQLite has one writer anyway."""
    if tx.session.get_bind().dialect.name == "postgresql":
        tx.session.connection().execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PLACES})


def _of(row: Row) -> Footprint:
    return footprint(row.kind, row.settings, _place(row))


def _place(row: Row) -> str:
    return row.upstream if isinstance(row, Server) else row.public_url


def _shared(one: Footprint, other: Footprint, *, alike: bool) -> str | None:
    """The place that two share, in words: addresses between two of one sort, files between any two."""
    if (path := overlap(one.files, other.files)) is not None:
        return _spelled(path)
    if not alike:
        return None
    if (address := overlap(one.addresses, other.addresses)) is not None:
        return "/".join(address)
    name = overlap(one.memory, other.memory)
    return f"memory:{name[0]}" if name is not None else None


def _spelled(path: Parts) -> str:
    return "/" + "/".join(path)
