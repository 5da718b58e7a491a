"""`/routers`: what sends callers to servers, each with what it can do."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field
from sqlmodel import Session

from backend.api.asking import Asks, Name, Page, Paged, name_of
from backend.api.once import Making
from backend.api.placed import Forgetting, Kind, Place, Placed, WithCredential
from backend.api.tags import Fresh, Held, Tagged
from backend.delivery import queries
from backend.delivery.queries import RouterLine
from backend.delivery.rows import RouterRow
from backend.delivery.servers import InspectedRouter

router = APIRouter(prefix="/routers", tags=["routers"])
RouterName = Annotated[str, Path(max_length=256, description="The router's name.", examples=["envoy"])]


class NewRouter(WithCredential):
    """A router to be added. Nothing is called by adding it."""

    name: Name = Field(examples=["envoy"])
    kind: Kind = Field(description="The kind of router.", examples=["envoy"])
    settings: dict[str, Any] = Field(description="What that kind needs.", examples=[{"folder": "/srv/envoy"}])
    public_url: Place = Field(description="Where callers reach its endpoints.", examples=["http://127.0.0.1:10000"])


class RouterEdit(WithCredential):
    """What shall be different; what is not sent stays."""

    settings: dict[str, Any] | None = None
    public_url: Place | None = None
    forget_credential: Forgetting = False


def _find(session: Session, name: str) -> RouterLine | None:
    return next((one for one in queries.routers(session) if one.name == name), None)


_ONE = Placed(RouterRow, _find)


@router.get("")
def list_routers(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[RouterLine]:
    """Routers by name, with how many endpoints stand behind each. No credential is ever told."""
    with asks.reading("endpoint.read") as look:
        items, following = narrow.cut(queries.routers(look.session), lambda one: (one.name,))
    return Page(items=items, next=following)


@router.post("", status_code=201)
def create_router(asks: Asks, fresh: Fresh, once: Making, sent: NewRouter, response: Response) -> RouterLine:
    """Adds a router. Nothing is called: testing it does."""
    made = once.make(RouterRow, lambda: asks.backend.servers.register_router(asks.actor, **sent.told()).id)
    with asks.reading("endpoint.read") as look:
        name = name_of(look, RouterRow, made.id)
    response.headers["location"] = f"/api/v1/routers/{quote(name, safe='')}"
    return fresh(_ONE.view(asks, name))


@router.get("/{router_name}")
def show_router(asks: Asks, router_name: RouterName, tagged: Tagged) -> RouterLine:
    """One router, and how many endpoints stand behind it."""
    return tagged(_ONE.view(asks, router_name))


@router.patch("/{router_name}")
def edit_router(asks: Asks, held: Held, router_name: RouterName, sent: RouterEdit) -> RouterLine:
    """Changes what is sent; needs `If-Match`.

    Under managed endpoints whose changes need approvals, another place waits in `move` until somebody else confirms it.
    """
    with _ONE.seen(held, router_name):
        asks.backend.servers.edit_router(asks.actor, router_name, revision=_ONE.revision(asks, router_name), **sent.told())
    return held.answer(_ONE.view(asks, router_name))


@router.delete("/{router_name}", status_code=204)
def remove_router(asks: Asks, held: Held, router_name: RouterName) -> None:
    """Forgets a router that no endpoint stands behind. Nothing is called; what runs there goes on running."""
    with _ONE.seen(held, router_name, needed=False):
        asks.backend.servers.remove_router(asks.actor, router_name)


@router.post("/{router_name}/move/confirm")
def confirm_router_move(asks: Asks, held: Held, router_name: RouterName) -> RouterLine:
    """Applies a move that somebody else asked for, as it was entered; needs `If-Match`, so that it is the one that was seen."""
    with _ONE.seen(held, router_name):
        asks.backend.servers.confirm_router_move(asks.actor, router_name, revision=_ONE.revision(asks, router_name))
    return held.answer(_ONE.view(asks, router_name))


@router.post("/{router_name}/move/drop")
def drop_router_move(asks: Asks, held: Held, router_name: RouterName) -> RouterLine:
    """Gives up a move that waits; the router stays where it is. Needs `If-Match`."""
    with _ONE.seen(held, router_name):
        asks.backend.servers.drop_router_move(asks.actor, router_name, revision=_ONE.revision(asks, router_name))
    return held.answer(_ONE.view(asks, router_name))


@router.post("/{router_name}/test")
def test_router(asks: Asks, router_name: RouterName) -> InspectedRouter:
    """Asks a router what it is; 503 when it cannot be reached."""
    return asks.backend.servers.test_router(asks.actor, router_name)
