"""Entity tags: what a caller looked at, so that a write can be held to it and an unchanged answer need not be sent again.

A tag is a digest over what a `GET` of the thing answers, without what merely ages. It is compared inside the unit of work that
writes, with the thing's row locked, so that nothing can come in between. Meaning of the header fields: RFC 9110, 13.1; of
428: RFC 6585, 3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeVar

import sqlalchemy as sa
from fastapi import Depends, Header, Request, Response
from pydantic import TypeAdapter
from sqlmodel import Session

from backend.access.checks import require_to_read
from backend.api.asking import Asks, Caller, Reading
from backend.core.canonical import digest_bytes
from backend.core.context import Actor
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit, joined

V = TypeVar("V")
AGES = frozenset(
    {
        "age_seconds",
        "seen_seconds",
        "seen_at",
        "next_look_at",
        "working",
        "seen",
        "last_used_at",
        "last_used_by",
        "used_at",
        "ok_at",
        "waiting",
        "last_seen_at",
        "last_says",
        "times",
        "clean_since",
        "latest_evidence",
        "fares",
        "latest_runs",
        "signed_in_at",
        "open_sessions",
        "good_tokens",
        "token_used_at",
        "running_day",
    }
)
"""Fields that move by themselves while nothing is decided or found: no part of a tag."""

_ONE = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')


class NotModified(Exception):
    """What was asked for is as the caller has it."""

    def __init__(self, tag: str) -> None:
        super().__init__(tag)
        self.tag = tag


class ConditionFailed(Refusal):
    """It is not as the caller saw it any more (412), or the caller does not say what it saw (428)."""


@dataclass(frozen=True)
class Sent:
    """The tags of one header field. `any`: `*` was sent."""

    tags: frozenset[str]
    any: bool = False

    def holds(self, tag: str | None, *, weakly: bool = False) -> bool:
        """Whether the present tag (None: there is no such thing) is among them; weak ones count only where that is said."""
        if self.any or tag is None:
            return self.any and tag is not None
        return tag in self.tags or (weakly and f"W/{tag}" in self.tags)


def parse(text: str, name: str) -> Sent:
    """The tags of a header field. Refusal `bad-tag` for anything else."""
    if text.strip() == "*":
        return Sent(frozenset(), any=True)
    if not _ONE.search(text) or _ONE.sub("", text).strip(" \t,"):
        raise Refusal(
            f"{name} is no list of entity tags.",
            "Send the `ETag` of what you looked at, with its quotes, or `*`.",
            code="bad-tag",
        )
    return Sent(frozenset(match[0] for match in _ONE.finditer(text)))


def tag_of(view: object) -> str:
    """The strong tag of what is answered."""
    plain = TypeAdapter(type(view)).dump_python(view, mode="json")
    text = json.dumps(_settled(plain), sort_keys=True, separators=(",", ":"))
    return f'"{digest_bytes(text.encode()).removeprefix("sha256:")[:32]}"'


def _settled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _settled(one) for name, one in value.items() if name not in AGES}
    return [_settled(one) for one in value] if isinstance(value, list | tuple) else value


class Looks:
    """For a `GET`: answers with the tag, or not at all where the caller has it."""

    def __init__(self, request: Request, response: Response) -> None:
        self._request, self._response = request, response

    def __call__(self, view: V) -> V:
        """The answer, unless `If-None-Match` names it."""
        tag = tag_of(view)
        self._response.headers["etag"] = tag
        lines = self._request.headers.getlist("if-none-match")
        if lines and parse(", ".join(lines), "If-None-Match").holds(tag, weakly=True):
            raise NotModified(tag)
        return view


class Writes:
    """For a write: holds it to what the caller looked at."""

    def __init__(self, request: Request, response: Response, asks: Caller) -> None:
        self._response, self._asks = response, asks
        lines = request.headers.getlist("if-match")
        self.sent = parse(", ".join(lines), "If-Match") if lines else None
        lines = request.headers.getlist("if-none-match")
        self.absent = bool(lines) and parse(", ".join(lines), "If-None-Match").any

    @contextmanager
    def held(
        self, action: str | None, show: Callable[[Reading, Actor], object], row: sa.Select[Any] | None, *, needed: bool = False
    ) -> Iterator[None]:
        """Whatever is written meanwhile is written only if the thing is as the caller saw it.

        Args:
            action: what it takes to look at it; None for what is one's own, which `show` itself sees to.
            show: what a `GET` of it answers; NotFound or None where there is no such thing.
            row: finds the row that stands for it, which is locked.
            needed: whether the caller has to say what it saw, because a blind write would lose somebody else's.
        """
        if self.sent is None and not self.absent and not needed:
            yield
            return
        with joined(_Condition(self._asks.actor, action, show, row, self)):
            yield

    def expected(self, tag: str | None) -> None:
        """Refusal unless the thing with this tag (None: there is none) is what the caller means."""
        if self.sent is None and not self.absent:
            raise ConditionFailed(
                "This would replace what others may have written meanwhile.",
                "Send `If-Match` with the `ETag` of what you looked at; `*` for whatever is there."
                if tag is not None
                else "Send `If-None-Match: *`: there is no such thing yet.",
                code="condition-needed",
            )
        good = self.sent.holds(tag) if self.sent is not None else tag is None
        if not good:
            raise ConditionFailed(
                "It is not as you saw it any more.", "Read it again, then repeat this if it still makes sense.", code="stale"
            )

    def answer(self, view: V) -> V:
        """What it came to, with its tag."""
        self._response.headers["etag"] = tag_of(view)
        return view


class _Condition:
    """Compares when the command has done everything else, against what was there when its unit began."""

    def __init__(
        self,
        actor: Actor,
        action: str | None,
        show: Callable[[Reading, Actor], object],
        row: sa.Select[Any] | None,
        writes: Writes,
    ) -> None:
        self._actor, self._action, self._show, self._row, self._writes = actor, action, show, row, writes
        self._tag: str | None = None

    def opened(self, tx: Unit) -> None:
        if tx.actor.id != self._actor.id:
            return
        if self._row is not None:
            tx.session.connection().execute(self._row.with_for_update())
        self._tag = self._seen(tx)

    def sealing(self, tx: Unit) -> None:
        if tx.actor.id == self._actor.id:
            self._writes.expected(self._tag)

    def _seen(self, tx: Unit) -> str | None:
        """As the caller sees it, on the unit's own connection: narrowing the unit's session would narrow the command."""
        with Session(bind=tx.session.connection(), join_transaction_mode="rollback_only") as session:
            try:
                if self._action is not None:
                    require_to_read(session, self._actor, self._action, now=tx.now)
                view = self._show(Reading(session, tx.now), self._actor)
            except NotFound:
                return None
            except Refusal as refusal:  # whoever may not look may not write either, which the command says better
                if refusal.code == "not-allowed":
                    return None
                raise
        return tag_of(view) if view is not None else None


IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match", max_length=2_000,
        description="`ETag` of what the caller has: 304 without a body while it is still so.",
    ),
]  # fmt: skip
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match", max_length=2_000,
        description="`ETag` of what the caller looked at: 412 `stale`, and nothing is done, when it is another by now.",
    ),
]  # fmt: skip


def _looks(request: Request, response: Response, _tags: IfNoneMatch = None) -> Looks:
    return Looks(request, response)


def _writes(request: Request, response: Response, asks: Asks, _tags: IfMatch = None) -> Writes:
    return Writes(request, response, asks)


def _fresh(response: Response) -> Callable[[V], V]:
    def told(view: V) -> V:
        response.headers["etag"] = tag_of(view)
        return view

    return told


class Tells(Protocol):
    """Answers with the tag of what was made."""

    def __call__(self, view: V) -> V:
        """The same view."""
        ...


Tagged = Annotated[Looks, Depends(_looks)]
Fresh = Annotated[Tells, Depends(_fresh)]
Held = Annotated[Writes, Depends(_writes)]
