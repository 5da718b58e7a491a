"""What is told to whom, when it is tried again, and what somebody else's text becomes in a message. Pure decisions on values.

An event is read off a row of the ledger: its action, and the facts before and after. Another room's event needs one line in
`EVENTS`, and a row of the ledger that `events_of` knows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from backend.core.errors import Refusal

Audience = Literal[
    "voters", "requester", "approvers", "operators", "admins", "auditors", "asker", "owner", "responsible", "escalation"
]
"""Who is told without having asked for it; see `backend.notify.audience`."""


@dataclass(frozen=True)
class Event:
    """One kind of thing that is told.

    Args:
        says: what happened, in words for people.
        needs: the action (`access.rules.ACTIONS`) that whoever is told must be allowed at that moment; "" for a test.
        audience: who hears of it by default.
        urgent: whether it may come through quiet hours, for whoever wants that.
        window: how long the same again is counted instead of told; zero: each is told.
        asked_only: whether one of the least severity is told to whoever asked for it alone.
    """

    name: str
    says: str
    needs: str
    audience: tuple[Audience, ...] = ()
    urgent: bool = False
    window: timedelta = timedelta(0)
    asked_only: bool = False


_ALERT = timedelta(minutes=15)
_REQUESTER: tuple[Audience, ...] = ("requester",)
_OPERATORS: tuple[Audience, ...] = ("operators",)
_CONCERNED: tuple[Audience, ...] = ("requester", "approvers", "responsible", "operators")
_RESPONSIBLE: tuple[Audience, ...] = ("responsible",)
_DIGEST = timedelta(minutes=5)
"""Fifty features that drift at the same look are one message."""

EVENTS: Mapping[str, Event] = {
    one.name: one
    for one in (
        Event("change.waiting", "A change waits for a vote", "change.read", ("voters",)),
        Event("change.approved", "A change was approved", "change.read", _REQUESTER),
        Event("change.rejected", "A change was rejected", "change.read", _REQUESTER),
        Event("change.blocked", "A check of a change did not pass", "change.read", _REQUESTER),
        Event("change.suspended", "A change was suspended, because what it was drawn on moved", "change.read", _REQUESTER),
        Event("change.expired", "A change expired", "change.read", _REQUESTER),
        Event("change.started", "A change is being applied", "change.read"),
        Event("change.proved", "A change was applied and proved", "change.read", _REQUESTER),
        Event("change.failed", "A change failed", "change.read", ("requester", "operators"), urgent=True),
        Event("change.rolled_back", "A change was rolled back", "change.read", ("requester", "operators"), urgent=True),
        Event("change.revoked", "The approval of a change was revoked", "change.read", _REQUESTER),
        Event("change.withdrawn", "A change was withdrawn", "change.read"),
        Event("change.superseded", "Another change took a change's place", "change.read", _REQUESTER),
        Event("endpoint.out_of_sync", "Somebody changed an endpoint by hand", "endpoint.read", _OPERATORS, True, _ALERT),
        Event("endpoint.repaired", "An endpoint was repaired", "endpoint.read", (), False, _ALERT),
        Event("endpoint.fight", "An endpoint is changed again and again: a person is called", "endpoint.read", _OPERATORS,
              True, _ALERT),
        Event("endpoint.unreachable", "An endpoint's server does not answer", "endpoint.read", _OPERATORS, True, _ALERT),
        Event("endpoint.stale", "Nobody has looked at an endpoint lately", "endpoint.read", _OPERATORS, False, _ALERT),
        Event("endpoint.recovered", "An endpoint is in sync again", "endpoint.read", (), False, _ALERT),
        Event("endpoint.paused", "Delivery to an endpoint was paused", "endpoint.read"),
        Event("endpoint.resumed", "Delivery to an endpoint was resumed", "endpoint.read"),
        Event("alias.drift", "A registry alias was moved around Countersign", "model.read", _OPERATORS, False, _ALERT),
        Event("rollout.aborted", "A rollout was aborted", "endpoint.read", _OPERATORS, urgent=True),
        Event("rollout.rolled_back", "A rollout was rolled back by itself", "endpoint.read", _CONCERNED, urgent=True),
        Event("rollout.paused", "A rollout was paused by itself", "endpoint.read", _CONCERNED, urgent=True),
        Event("rollout.skipped", "Steps of a rollout are skipped", "endpoint.read", _CONCERNED),
        Event("finding.opened", "A finding was opened", "finding.read", _RESPONSIBLE, window=_DIGEST, asked_only=True),
        Event("finding.reopened", "A finding was opened again", "finding.read", _RESPONSIBLE, window=_DIGEST, asked_only=True),
        Event("finding.raised", "A finding became more severe", "finding.read", _RESPONSIBLE, window=_DIGEST, asked_only=True),
        Event("finding.escalated", "Nobody answered a finding in time", "finding.read", ("escalation",), urgent=True),
        Event("finding.assigned", "A finding was given to somebody", "finding.read", _RESPONSIBLE),
        Event("finding.resolved", "A finding is over", "finding.read", _RESPONSIBLE, window=_DIGEST, asked_only=True),
        Event("freeze.set", "Starts were frozen", "policy.read"),
        Event("freeze.lifted", "A freeze was lifted", "policy.read"),
        Event("request.waiting", "Something waits for a second administrator", "request.list", ("admins",)),
        Event("request.settled", "A request for a second person was settled", "policy.read", ("asker",)),
        Event("admins.ending", "The last admin's role is about to end", "request.list", ("admins", "auditors"), True),
        Event("admins.none", "Nobody is an admin any more", "request.list", ("auditors",), True),
        Event("move.waiting", "The move of a server or router waits for a second person", "endpoint.read"),
        Event("audit.broken", "The ledger's chain does not hold", "audit.verify", ("auditors", "admins"), True,
              timedelta(hours=1)),
        Event("route.stopped", "A route for messages was stopped, because its receiver is gone", "", ("owner",)),
        Event("test", "A test message", ""),
    )
}  # fmt: skip
"""Every kind by its name. `test` is nothing that one subscribes to."""
SUBSCRIBABLE = tuple(name for name in EVENTS if name not in ("test", "route.stopped"))

_OF_CHANGES = {
    "review": "change.waiting",
    "approved": "change.approved",
    "rejected": "change.rejected",
    "blocked": "change.blocked",
    "suspended": "change.suspended",
    "expired": "change.expired",
    "applying": "change.started",
    "done": "change.proved",
    "failed": "change.failed",
    "rolled_back": "change.rolled_back",
    "revoked": "change.revoked",
    "withdrawn": "change.withdrawn",
    "superseded": "change.superseded",
}
"""State that a change came to -> what is told."""
_OF_ENDPOINTS = {
    "out_of_sync": "endpoint.out_of_sync",
    "fight": "endpoint.fight",
    "unreachable": "endpoint.unreachable",
    "stale": "endpoint.stale",
}
_OF_ACTIONS = {
    "endpoint.repair": "endpoint.repaired",
    "endpoint.pause": "endpoint.paused",
    "endpoint.resume": "endpoint.resumed",
    "alias.drift": "alias.drift",
    "rollout.abort": "rollout.aborted",
    "rollout.skip_to": "rollout.skipped",
    "finding.open": "finding.opened",
    "finding.open_again": "finding.reopened",
    "finding.reopen": "finding.reopened",
    "finding.wake": "finding.reopened",
    "finding.rise": "finding.raised",
    "finding.escalate": "finding.escalated",
    "finding.assign": "finding.assigned",
    "finding.resolve": "finding.resolved",
    "finding.clear": "finding.resolved",
    "freeze.set": "freeze.set",
    "freeze.lift": "freeze.lifted",
    "request.ask": "request.waiting",
    "request.confirm": "request.settled",
    "request.refuse": "request.settled",
    "admins.end_soon": "admins.ending",
    "admins.none": "admins.none",
    "server.ask_move": "move.waiting",
    "router.ask_move": "move.waiting",
    "audit.break": "audit.broken",
    "route.stop": "route.stopped",
}
_BY_ITSELF = {"rollout.roll_back": "rollout.rolled_back", "rollout.pause": "rollout.paused"}
"""What is told where nobody did it: what a person does by hand is told of the change, or of nothing."""
_TROUBLE = ("out_of_sync", "fight", "unreachable", "stale")
NOUNS = ("change.", "endpoint.")
"""Beginnings of actions that are told by the state that they lead to."""
ACTIONS = (*_OF_ACTIONS, *_BY_ITSELF)
"""Actions that are told whatever state they lead to."""


def events_of(
    action: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, *, by_itself: bool = False
) -> tuple[str, ...]:
    """Names of the events that one row of the ledger tells of. `by_itself`: no person or service did it."""
    was, now = (before or {}).get("state"), (after or {}).get("state")
    found = [_OF_ACTIONS[action]] if action in _OF_ACTIONS else []
    found += [_BY_ITSELF[action]] if by_itself and action in _BY_ITSELF else []
    if now != was and action.startswith("change.") and now in _OF_CHANGES:
        found.append(_OF_CHANGES[now])
    if now != was and action.startswith("endpoint."):
        found += [_OF_ENDPOINTS[now]] if now in _OF_ENDPOINTS else []
        found += ["endpoint.recovered"] if now == "in_sync" and was in _TROUBLE else []
    return tuple(found)


MOST_URGENT, LEAST = "critical", "info"
"""Severities: what is told through quiet hours whatever the event, and what is told to nobody who did not ask for it."""
KEPT_FACTS = ("severity", "together", "tell", "test")
"""What an event keeps of the row's facts besides its state: how severe it is, under which key it is counted together with
others, whom an escalation calls, and whether it is a test, which reaches whoever made it too.
"""


def told_as(event: Event, facts: Mapping[str, Any]) -> Event:
    """The event as it is for these facts: what is critical is urgent."""
    return replace(event, urgent=True) if facts.get("severity") == MOST_URGENT else event


# -- what one may ask for

OBJECT_KINDS = ("", "model", "endpoint", "environment", "change")
MAX_NAME = 256
_ROUTE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def check_events(names: tuple[str, ...]) -> None:
    """Refusal for an event that does not exist; `*` stands for all of them."""
    unknown = [one for one in names if one not in SUBSCRIBABLE and one != "*"]
    if unknown or not names:
        what = f"{unknown[0][:40]!r} is no event." if unknown else "No event was named."
        raise Refusal(what, "`countersign notify events` lists them; `*` stands for all.", code="bad-event")


def check_object(kind: str, name: str) -> None:
    """Refusal for what nothing can be asked about."""
    if kind not in OBJECT_KINDS or bool(kind) != bool(name) or len(name) > MAX_NAME or not name.isprintable():
        raise Refusal(
            "This is nothing that one hears of.",
            "Name a model, an endpoint, an environment or a change's number, or leave it out for all.",
            code="bad-object",
        )


def check_name(name: str) -> None:
    """Refusal for a route's name that is no slug."""
    if not _ROUTE_NAME.fullmatch(name):
        raise Refusal(f"{name[:80]!r} is not a name of a route.", "Use small letters, digits and hyphens.", code="bad-name")


