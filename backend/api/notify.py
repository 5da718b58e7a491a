"""`/notify`: where messages go, who hears of what, how one wants to be told, and what became of each message."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field, StringConstraints

from backend.api.asking import Asks, Caller, Name, Narrow, Page, Plain, Sent, Shown, page_of
from backend.notify import queries
from backend.notify.apprise_names import MAX_ADDRESS
from backend.notify.routes import MOST_SUBSCRIPTIONS

router = APIRouter(prefix="/notify", tags=["notify"])
RouteRef = Annotated[str, Path(max_length=80, description="The route's id, or its name.", examples=["release-room"])]
MessageId = Annotated[str, Path(max_length=60, description="The message's id.", examples=["msg_01jq3v8k2m4n6p8r0t2v4x6z8a"])]
Events = Annotated[
    list[Annotated[str, StringConstraints(max_length=60)]],
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


class MadeRoute(Shown):
    """A route that was made or given another secret."""

    id: str
    name: str
    secret: str | None = Field(description="What a webhook is signed with: shown now and never again.")


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


class Made(Shown):
    """The id of what was made."""

    id: str


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
    muted: list[Annotated[str, StringConstraints(max_length=60)]] = Field(default=[], max_length=50)


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


class MessagesNarrow(Narrow):
    """What the log is narrowed by."""

    route: Annotated[str, StringConstraints(max_length=80)] | None = Field(default=None, description="A route, or `mail`.")
    state: Literal["waiting", "sent", "dead", "dropped"] | None = None
    after: Annotated[str, StringConstraints(max_length=60)] | None = Field(
        default=None, description="`next` of the page before."
    )
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class Replayed(Shown):
    """How many messages wait again."""

    count: int


class Done(Shown):
    """That it is so now."""

    done: bool = True


@router.get("/events")
def list_events(asks: Asks) -> tuple[EventView, ...]:
    """Everything that one may hear of."""
    return tuple(map(EventView.model_validate, queries.events()))


@router.get("/routes")
def list_routes(
    asks: Asks, everybody: Annotated[bool, Query(description="Everybody's, for auditors and admins.")] = False
) -> tuple[RouteView, ...]:
    """Your routes and those that you look after."""
    with asks.backend.database.read() as session:
        found = queries.routes(session, asks.actor, asks.backend.database.now(session), everybodys=everybody)
    return tuple(map(RouteView.model_validate, found))


@router.post("/routes", status_code=201)
def add_route(asks: Asks, sent: NewRoute) -> MadeRoute:
    """A new route. The secret of a webhook is answered once."""
    made = asks.backend.routes.add(asks.actor, sent.name, sent.address, team=sent.team, everybody=sent.everybody)
    return MadeRoute.model_validate(made)


@router.get("/routes/{route}")
def show_route(asks: Asks, route: RouteRef) -> RouteView:
    """One route, and how it does."""
    return _route(asks, route)


@router.delete("/routes/{route}")
def remove_route(asks: Asks, route: RouteRef) -> Done:
    """Ends a route with its subscriptions; its address and secrets are forgotten."""
    asks.backend.routes.remove(asks.actor, route)
    return Done()


@router.post("/routes/{route}/pause")
def pause_route(asks: Asks, route: RouteRef, sent: Pausing) -> RouteView:
    """Nothing is sent there until it is resumed. Saying it again changes nothing."""
    asks.backend.routes.pause(asks.actor, route, sent.reason)
    return _route(asks, route)


@router.post("/routes/{route}/resume")
def resume_route(asks: Asks, route: RouteRef) -> RouteView:
    """It is sent on again. Saying it again changes nothing."""
    asks.backend.routes.resume(asks.actor, route)
    return _route(asks, route)


@router.post("/routes/{route}/rotate")
def rotate_secret(asks: Asks, route: RouteRef) -> MadeRoute:
    """Another signing secret; for a day both sign. Refused while two are good already."""
    return MadeRoute.model_validate(asks.backend.routes.rotate(asks.actor, route))


@router.post("/routes/{route}/test", status_code=202)
def test_route(asks: Asks, route: RouteRef) -> Made:
    """Has a worker send a test message (`mail`: to yourself); the message's own address says what the receiver answered."""
    return Made(id=asks.backend.routes.test(asks.actor, route))


@router.post("/routes/{route}/replay")
def replay_route(asks: Asks, route: RouteRef) -> Replayed:
    """Everything that was given up on a route waits again, under the ids that it had."""
    return Replayed(count=asks.backend.routes.replay_dead(asks.actor, route))


@router.get("/subscriptions")
def list_subscriptions(asks: Asks) -> tuple[SubscriptionView, ...]:
    """Yours, and those of the routes that you look after."""
    with asks.backend.database.read() as session:
        found = queries.subscriptions(session, asks.actor, asks.backend.database.now(session))
    return tuple(map(SubscriptionView.model_validate, found))


@router.post("/subscriptions", status_code=201)
def subscribe(asks: Asks, sent: NewSubscription) -> Made:
    """A route, or your mail, hears of these events from now on."""
    made = asks.backend.routes.subscribe(
        asks.actor, sent.events, route=sent.route, object_kind=sent.object_kind, object_name=sent.object_name
    )
    return Made(id=made)


@router.delete("/subscriptions/{subscription}")
def unsubscribe(asks: Asks, subscription: Annotated[str, Path(max_length=60, description="Its id.")]) -> Done:
    """Takes a subscription back."""
    asks.backend.routes.unsubscribe(asks.actor, subscription)
    return Done()


@router.get("/preferences")
def show_preferences(asks: Asks) -> PreferenceView:
    """How you are told."""
    with asks.backend.database.read() as session:
        return PreferenceView.model_validate(queries.preference(session, asks.actor))


@router.put("/preferences")
def set_preferences(asks: Asks, sent: Preferring) -> PreferenceView:
    """How you want to be told. What waits is held or let go accordingly."""
    asks.backend.preferences.set(asks.actor, **sent.model_dump())
    return show_preferences(asks)


@router.get("/messages")
def list_messages(asks: Asks, narrow: Annotated[MessagesNarrow, Query()]) -> Page[MessageView]:
    """The log, the newest first: your messages, and those of routes that you may see."""
    with asks.backend.database.read() as session:
        found = queries.messages(
            session,
            asks.actor,
            asks.backend.database.now(session),
            route=narrow.route,
            state=narrow.state,
            before=narrow.after,
            limit=narrow.limit + 1,
        )
    items, following = page_of(found, narrow.limit, lambda one: one.id)
    return Page(items=tuple(map(MessageView.model_validate, items)), next=following)


@router.get("/messages/{message}")
def show_message(asks: Asks, message: MessageId) -> WholeMessage:
    """One message with every try, and what the receiver answered, in our words."""
    with asks.backend.database.read() as session:
        found = queries.message(session, asks.actor, message, asks.backend.database.now(session))
    return WholeMessage.model_validate(found)


@router.post("/messages/{message}/replay")
def replay_message(asks: Asks, message: MessageId) -> Done:
    """Sends it again, under the id that it had."""
    asks.backend.routes.replay(asks.actor, message)
    return Done()


def _route(asks: Caller, ref: str) -> RouteView:
    with asks.backend.database.read() as session:
        return RouteView.model_validate(queries.route(session, asks.actor, ref, asks.backend.database.now(session)))
