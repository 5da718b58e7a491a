"""Commands on where messages go: one's own routes, those of a team, and those of the whole installation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session, col, select

from backend.access.checks import active_identity, refuse_narrow, require
from backend.access.scopes import named_team
from backend.core import sealing, work
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.outbound import Guard, parse_url
from backend.core.sealed import Sealer
from backend.core.unit import Unit
from backend.notify import apprise_names, rules, webhooks
from backend.notify.audience import MAIL
from backend.notify.outbox import ROUTE
from backend.notify.rows import Message, Route, RouteHealth, Subscription
from backend.notify.services import Services

MOST_ROUTES, MOST_SUBSCRIPTIONS = 20, 50
BOTH_GOOD_FOR = timedelta(hours=24)
"""How long messages are signed with the secret before as well, once a route was given another."""
MOST_REPLAYED = 1_000
_ASKED = ("events", "object_kind", "object_name")


@dataclass(frozen=True)
class Made:
    """A route that was made or given another secret. `secret` is shown now and never again; None where there is none."""

    id: str
    name: str
    secret: str | None


class Routes:
    """Where messages go.

    Args:
        sealer: seals addresses and secrets, as it is found at each command; None before the keys were made.
    """

    def __init__(self, database: Database, guard: Guard, sealer: Callable[[], Sealer | None]) -> None:
        self._database = database
        self._guard = guard
        self._sealer = sealer

    def add(self, actor: Actor, name: str, address: str, *, team: str | None = None, everybody: bool = False) -> Made:
        """A new route to `https://...` (a signed webhook) or to an address in Apprise's form; one's own unless it says whose.

        Refusal codes: bad-name, name-taken, bad-address, bad-url, address-not-allowed, too-many.
        """
        refuse_narrow(actor)  # what is sent on a route is what its owner sees, for as long as it is there
        rules.check_name(name)
        address = address.strip()
        self._permit_new(actor, team, everybody)
        kind, shown = self._read(address)
        with self._database.unit(actor) as tx:
            team_id = _owner_of_new(tx, actor, team, everybody)
            _demand_room(tx, actor, name, team_id, everybody)
            secret = webhooks.new_secret() if kind == "webhook" else None
            row = Route(
                id=tx.new_id("rte"),
                name=name,
                kind=kind,
                shown=shown,
                identity_id=None if team_id is not None or everybody else actor.id,
                team_id=team_id,
                sealed_address="",
                created_by=actor.id,
                created_at=tx.now,
            )
            row.sealed_address = self._seal(tx, row.id, address)
            row.sealed_secret = self._seal(tx, row.id, secret) if secret is not None else None
            tx.record("route.add", tx.add(row), after=row.facts("name", "kind", "shown", "identity_id", "team_id"))
            return Made(row.id, row.name, secret)

    def rotate(self, actor: Actor, ref: str) -> Made:
        """Another signing secret. For a day messages are signed with the one before as well."""
        refuse_narrow(actor)
        with self._database.unit(actor) as tx:
            row = _own(tx, actor, ref)
            if row.sealed_secret is None:
                raise Refusal(f"{row.name} has no signing secret.", "Only webhooks are signed; add it anew.", code="no-secret")
            if row.previous_until is not None and tx.now < row.previous_until:
                raise Refusal(
                    "This secret was changed less than a day ago; two are good already.",
                    f"Wait until {row.previous_until:%Y-%m-%d %H:%M} UTC: the receiver may still use the first of them.",
                    code="rotating",
                )
            secret = webhooks.new_secret()
            row.sealed_previous, row.previous_until = row.sealed_secret, tx.now + BOTH_GOOD_FOR
            row.sealed_secret, row.revision = self._seal(tx, row.id, secret), row.revision + 1
            tx.record("route.rotate", row, after=row.facts("previous_until"))
            return Made(row.id, row.name, secret)

    def pause(self, actor: Actor, ref: str, reason: str = "") -> None:
        """Nothing is sent on the route, and nothing new waits for it, until it is resumed."""
        self._set_state(actor, ref, "paused", reason, "route.pause")

    def resume(self, actor: Actor, ref: str) -> None:
        """It is sent on again, what waited first."""
        refuse_narrow(actor)
        self._set_state(actor, ref, "active", "", "route.resume")

    def remove(self, actor: Actor, ref: str) -> None:
        """Ends a route with its subscriptions. Its address and secrets are forgotten; what was sent stays in the log."""
        with self._database.unit(actor) as tx:
            row = _own(tx, actor, ref)
            for one in tx.session.exec(select(Subscription).where(Subscription.route_id == row.id)):
                tx.session.delete(one)
                tx.record("subscription.remove", one, before=one.facts("route_id", *_ASKED))
            before = row.facts("name", "state")
            row.state, row.sealed_address, row.sealed_secret, row.sealed_previous = "removed", "", None, None
            row.revision += 1
            tx.record("route.remove", row, before=before, after=row.facts("name", "state"))
            work.wake(tx, ROUTE, row.id)

    def test(self, actor: Actor, ref: str) -> str:
        """Has a worker send a test message at once, on a paused route too. Returns the message's id: its log says what came."""
        with self._database.unit(actor) as tx:
            key, identity_id = MAIL, actor.id
            if ref == MAIL:
                active_identity(tx.session, actor)
                _refuse_limited(actor)
            else:
                row = _own(tx, actor, ref)
                key, identity_id = row.id, row.identity_id or ""
            message = tx.add(
                Message(
                    id=tx.new_id("msg"),
                    route_key=key,
                    identity_id=identity_id or None,
                    event="test",
                    seq=0,
                    at=tx.now,
                    subject_kind="route",
                    subject_id=key,
                    told={"actor": actor.id},
                    same="",
                    due_at=tx.now,
                    created_at=tx.now,
                )
            )
            tx.record("route.test", ("route", key), after={"message": message.id})
            tx.session.flush()
            work.wake(tx, ROUTE, key)
            return message.id

    def replay(self, actor: Actor, message_id: str) -> None:
        """Sends a message again that was sent, given up or dropped, under the id that it had: a receiver knows it again."""
        refuse_narrow(actor)
        with self._database.unit(actor) as tx:
            row = tx.session.get(Message, message_id, with_for_update=True)
            if row is None:
                active_identity(tx.session, actor)
                raise NotFound("message", message_id[:60])
            _own_message(tx, actor, row)
            _again(tx, row)
            tx.record("route.replay", ("route", row.route_key), after={"messages": [row.id]})
            work.wake(tx, ROUTE, row.route_key)

    def replay_dead(self, actor: Actor, ref: str) -> int:
        """The same for everything that was given up on a route; at most a thousand at once. Returns how many."""
        refuse_narrow(actor)
        with self._database.unit(actor) as tx:
            row = _own(tx, actor, ref)
            query = select(Message).where(Message.route_key == row.id, Message.state == "dead", Message.event != "test")
            dead = tx.session.exec(query.order_by(col(Message.seq)).limit(MOST_REPLAYED).with_for_update()).all()
            for one in dead:
                _again(tx, one)
            if dead:
                tx.record("route.replay", row, after={"count": len(dead), "from": dead[0].seq, "to": dead[-1].seq})
                work.wake(tx, ROUTE, row.id)
            return len(dead)

    def subscribe(
        self, actor: Actor, events: Sequence[str], *, route: str = MAIL, object_kind: str = "", object_name: str = ""
    ) -> str:
        """From now on a route, or one's own mail, hears of these events of everything or of one object. Returns its id."""
        refuse_narrow(actor)
        names = tuple(dict.fromkeys(events))
        rules.check_events(names)
        rules.check_object(object_kind, object_name)
        with self._database.unit(actor) as tx:
            row = _own(tx, actor, route) if route != MAIL else None
            active_identity(tx.session, actor)
            holder = Subscription.route_id == row.id if row is not None else Subscription.identity_id == actor.id
            if len(tx.session.exec(select(Subscription.id).where(holder)).all()) >= MOST_SUBSCRIPTIONS:
                raise Refusal(
                    f"There are {MOST_SUBSCRIPTIONS} subscriptions already.",
                    "Take some back, or ask for more in one.",
                    code="too-many",
                )
            made = tx.add(
                Subscription(
                    id=tx.new_id("sub"),
                    route_id=row.id if row is not None else None,
                    identity_id=actor.id if row is None else None,
                    events=list(names),
                    object_kind=object_kind,
                    object_name=object_name,
                    created_by=actor.id,
                    created_at=tx.now,
                )
            )
            tx.record(
                "subscription.add", made, after=made.facts("route_id", "identity_id", "events", "object_kind", "object_name")
            )
            return made.id

    def unsubscribe(self, actor: Actor, subscription_id: str) -> None:
        """Takes a subscription back."""
        with self._database.unit(actor) as tx:
            active_identity(tx.session, actor)
            row = tx.session.get(Subscription, subscription_id)
            if row is None or (row.route_id is None and not _is_own(row.identity_id, actor)):
                raise NotFound("subscription", subscription_id[:60])
            if row.route_id is not None:
                _own(tx, actor, row.route_id, NotFound("subscription", subscription_id[:60]))
            tx.session.delete(row)
            tx.record("subscription.remove", row, before=row.facts("route_id", *_ASKED))

    def _permit_new(self, actor: Actor, team: str | None, everybody: bool) -> None:
        """Asked before an address is looked at; the unit that writes asks again."""
        with self._database.unit(actor) as tx:
            _owner_of_new(tx, actor, team, everybody)

    def _read(self, address: str) -> tuple[str, str]:
        """Kind of an address, and what of it is no secret. Outside any unit: names are resolved, and Apprise is asked."""
        if address.lower().startswith(("http://", "https://")):
            parsed = parse_url(address)
            self._guard.check(address)
            return "webhook", f"{parsed.scheme}://{parsed.netloc.decode()}"
        scheme = apprise_names.check(address)
        with Services(self._guard) as services:
            services.check(address)
        named = apprise_names.host_of(address)
        return "apprise", f"{scheme}://{named[0] if named is not None else ''}"

    def _seal(self, tx: Unit, row_id: str, secret: str) -> str:
        sealer = self._sealer()
        if sealer is None:
            raise Refusal("There is no sealing key yet.", "Make it: `countersign migrate`.", code="sealing-key")
        return sealing.seal(tx, sealer, row_id, secret)

    def _set_state(self, actor: Actor, ref: str, state: str, reason: str, action: str) -> None:
        with self._database.unit(actor) as tx:
            row = _own(tx, actor, ref)
            if row.state == state:
                return
            before = row.facts("state", "state_reason")
            row.state, row.state_reason, row.revision = state, rules.harmless(reason, 200), row.revision + 1
            tx.record(action, row, before=before, after=row.facts("state", "state_reason"))
            if state == "active":
                if (health := tx.session.get(RouteHealth, row.id)) is not None:
                    health.rest_until, health.failures = None, 0
                tx.session.flush()
                work.wake(tx, ROUTE, row.id)


