"""`/notify`: where messages go, who hears of what, how one wants to be told, and what became of each message."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, StringConstraints
from sqlmodel import col, select

from backend.access.rows import Identity
from backend.api.asking import Asks, Name, Page, Paged, Plain, Reading, Sent, Shown, page_of
from backend.api.once import Making
from backend.api.tags import Fresh, Held, Tagged
from backend.core.context import Actor
from backend.notify import queries
from backend.notify.apprise_names import MAX_ADDRESS
from backend.notify.routes import MOST_SUBSCRIPTIONS
from backend.notify.rows import Message, Route, Subscription
from backend.registry.keys import read_key, write_key

router = APIRouter(prefix="/notify", tags=["notify"])
RouteRef = Annotated[str, Path(max_length=80, description="The route's id, or its name.", examples=["release-room"])]
MessageId = Annotated[str, Path(pattern=r"^msg_[0-9a-z]{26}$", description="The message's id.")]
SubscriptionId = Annotated[str, Path(pattern=r"^sub_[0-9a-z]{26}$", description="The subscription's id.")]
Events = Annotated[
    list[Annotated[str, StringConstraints(max_length=60), Plain]],
    Field(min_length=1, max_length=MOST_SUBSCRIPTIONS, description="Names of events, or `*`.", examples=[["change.waiting"]]),
]
Clock = Annotated[str, StringConstraints(max_length=5), Plain]


class EventView(Shown):
    """One thing that one may hear of."""

    name: str
    says: str
    urgent: bool
    audience: tuple[str, ...] = Field(description="Who hears of it without having asked.")


class RouteView(Shown):
    """One route, without anything secret of it."""

    id: str
    name: str
    kind: str = Field(description="`webhook` or `apprise`.")
    shown: str = Field(description="The part of its address that is no secret.")
    owner: str
    state: str
    state_reason: str
    health: str = Field(description="`new`, `ok`, `failing` or `paused`.")
    says: str = Field(description="What came of the latest try.")
    ok_at: datetime | None
    failing_since: datetime | None
    waiting: int = Field(description="Messages that wait.")
    dead: int = Field(description="Messages that were given up.")
    two_secrets_until: datetime | None = Field(description="Until when messages are signed with two secrets.")
    created_at: datetime


class NewRoute(Sent):
    """A route to be made; one's own unless it says whose."""

    name: Name = Field(examples=["release-room"])
    address: Annotated[str, StringConstraints(min_length=1, max_length=MAX_ADDRESS), Plain] = Field(
        description="`https://...` for a signed webhook, or an address in Apprise's form. Kept sealed, shown to nobody.",
        examples=["https://hooks.example.com/countersign"],
    )
    team: Name | None = None
    everybody: bool = Field(default=False, description="For the whole installation.")


class MadeRoute(RouteView):
    """A route that was just made or given another secret."""

    secret: str | None = Field(
        default=None,
        description="What a webhook is signed with, told this once; null where there is none, and where the same request is "
        "sent again under its key.",
    )


class Pausing(Sent):
    """Why nothing goes there for a while."""

    reason: Annotated[str, StringConstraints(max_length=200), Plain] = ""


class SubscriptionView(Shown):
    """One subscription."""

    id: str
    route: str = Field(description="A route's name, or `mail`.")
    events: tuple[str, ...]
    object_kind: str
    object_name: str
    created_at: datetime


class NewSubscription(Sent):
    """What a route, or one's own mail, is to hear of."""

    events: Events
    route: Name = Field(default="mail", description="A route's name or id, or `mail`.")
    object_kind: Literal["", "model", "endpoint", "environment", "change"] = ""
    object_name: Annotated[str, StringConstraints(max_length=256), Plain] = ""


class PreferenceView(Shown):
    """How one is told."""

    zone: str
    quiet_from: str | None
    quiet_to: str | None
    urgent_through: bool
    mail: bool
    muted: tuple[str, ...]


class Preferring(Sent):
    """How one wants to be told; all of it at once."""

    zone: Annotated[str, StringConstraints(max_length=60), Plain] = Field(default="UTC", examples=["Europe/Berlin"])
    quiet_from: Clock | None = Field(default=None, examples=["22:00"])
    quiet_to: Clock | None = Field(default=None, examples=["07:00"])
    urgent_through: bool = Field(default=True, description="Whether what is urgent comes through quiet hours.")
    mail: bool = True
    muted: list[Annotated[str, StringConstraints(max_length=60), Plain]] = Field(default=[], max_length=50)


