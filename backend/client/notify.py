"""`client.notify`: where messages go, who hears of what, how one is told, and what became of each message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from backend.client.pages import MOST, Pages
from backend.client.results import (
    Message,
    MessageEvent,
    NewRoute,
    Page,
    Preferences,
    Route,
    Subscription,
    WholeMessage,
)
from backend.client.shapes import read
from backend.client.wire import Answer, Wire

MAIL = "mail"
"""In place of a route: one's own mail."""


class Notify:
    """Messages. A route is named by its id or, of one's own and of those that one looks after, by its name."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def events(self) -> tuple[MessageEvent, ...]:
        """Everything that one may hear of, by its name."""
        return tuple(Pages(self._wire, MessageEvent, "notify", "events").all(limit=MOST))

    def routes(self, *, everybody: bool = False) -> tuple[Route, ...]:
        """One's own and those that one looks after; everybody's, for auditors and admins."""
        return tuple(Pages(self._wire, Route, "notify", "routes").all(everybody=everybody or None, limit=MOST))

    def route(self, route: str) -> Route:
        """One route, and how it does."""
        return read(Route, self._wire.get("notify", "routes", route).content)

    def add_route(self, name: str, address: str, *, team: str | None = None, everybody: bool = False) -> NewRoute:
        """A new route; never sent again by itself: one whose answer was lost has a secret that nobody knows.

        Args:
            address: `https://...` for a signed webhook, or an address in Apprise's form.
            team, everybody: whose it is, in place of one's own.
        """
        sent = {"name": name, "address": address, "team": team, "everybody": everybody}
        return read(NewRoute, self._wire.send("POST", ("notify", "routes"), sent=sent).content)

    def rotate(self, route: str) -> NewRoute:
        """Gives a webhook another secret; for a day both sign."""
        return read(NewRoute, self._wire.send("POST", ("notify", "routes", route, "rotate")).content)

    def pause(self, route: str, reason: str = "") -> Route:
        """Nothing is sent there until it is resumed."""
        path = ("notify", "routes", route, "pause")
        return read(Route, self._wire.send("POST", path, sent={"reason": reason}, again=True).content)

    def resume(self, route: str) -> Route:
        """It is sent on again."""
        return read(Route, self._wire.send("POST", ("notify", "routes", route, "resume"), again=True).content)

    def remove(self, route: str) -> None:
        """Ends a route with its subscriptions; its address and secrets are forgotten."""
        self._wire.send("DELETE", ("notify", "routes", route), again=False)

    def test(self, route: str = MAIL) -> Message:
        """Has a worker send a test message; `message` of its id says what came of it."""
        return read(Message, self._wire.send("POST", ("notify", "routes", route, "test"), key="").content)

    def replay_route(self, route: str) -> int:
        """Everything that was given up on a route waits again; how many that are."""
        return int(self._wire.send("POST", ("notify", "routes", route, "replay")).content["count"])

    def subscriptions(self) -> tuple[Subscription, ...]:
        """One's own, and those of routes that one looks after."""
        return tuple(Pages(self._wire, Subscription, "notify", "subscriptions").all(limit=MOST))

    def subscribe(
        self, events: Sequence[str], *, route: str = MAIL, object_kind: str = "", object_name: str = ""
    ) -> Subscription:
        """A route, or one's own mail, hears of these events (`*`: all) of everything or of one object."""
        sent = {"events": list(events), "route": route, "object_kind": object_kind, "object_name": object_name}
        return read(Subscription, self._wire.send("POST", ("notify", "subscriptions"), sent=sent, key="").content)

    def unsubscribe(self, subscription: str) -> None:
        """Takes a subscription, named by its id, back."""
        self._wire.send("DELETE", ("notify", "subscriptions", subscription), again=False)

    def preferences(self) -> Preferences:
        """How one is told, with the `etag` that a change of it is bound to."""
        return _preferences(self._wire.get("notify", "preferences"))

    def set_preferences(self, wanted: Preferences) -> Preferences:
        """How one wants to be told, all of it; Conflict where it is not as it was when `wanted` was read."""
        sent: dict[str, Any] = {name: value for name, value in asdict(wanted).items() if name != "etag"}
        return _preferences(self._wire.send("PUT", ("notify", "preferences"), sent=sent, if_match=wanted.etag))

    def messages(
        self, *, route: str | None = None, state: str | None = None, after: str | None = None, limit: int = 50
    ) -> Page[Message]:
        """One page of the log, the newest first."""
        return Pages(self._wire, Message, "notify", "messages").page(route=route, state=state, after=after, limit=limit)

    def message(self, message: str) -> WholeMessage:
        """One message with every try."""
        return read(WholeMessage, self._wire.get("notify", "messages", message).content)

    def replay(self, message: str) -> Message:
        """Sends a message again, under the id that it had."""
        return read(Message, self._wire.send("POST", ("notify", "messages", message, "replay")).content)


def _preferences(answer: Answer) -> Preferences:
    return replace(read(Preferences, answer.content), etag=answer.etag)