def _owner_of_new(tx: Unit, actor: Actor, team: str | None, everybody: bool) -> str | None:
    """Id of the team that a new route is for; whoever may not make it for others is refused."""
    if team is not None and everybody:
        raise Refusal("A route is a team's or everybody's.", "Name one of the two.", code="bad-owner")
    if team is None and not everybody:
        active_identity(tx.session, actor)
        return None
    try:
        found = named_team(tx.session, team).id if team is not None else None
    except NotFound:
        require(tx, actor, "route.manage")
        raise
    require(tx, actor, "route.manage", team=found)
    return found


def _demand_room(tx: Unit, actor: Actor, name: str, team_id: str | None, everybody: bool) -> None:
    query = select(Route.id).where(Route.state != "removed")
    if team_id is not None:
        query = query.where(Route.team_id == team_id)
    elif everybody:
        query = query.where(col(Route.team_id).is_(None), col(Route.identity_id).is_(None))
    else:
        query = query.where(Route.identity_id == actor.id)
    if tx.session.exec(query.where(Route.name == name)).first() is not None:
        raise Refusal(f"There is a route {name} already.", "Choose another name.", code="name-taken")
    if len(tx.session.exec(query).all()) >= MOST_ROUTES:
        raise Refusal(f"There are {MOST_ROUTES} routes already.", "Remove one that is not needed.", code="too-many")


