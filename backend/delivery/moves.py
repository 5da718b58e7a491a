"""Where a server or a router is: one person changes it, except under managed endpoints whose changes need approvals.

There it would lead their traffic to whatever answers at the new place, so that somebody else has to confirm it, as with a
change. Joiners: they take the unit first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from backend.access import queries, requests
from backend.access import rules as access
from backend.access.rows import Identity
from backend.core import work
from backend.core.canonical import digest
from backend.core.credentials import is_reference
from backend.core.errors import Refusal
from backend.core.unit import Unit
from backend.delivery.addresses import origin, origins
from backend.delivery.apart import demand_apart
from backend.delivery.rows import Endpoint, RouterRow, Server
from backend.policy import service as policy

Row = Server | RouterRow


@dataclass(frozen=True)
class Wanted:
    """What an edit makes of a row. `place`: a server's upstream, a router's public URL."""

    settings: Mapping[str, Any]
    place: str
    sealed_credential: str | None
    renewed: bool = False


def make(tx: Unit, row: Row, wanted: Wanted) -> None:
    """Applies an edit, or keeps it as a move that a second person has to confirm. Any older move is replaced.

    Refusal `address-taken` for a place that another row has.
    """
    moves = (dict(wanted.settings), wanted.place) != (row.settings, place_of(row))
    if moves:
        demand_apart(tx, row, wanted.settings, wanted.place)
    row.move = None
    if moves and (served := needing_approval(tx.session, row)):
        row.move = {
            "settings": dict(wanted.settings),
            "place": wanted.place,
            "sealed_credential": wanted.sealed_credential,
            "renewed": wanted.renewed,
            "by": tx.actor.id,
            "by_name": tx.actor.name,
            "interests": sorted(tx.actor.interests),
            "at": tx.now.isoformat(),
            "endpoints": served,
        }
        tx.record(f"{row.__subject__}.ask_move", row, before=told(row), after={**move_told(row), "endpoints": served})
        return
    _apply(tx, row, wanted)


def confirm(tx: Unit, row: Row) -> None:
    """Applies the move that waits, as long as a request does, and whoever asked for it still may.

    Refusal codes: nothing-to-confirm, not-a-person, own-request for who asked for it, expired, stale-request, address-taken.
    """
    move = _waiting(row)
    requests.refuse_program(tx.actor)
    _refuse_outlived(tx, row, move)
    asked = queries.interests_since(tx.session, [move["by"]], datetime.fromisoformat(move["at"]))
    if tx.actor.interests & {*move["interests"], *asked}:
        raise Refusal(
            f"You asked for this move of {row.name}, or whoever owns you or is owned by you did.",
            "Ask another operator or admin to confirm it.",
            code="own-request",
        )
    demand_apart(tx, row, move["settings"], move["place"])
    row.move = None
    wanted = Wanted(move["settings"], move["place"], move["sealed_credential"], renewed=bool(move["renewed"]))
    _apply(tx, row, wanted, asked_by=str(move["by"]))


def expires_at(move: Mapping[str, Any]) -> datetime:
    """Until when a move can be confirmed."""
    return datetime.fromisoformat(move["at"]) + requests.GOOD_FOR


def is_outlived(session: Session, move: Mapping[str, Any], now: datetime) -> bool:
    """Whether nobody can confirm a move any more: it was asked for too long ago, or whoever asked may not do so any more."""
    return now >= expires_at(move) or not _may_still(session, move, now)


def _may_still(session: Session, move: Mapping[str, Any], now: datetime) -> bool:
    asked = session.get_one(Identity, move["by"])
    answers = asked.active and queries.answers_for(session, asked)
    return answers and access.may(queries.grants(session, asked.id), "server.edit", now=now)


def _refuse_outlived(tx: Unit, row: Row, move: Mapping[str, Any]) -> None:
    """Refusal for a move that nobody confirmed in time, or whose asker may not ask any more."""
    if tx.now >= expires_at(move):
        raise Refusal(f"Nobody confirmed this move of {row.name} in time.", "Ask for it again, or drop it.", code="expired")
    if not _may_still(tx.session, move, tx.now):
        raise Refusal(
            f"{move['by_name']}, who asked for this move of {row.name}, may not do so any more.",
            "Drop it; whoever may still edit it asks for it again.",
            code="stale-request",
        )


def drop(tx: Unit, row: Row) -> None:
    """Gives up the move that waits; nothing has changed."""
    _waiting(row)
    before = move_told(row)
    row.move = None
    tx.record(f"{row.__subject__}.drop_move", row, before=before, after=told(row))


def needing_approval(session: Session, row: Row) -> list[str]:
    """Managed endpoints that stand there and whose environment's policy asks for approvals, by name."""
    column = col(Endpoint.server_id if isinstance(row, Server) else Endpoint.router_id)
    query = select(Endpoint.name, Endpoint.environment).where(column == row.id, Endpoint.mode == "managed")
    found = list(session.exec(query.order_by(Endpoint.name)))
    protected = policy.protected(session) if found else frozenset()
    return [name for name, environment in found if environment in protected]


def place_of(row: Row) -> str:
    """A server's upstream, a router's public URL."""
    return row.upstream if isinstance(row, Server) else row.public_url


def told(row: Row, *, renewed: bool = False) -> dict[str, Any]:
    """What the ledger says: where it is and which settings it has (as a digest), whether there is a credential, never more."""
    facts = {
        **row.facts("name", "kind"),
        **_place_told(row, row.settings, place_of(row)),
        "has_credential": row.sealed_credential is not None,
    }
    if is_reference(row.sealed_credential):
        facts["credential_from"] = row.sealed_credential
    return {**facts, "credential_renewed": True} if renewed else facts


def move_told(row: Row) -> dict[str, Any]:
    """The move that waits, in the same words and without its credential."""
    move = _waiting(row)
    return {**row.facts("name", "kind"), **_place_told(row, move["settings"], move["place"]), "asked_by": move["by"]}


def _apply(tx: Unit, row: Row, wanted: Wanted, *, asked_by: str | None = None) -> None:
    before = told(row)
    row.settings, row.sealed_credential = dict(wanted.settings), wanted.sealed_credential
    if isinstance(row, Server):
        row.upstream = wanted.place
        woken = [row.id]
    else:
        row.public_url = wanted.place
        woken = sorted(tx.session.exec(select(Endpoint.server_id).where(Endpoint.router_id == row.id).distinct()))
    after = told(row, renewed=wanted.renewed) | ({"asked_by": asked_by} if asked_by is not None else {})
    tx.record(f"{row.__subject__}.edit", row, before=before, after=after)
    work.wake_many(tx, "server", woken)


def _waiting(row: Row) -> dict[str, Any]:
    if row.move is None:
        raise Refusal(f"No move of {row.name} waits to be confirmed.", "Look at it as it is now.", code="nothing-to-confirm")
    return row.move


def _place_told(row: Row, settings: Mapping[str, Any], place: str) -> dict[str, Any]:
    where = {"upstream": place} if isinstance(row, Server) else {"public_origin": origin(place)}
    return {**where, "origins": origins(settings), "settings_digest": digest(dict(settings))}
