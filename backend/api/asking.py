"""Who asks, and what every operation looks into: the dependency of all routers, pages of lists, words that may be sent."""

from __future__ import annotations

import re
from collections import Counter, abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin

from fastapi import Depends, Path, Query, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPBearer
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from sqlmodel import Session, select

from backend.access.checks import require_to_read
from backend.bootstrap import Backend
from backend.core.columns import Row
from backend.core.context import Actor
from backend.core.errors import NotFound, Refusal
from backend.core.moments import in_utc
from backend.registry.keys import read_key, write_key

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item
_FIRST_YEAR, _LAST_YEAR = 1900, 9000
_WRITTEN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].*")


def _written(value: Any) -> Any:
    """A moment is written out: a bare number would be taken for seconds since 1970."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and _WRITTEN.fullmatch(value)):
        raise ValueError("write a moment as 2026-03-01T06:00:00Z")
    return value


def _of_our_time(at: datetime) -> datetime:
    """Far enough from both ends of the calendar for spans to be counted from it."""
    moment = in_utc(at)
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise Refusal(f"This moment lies before {_FIRST_YEAR} or after {_LAST_YEAR}.", "Write another time.", code="bad-time")
    return moment


Instant = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_of_our_time)]
"""A moment that was sent, in UTC."""
_BEARER = HTTPBearer(
    scheme_name="token",
    bearerFormat="cst_<id>_<secret>",
    description="A token of an identity: `countersign token create`. It acts as that identity, with the roles of the moment.",
    auto_error=False,
)


@dataclass(frozen=True)
class Reading:
    """One consistent look at the database, and the time at which it was taken."""

    session: Session
    now: datetime


@dataclass(frozen=True)
class Caller:
    """The services, and the identity on whose behalf a request came."""

    backend: Backend
    actor: Actor

    @contextmanager
    def reading(self, action: str) -> Iterator[Reading]:
        """A look by somebody who may do `action`; else Refusal."""
        database = self.backend.database
        with database.read() as session:
            now = database.now(session)
            require_to_read(session, self.actor, action, now=now)
            yield Reading(session, now)

    @contextmanager
    def looking(self) -> Iterator[Reading]:
        """A look at what is the caller's own, for which no action is asked: the query says itself whose it shows."""
        database = self.backend.database
        with database.read() as session:
            yield Reading(session, database.now(session))

    def long_reading(self, action: str) -> Iterator[Session]:
        """The same look, held until the iterator is asked once more: for an answer that is sent while it is read."""
        with self.reading(action) as look:
            yield look.session


_PROMISES = ("Idempotency-Key", "If-Match")
"""Fields of a command's head that promise something to whoever sends them."""


def _caller(request: Request) -> Caller:
    _refuse_what_is_not_taken(request)
    return Caller(request.app.state.backend(), request.state.actor)


def _refuse_what_is_not_taken(request: Request) -> None:
    """What an operation does not take is refused, and so is what it takes once and is sent twice: which one would be meant?"""
    route = request.scope["route"]
    sent = Counter(name for name, _ in request.query_params.multi_items())
    known = _query_of(route.dependant) if sent else {}
    for name, times in sent.items():
        if name not in known:
            raise _not_taken(f"query.{name[:60]}", "is not taken here")
        if times > 1 and not known[name]:
            raise _not_taken(f"query.{name[:60]}", "is taken once")
    takes_body = route.body_field is not None or "requestBody" in (route.openapi_extra or {})
    if getattr(request.state, "has_body", False) and not takes_body:
        raise _not_taken("body", "is not taken here")
    promised = [one for one in _PROMISES if one in request.headers and request.method != "GET"]
    for field in set(promised) - (_fields_of(route.dependant) if promised else set()):
        raise _not_taken(f"header.{field}", "is not taken here")


def _fields_of(dependant: Dependant) -> set[str]:
    """The header fields that an operation takes."""
    own = {one.alias for one in dependant.header_params}
    return own.union(*(_fields_of(each) for each in dependant.dependencies))


def _query_of(dependant: Dependant) -> dict[str, bool]:
    """The query parameters that an operation takes, and whether each may be sent several times: as the document says.

    Told from the operation itself: drawing the document takes a second, for which each command of the shell would wait.
    """
    found: dict[str, bool] = {}
    for each in dependant.dependencies:
        found |= _query_of(each)
    for one in dependant.query_params:
        annotation = one.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found |= {each.alias or name: _is_several(each.annotation) for name, each in annotation.model_fields.items()}
        else:
            found[one.alias] = _is_several(annotation)
    return found