def _own(tx: Unit, actor: Actor, ref: str, missing: NotFound | None = None) -> Route:
    """A route by its id or, of one's own, by its name, for whoever may change it; to everybody else it is not there.

    Nor is one's own to a narrowed token, which is not shown it either.
    """
    active_identity(tx.session, actor)
    found = find(tx.session, actor, ref)
    if found is not None:
        row = tx.get(Route, found.id, lock=True)
        if _is_own(row.identity_id, actor) or (row.identity_id is None and _may_manage(tx, actor, row)):
            return row
    raise missing or NotFound("route", ref[:80], "Look at your routes: `countersign notify routes`.")


def _is_own(identity_id: str | None, actor: Actor) -> bool:
    return identity_id == actor.id and actor.limits is None


def _refuse_limited(actor: Actor) -> None:
    if actor.limits is not None:
        refuse_narrow(actor)


def _may_manage(tx: Unit, actor: Actor, row: Route) -> bool:
    try:
        require(tx, actor, "route.manage", team=row.team_id)
    except Refusal:
        return False
    return True


def find(session: Session, actor: Actor, ref: str) -> Route | None:
    """A route that is not removed: by its id, or by the name that one's own has, or the only one of that name."""
    row = session.get(Route, ref)
    if row is not None:
        return row if row.state != "removed" else None
    named = session.exec(select(Route).where(Route.name == ref, Route.state != "removed").order_by(Route.id).limit(50)).all()
    mine = [one for one in named if one.identity_id == actor.id]
    others = [one for one in named if one.identity_id is None]
    return mine[0] if mine else others[0] if len(others) == 1 else None


def _own_message(tx: Unit, actor: Actor, row: Message) -> None:
    missing = NotFound("message", row.id)
    if row.route_key != MAIL:
        _own(tx, actor, row.route_key, missing)
        return
    active_identity(tx.session, actor)
    if not _is_own(row.identity_id, actor):
        raise missing


def _again(tx: Unit, row: Message) -> None:
    if row.state == "waiting":
        raise Refusal("This message waits already.", "Look at what came of its tries.", code="wrong-state")
    row.state, row.attempts, row.due_at, row.settled_at = "waiting", 0, tx.now, None
    row.created_at, row.says = tx.now, "Asked for again."
