"""`/servers`: where models run, what each is and can do, and what runs there that nobody approved."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field
from sqlmodel import Session

from backend.api.asking import Asks, Name, Page, Paged, Shown, name_of
from backend.api.endpoints import UnmanagedModel
from backend.api.once import Making
from backend.api.placed import Forgetting, Kind, Place, Placed, WithCredential
from backend.api.tags import Fresh, Held, Tagged
from backend.delivery import queries
from backend.delivery.queries import ServerLine, Stranger
from backend.delivery.rows import Server
from backend.delivery.servers import InspectedServer

router = APIRouter(prefix="/servers", tags=["servers"])
ServerName = Annotated[str, Path(max_length=256, description="The server's name.", examples=["triton"])]


class ServerView(Shown):
    """One server, and what was last seen under its endpoints' names without any approval."""

    server: ServerLine
    unmanaged: tuple[Stranger, ...]


class NewServer(WithCredential):
    """A server to be added. Nothing is called by adding it."""

    name: Name = Field(examples=["triton"])
    kind: Kind = Field(description="The kind of runtime.", examples=["triton"])
    settings: dict[str, Any] = Field(description="What that kind needs.", examples=[{"url": "http://127.0.0.1:8000"}])
    upstream: Place = Field(description="`host:port` at which routers reach it.", examples=["127.0.0.1:8000"])


class ServerEdit(WithCredential):
    """What shall be different; what is not sent stays."""

    settings: dict[str, Any] | None = None
    upstream: Place | None = None
    forget_credential: Forgetting = False


def _find(session: Session, name: str) -> ServerView | None:
    line = next((one for one in queries.servers(session) if one.name == name), None)
    return ServerView(server=line, unmanaged=queries.unmanaged(session, name)) if line is not None else None


_ONE = Placed(Server, _find)


@router.get("")
def list_servers(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[ServerLine]:
    """Servers by name, with how many endpoints stand on each and when it last answered. No credential is ever told."""
    with asks.reading("endpoint.read") as look:
        items, following = narrow.cut(queries.servers(look.session), lambda one: (one.name,))
    return Page(items=items, next=following)


@router.post("", status_code=201)
def create_server(asks: Asks, fresh: Fresh, once: Making, sent: NewServer, response: Response) -> ServerView:
    """Adds a server. Nothing is called: testing it does."""
    made = once.make(Server, lambda: asks.backend.servers.register(asks.actor, **sent.told()).id)
    with asks.reading("endpoint.read") as look:
        name = name_of(look, Server, made.id)
    response.headers["location"] = f"/api/v1/servers/{quote(name, safe='')}"
    return fresh(_ONE.view(asks, name))


@router.get("/{server}")
def show_server(asks: Asks, server: ServerName, tagged: Tagged) -> ServerView:
    """One server, and what runs under its endpoints' names without any approval."""
    return tagged(_ONE.view(asks, server))


@router.patch("/{server}")
def edit_server(asks: Asks, held: Held, server: ServerName, sent: ServerEdit) -> ServerView:
    """Changes what is sent; needs `If-Match`.

    Under managed endpoints whose changes need approvals, another place waits in `move` until somebody else confirms it.
    """
    with _ONE.seen(held, server):
        asks.backend.servers.edit(asks.actor, server, revision=_ONE.revision(asks, server), **sent.told())
    return held.answer(_ONE.view(asks, server))


@router.delete("/{server}", status_code=204)
def remove_server(asks: Asks, held: Held, server: ServerName) -> None:
    """Forgets a server that no endpoint stands on. Nothing is called; what runs there goes on running."""
    with _ONE.seen(held, server, needed=False):
        asks.backend.servers.remove(asks.actor, server)


@router.post("/{server}/move/confirm")
def confirm_server_move(asks: Asks, held: Held, server: ServerName) -> ServerView:
    """Applies a move that somebody else asked for, as it was entered; needs `If-Match`, so that it is the one that was seen."""
    with _ONE.seen(held, server):
        asks.backend.servers.confirm_move(asks.actor, server, revision=_ONE.revision(asks, server))
    return held.answer(_ONE.view(asks, server))


@router.post("/{server}/move/drop")
def drop_server_move(asks: Asks, held: Held, server: ServerName) -> ServerView:
    """Gives up a move that waits; the server stays where it is. Needs `If-Match`."""
    with _ONE.seen(held, server):
        asks.backend.servers.drop_move(asks.actor, server, revision=_ONE.revision(asks, server))
    return held.answer(_ONE.view(asks, server))


@router.post("/{server}/test")
def test_server(asks: Asks, server: ServerName) -> InspectedServer:
    """Asks a server what it is; 503 when it cannot be reached."""
    return asks.backend.servers.test(asks.actor, server)


@router.post("/{server}/unmanaged")
def list_unmanaged_models(asks: Asks, server: ServerName) -> Page[UnmanagedModel]:
    """Asks a server what runs there now under names of no endpoint. It is never touched."""
    found = asks.backend.servers.unmanaged(asks.actor, server)
    return Page(items=tuple(map(UnmanagedModel.model_validate, found)), next=None)
