"""Who owns a service: makes its tokens, answers for what it does, and is one interest with it."""

from __future__ import annotations

from sqlmodel import col, select

from backend.access import data_sets, queries, requests, rules
from backend.access.checks import require
from backend.access.last_admin import ROLES
from backend.access.rows import FormerOwner, Identity, Request
from backend.access.service import Protected, named_identity, refuse_owner
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.unit import Unit


class ServiceOwners:
    """Commands on who owns a service.

    Args:
        database: where they are kept.
        protected: environments in which a role needs a second person.
    """

    def __init__(self, database: Database, protected: Protected = lambda _: frozenset()) -> None:
        self._database = database
        self._protected = protected

    def hand_over(self, actor: Actor, name: str, owner: str) -> Identity | Request:
        """Another person owns the service from now on, makes its tokens, and is one interest with it.

        Whoever owns a service acts by its roles, so that this is as if they were given: never to oneself, and a second admin
        has to confirm it where one of them reaches an environment whose changes need approvals. Tokens go on, but for those
        of whoever is deactivated, and where the service holds no role: it has no programs yet that would stop, and one that
        was kept would be good for whatever it is given later. Refusal codes: bad-identity, own-identity.
        """
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            require(tx, actor, "identity.hand_over")
            row, to = named_identity(tx.session, name), named_identity(tx.session, owner)
            _refuse(tx, row, to)
            if row.owner_id == to.id:
                return row
            held = _held(tx, row)
            protected = self._protected(tx.session) if held else frozenset()
            if any(rules.reaches(one.scope, protected) for one in held):
                return requests.ask(tx, "identity.hand_over", _asked(row, to))
            return _hand_over(tx, row, to)

    def confirm(self, actor: Actor, request_id: str, reason: str = "") -> Identity:
        """Hands over what another admin asked for.

        Refusal codes: not-a-person, own-request, own-identity, bad-identity, settled, expired, stale-request.
        """
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            require(tx, actor, "identity.hand_over")
            asked = requests.waiting(tx, request_id, "identity.hand_over")
            row, to = tx.get(Identity, asked.what["identity_id"], lock=True), tx.get(Identity, asked.what["owner_id"])
            _refuse(tx, row, to)
            if row.owner_id != asked.what["from_id"]:
                raise Refusal("The service has another owner by now.", "Ask for it anew.", code="stale-request")
            requests.confirm(tx, asked, "identity.hand_over", reason, whose=to)
            return _hand_over(tx, row, to, request_id=asked.id)

    def refuse(self, actor: Actor, request_id: str, reason: str) -> None:
        """Refuses it, or takes it back."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "identity.hand_over")
            requests.refuse(tx, requests.waiting(tx, request_id, "identity.hand_over"), reason)


def _refuse(tx: Unit, row: Identity, to: Identity) -> None:
    if row.kind != "service":
        raise Refusal(f"{row.name} is no service.", "A person answers for himself; name a service.", code="bad-identity")
    refuse_owner(to)
    if to.id in tx.actor.interests or row.id == tx.actor.id:
        raise Refusal("You cannot hand a service to yourself.", "Ask another admin.", code="own-identity")
    data_sets.refuse_giver(tx, to, whose=row)


def _asked(row: Identity, to: Identity) -> dict[str, str | None]:
    return {"identity_id": row.id, "owner_id": to.id, "from_id": row.owner_id}


def _held(tx: Unit, row: Identity) -> list[rules.Grant]:
    return [one for one in queries.grants(tx.session, row.id) if one.in_force(tx.now)]


def _hand_over(tx: Unit, row: Identity, to: Identity, *, request_id: str | None = None) -> Identity:
    before = row.facts("owner_id")
    ended = _end_tokens(tx, row, to)
    if row.owner_id is not None:
        tx.add(FormerOwner(id=tx.new_id("fow"), identity_id=row.id, owner_id=row.owner_id, until=tx.now))
    row.owner_id = to.id
    asked = {"request_id": request_id} if request_id is not None else {}
    told = {"tokens_ended": ended} if ended else {}
    tx.record("identity.hand_over", row, before=before, after={**row.facts("owner_id"), **told, **asked})
    return row


def _end_tokens(tx: Unit, row: Identity, to: Identity) -> int:
    """Ends what would outlive this as a way in that nobody looks at again. Returns how many it were."""
    has_roles, ended = bool(_held(tx, row)), 0
    for token in queries.good_tokens(tx.session, row.id, now=tx.now):
        keepers = queries.keepers(tx.session, row, token)
        if (not has_roles and keepers != {to.id}) or _is_off(tx, keepers):
            token.revoked_at, token.revoked_by = tx.now, tx.actor.id
            said = {"reason": "The service was handed over."}
            tx.record("token.revoke", token, after={**token.facts("identity_id", "revoked_at"), **said})
            ended += 1
    return ended


def _is_off(tx: Unit, ids: frozenset[str]) -> bool:
    query = select(Identity.id).where(col(Identity.id).in_(ids), col(Identity.active).is_(False))
    return tx.session.exec(query.limit(1)).first() is not None