@dataclass(frozen=True)
class Interest:
    """What a subscription asks for."""

    events: tuple[str, ...]
    object_kind: str = ""
    object_name: str = ""

    def meets(self, event: str, known: Mapping[str, str | None]) -> bool:
        """Whether it asks for this event of this object; `known` names its model, endpoint, environment and change."""
        if event not in self.events and "*" not in self.events:
            return False
        return not self.object_kind or known[self.object_kind] == self.object_name


_MAILBOX = re.compile(r"[^\s,;:<>\"()\[\]\\@]{1,64}@[A-Za-z0-9.-]{1,190}")


def is_mailbox(text: str) -> bool:
    """Whether this is one plain mail address, so that neither a second recipient nor a header can stand in it."""
    return text.isascii() and _MAILBOX.fullmatch(text) is not None


# -- when it is tried again

MOST_ATTEMPTS = 9
LONGEST = timedelta(days=3)
"""Older than that, a message is not tried any more, however rarely its route was."""
_BASE, _FACTOR, _CAP = 5.0, 4.0, 21_600.0
_REST_BASE, _REST_CAP = 5.0, 300.0


def pause_after(attempts: int, jitter: float) -> timedelta:
    """How long a message waits after its n-th failed attempt: 5 s, 20 s, 80 s ... up to 6 h, and up to a fifth more or less."""
    return timedelta(seconds=min(_BASE * _FACTOR ** (attempts - 1), _CAP) * (0.8 + 0.4 * jitter))