def _is_several(annotation: Any) -> bool:
    return get_origin(annotation) in (list, tuple, abc.Sequence) or any(map(_is_several, get_args(annotation)))


def _not_taken(where: str, says: str) -> Refusal:
    return Refusal(
        f"{where}: {says}.",
        "Leave it out, or correct it; the OpenAPI document says what each operation takes.",
        code="bad-request",
    )


Asks = Annotated[Caller, Depends(_caller)]
"""Every operation but health and readiness takes one."""
TOKEN = [Security(_BEARER)]
"""For the OpenAPI document alone: the guard has asked for the token already."""


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("a text holds no NUL character")
    return text


Plain = AfterValidator(_without_nul)


class Sent(BaseModel):
    """Base of what is sent: exactly the named fields, each of its own type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Reasoned(Sent):
    """Why something is done."""

    reason: Annotated[
        str,
        StringConstraints(max_length=2_000),
        Plain,
        Field(description="Why, in a sentence, for the ledger.", examples=["Left the company"]),
    ] = ""


NO_REASON = Reasoned()


class Narrow(BaseModel):
    """Base of what a list is narrowed by: a name that does not exist is refused, never passed over."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shown(BaseModel):
    """Base of what is answered; it is read from the services' own views."""

    model_config = ConfigDict(from_attributes=True)


After = Annotated[str | None, Field(max_length=2_000, description="The next page: `next` of the page before.", examples=[None])]
Limit = Annotated[int, Field(ge=1, le=200, description="How many at most.")]


class Page(BaseModel, Generic[T]):
    """Some of a list, and how to ask for what follows."""

    items: tuple[T, ...]
    next: str | None = Field(description="What to send as `after` for the next page; null at the end.")


def page_of(items: Sequence[Any], limit: int, key: Any) -> tuple[Sequence[Any], str | None]:
    """Of one more than a page: the page, and the key of its last line where more follows."""
    return (items[:limit], str(key(items[limit - 1]))) if len(items) > limit else (items, None)


def name_of(look: Reading, table: type[Row], identifier: str) -> str:
    """What the row of an id is called now. NotFound, also for what the look does not show."""
    row = look.session.exec(select(table).where(table.id == identifier)).one_or_none()  # type: ignore[attr-defined]
    if row is None:
        raise NotFound(table.__subject__, identifier[:60], "It is not there any more.")
    return str(row.name)  # type: ignore[attr-defined]


class Paged(Narrow):
    """Which page of a list."""

    after: After = None
    limit: Limit = 100

    def cut(
        self, items: Iterable[I], key: Callable[[I], tuple[str | int | datetime, ...]], *, newest_first: bool = False
    ) -> tuple[tuple[I, ...], str | None]:
        """This page of a list that was read whole, in the order of `key`, and what the next one is asked with."""
        ordered = sorted(items, key=key, reverse=newest_first)
        if self.after is not None:
            ordered = [one for one in ordered if _follows(key(one), self.after, backwards=newest_first)]
        return tuple(ordered[: self.limit]), write_key(*key(ordered[self.limit - 1])) if len(ordered) > self.limit else None


def _follows(key: tuple[str | int | datetime, ...], after: str, *, backwards: bool) -> bool:
    last = read_key(after, *(type(part) for part in key))
    return key < last if backwards else key > last


Name = Annotated[str, StringConstraints(min_length=1, max_length=256), Plain]
Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2_000),
    Plain,
    Field(description="Why, in a sentence.", examples=["Worse at night"]),
]
Why = Annotated[
    str, StringConstraints(max_length=2_000), Plain, Query(description="For the ledger.", examples=["The repository moved"])
]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Whole = Annotated[int, Field(ge=1, le=2**31 - 1)]

Ref = Annotated[
    str, Path(pattern=r"^([0-9]{1,9}|chg_[0-9a-z]{26})$", description="A change's number, or its id.", examples=["7"])
]
ModelName = Annotated[str, Path(max_length=256, description="The registered model's name.", examples=["flight-delay"])]
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="The version's number.", examples=[2])]
EndpointName = Annotated[str, Path(max_length=256, description="The endpoint's name.", examples=["flight-delay"])]