class MessageView(Shown):
    """One message in the log."""

    id: str
    route: str
    whom: str
    event: str
    says: str
    subject_kind: str
    subject_id: str
    seq: int = Field(description="The row of the ledger that it tells of.")
    count: int
    state: str = Field(description="`waiting`, `sent`, `dead` (given up) or `dropped` (not to be told any more).")
    result: str
    attempts: int
    due_at: datetime
    created_at: datetime
    settled_at: datetime | None


class TryView(Shown):
    """One try."""

    at: datetime
    seconds: float
    ok: bool
    status: int | None
    says: str


class WholeMessage(Shown):
    """One message with every try."""

    line: MessageView
    tries: tuple[TryView, ...]


class RoutesNarrow(Paged):
    """Whose routes."""

    everybody: Annotated[bool, Field(description="Everybody's, for auditors and admins.")] = False


class MessagesNarrow(Paged):
    """Which messages."""

    route: Annotated[str, StringConstraints(max_length=80), Plain] | None = Field(
        default=None, description="Of a route, by its id or name, or of one's own `mail`."
    )
    state: Literal["waiting", "sent", "dead", "dropped"] | None = None


class Replayed(Shown):
    """How many messages wait again."""

    count: int


@router.get("/events")
def list_message_events(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[EventView]:
    """Everything that one may hear of, by its name."""
    items, following = narrow.cut(queries.events(), lambda one: (one.name,))
    return Page(items=tuple(map(EventView.model_validate, items)), next=following)


@router.get("/routes")
def list_routes(asks: Asks, narrow: Annotated[RoutesNarrow, Query()]) -> Page[RouteView]:
    """Your routes and those that you look after, by name."""
    with asks.looking() as look:
        found = queries.routes(look.session, asks.actor, look.now, everybodys=narrow.everybody)
    items, following = narrow.cut(found, lambda one: (one.name, one.id))
    return Page(items=tuple(map(RouteView.model_validate, items)), next=following)


@router.post("/routes", status_code=201)
def add_route(asks: Asks, fresh: Fresh, once: Making, sent: NewRoute, response: Response) -> MadeRoute:
    """A new route. The secret of a webhook is answered once."""
    told: list[str | None] = []

    def make() -> str:
        new = asks.backend.routes.add(asks.actor, sent.name, sent.address, team=sent.team, everybody=sent.everybody)
        told.append(new.secret)
        return new.id

    made = once.make(Route, make)
    response.headers["location"] = f"/api/v1/notify/routes/{made.id}"
    return MadeRoute(**vars(fresh(_route(asks, made.id))), secret=told[0] if told else None)


@router.get("/routes/{route}")
def show_route(asks: Asks, route: RouteRef, tagged: Tagged) -> RouteView:
    """One route, and how it does."""
    return tagged(_route(asks, route))


@router.delete("/routes/{route}", status_code=204)
def remove_route(asks: Asks, held: Held, route: RouteRef) -> None:
    """Ends a route with its subscriptions; its address and secrets are forgotten."""
    with _seen(asks, held, route):
        asks.backend.routes.remove(asks.actor, route)


@router.post("/routes/{route}/pause")
def pause_route(asks: Asks, held: Held, route: RouteRef, sent: Pausing) -> RouteView:
    """Nothing is sent there until it is resumed. Sending it again changes nothing."""
    with _seen(asks, held, route):
        asks.backend.routes.pause(asks.actor, route, sent.reason)
    return held.answer(_route(asks, route))


@router.post("/routes/{route}/resume")
def resume_route(asks: Asks, held: Held, route: RouteRef) -> RouteView:
    """It is sent on again. Sending it again changes nothing."""
    with _seen(asks, held, route):
        asks.backend.routes.resume(asks.actor, route)
    return held.answer(_route(asks, route))


@router.post("/routes/{route}/rotate")
def rotate_route_secret(asks: Asks, held: Held, route: RouteRef) -> MadeRoute:
    """Another signing secret; for a day both sign. Sent again, it is refused while two are good."""
    with _seen(asks, held, route):
        made = asks.backend.routes.rotate(asks.actor, route)
    return MadeRoute(**vars(held.answer(_route(asks, made.id))), secret=made.secret)


@router.post("/routes/{route}/test", status_code=202)
def test_route(asks: Asks, once: Making, route: RouteRef, response: Response) -> MessageView:
    """Has a worker send a test message (`mail`: to yourself); the message's own address says what the receiver answered."""
    made = once.make(Message, lambda: asks.backend.routes.test(asks.actor, route))
    response.headers["location"] = f"/api/v1/notify/messages/{made.id}"
    return _message(asks, made.id).line


@router.post("/routes/{route}/replay")
def replay_route(asks: Asks, route: RouteRef) -> Replayed:
    """Everything that was given up on a route waits again, under the ids that it had; sent again, nothing more."""
    return Replayed(count=asks.backend.routes.replay_dead(asks.actor, route))


@router.get("/subscriptions")
def list_subscriptions(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[SubscriptionView]:
    """Yours, and those of the routes that you look after, in the order in which they were made."""
    with asks.looking() as look:
        found = queries.subscriptions(look.session, asks.actor, look.now)
    items, following = narrow.cut(found, lambda one: (one.created_at, one.id))
    return Page(items=tuple(map(SubscriptionView.model_validate, items)), next=following)


@router.post("/subscriptions", status_code=201)
def subscribe(asks: Asks, once: Making, sent: NewSubscription, response: Response) -> SubscriptionView:
    """A route, or your mail, hears of these events from now on."""
    made = once.make(
        Subscription,
        lambda: asks.backend.routes.subscribe(
            asks.actor, sent.events, route=sent.route, object_kind=sent.object_kind, object_name=sent.object_name
        ),
    )
    response.headers["location"] = f"/api/v1/notify/subscriptions/{made.id}"
    return show_subscription(asks, made.id)


@router.get("/subscriptions/{subscription}")
def show_subscription(asks: Asks, subscription: SubscriptionId) -> SubscriptionView:
    """One subscription. It is never changed, only taken back."""
    with asks.looking() as look:
        return SubscriptionView.model_validate(queries.subscription(look.session, asks.actor, subscription, look.now))


@router.delete("/subscriptions/{subscription}", status_code=204)
def unsubscribe(asks: Asks, subscription: SubscriptionId) -> None:
    """Takes a subscription back."""
    asks.backend.routes.unsubscribe(asks.actor, subscription)


@router.get("/preferences")
def show_preferences(asks: Asks, tagged: Tagged) -> PreferenceView:
    """How you are told."""
    return tagged(_preferences(asks))


@router.put("/preferences")
def set_preferences(asks: Asks, held: Held, sent: Preferring) -> PreferenceView:
    """How you want to be told, all of it. What waits is held or let go accordingly. Needs `If-Match`."""
    with held.held(None, _told, select(col(Identity.id)).where(Identity.id == asks.actor.id), needed=True):
        asks.backend.preferences.set(asks.actor, **sent.model_dump())
    return held.answer(_preferences(asks))


@router.get("/messages")
def list_messages(asks: Asks, narrow: Annotated[MessagesNarrow, Query()]) -> Page[MessageView]:
    """The log, the newest first: your messages, and those of routes that you may see."""
    before = read_key(narrow.after, str)[0] if narrow.after is not None else None
    with asks.looking() as look:
        found = queries.messages(
            look.session, asks.actor, look.now, route=narrow.route, state=narrow.state, before=before, limit=narrow.limit + 1
        )
    items, following = page_of(found, narrow.limit, lambda one: write_key(one.id))
    return Page(items=tuple(map(MessageView.model_validate, items)), next=following)


@router.get("/messages/{message}")
def show_message(asks: Asks, message: MessageId) -> WholeMessage:
    """One message with every try, and what the receiver answered, in our words."""
    return _message(asks, message)


@router.post("/messages/{message}/replay")
def replay_message(asks: Asks, message: MessageId) -> MessageView:
    """Sends it again, under the id that it had. Refused while it waits, so that sending this again sends it once."""
    asks.backend.routes.replay(asks.actor, message)
    return _message(asks, message).line


def _route(asks: Asks, ref: str) -> RouteView:
    with asks.looking() as look:
        return _shown(ref)(look, asks.actor)


def _shown(ref: str) -> Callable[[Reading, Actor], RouteView]:
    return lambda look, actor: RouteView.model_validate(queries.route(look.session, actor, ref, look.now))


def _seen(asks: Asks, held: Held, ref: str) -> AbstractContextManager[None]:
    """The row is locked by what the reference means when the request comes."""
    with asks.looking() as look:
        found = queries.found_route(look.session, asks.actor, ref)
    return held.held(None, _shown(ref), select(col(Route.id)).where(Route.id == found))


def _preferences(asks: Asks) -> PreferenceView:
    with asks.looking() as look:
        return _told(look, asks.actor)


def _told(look: Reading, actor: Actor) -> PreferenceView:
    return PreferenceView.model_validate(queries.preference(look.session, actor))


def _message(asks: Asks, message: str) -> WholeMessage:
    with asks.looking() as look:
        return WholeMessage.model_validate(queries.message(look.session, asks.actor, message, look.now))