def rest_after(failures: int, jitter: float) -> timedelta:
    """How long a route is left alone after n failures in a row, whatever waits for it: 5 s, 10 s ... up to 5 minutes."""
    return timedelta(seconds=min(_REST_BASE * 2.0 ** min(failures - 1, 10), _REST_CAP) * (0.8 + 0.4 * jitter))


def is_over(attempts: int, created_at: datetime, now: datetime) -> bool:
    """Whether a message that failed just now is given up."""
    return attempts >= MOST_ATTEMPTS or now - created_at > LONGEST


# -- what somebody else's text becomes

_DOT = re.compile(r"(?<=\w)\.(?=[^\W\d_])")
_EDGE_MARK = re.compile(r"(?<!\w)_+|_+(?!\w)")
_SWAPPED = str.maketrans(
    {"<": "‹", ">": "›", "[": "(", "]": ")", "{": "(", "}": ")", "`": "'", "*": "", "~": "", "|": "/", "\\": "/", "#": "",
     "!": "", "&": "+", "@": " at ", "$": "", "^": ""}
)  # fmt: skip


def harmless(text: str, longest: int = 120) -> str:
    """One line of somebody's text for a message: no header, markup, mention or link can come of it, in any receiver's language.

    Control, format and direction characters go; signs of markup become others or go; `://` and a dot before a letter are
    written so that nothing makes a link of them (`evil[.]com`).
    """
    kept = "".join(" " if unicodedata.category(one) in ("Cc", "Zl", "Zp") else one for one in text)
    kept = "".join(one for one in unicodedata.normalize("NFKC", kept) if one.isprintable())
    kept = " ".join(_EDGE_MARK.sub("", kept.translate(_SWAPPED)).split())
    kept = kept if len(kept) <= longest else kept[: longest - 1].rstrip() + "…"
    return _DOT.sub("[.]", kept.replace(":/", ": /"))
