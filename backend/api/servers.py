"""`/servers`: where models run, what each is and can do, and what runs there that nobody approved."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from backend.api.asking import Asks, Shown
from backend.core.errors import NotFound
from backend.delivery import queries
from backend.delivery.queries import ServerLine, Stranger
from backend.delivery.servers import InspectedServer

router = APIRouter(prefix="/servers", tags=["servers"])
ServerName = Annotated[str, Path(max_length=256, description="The server's name.", examples=["triton"])]


class ServerView(Shown):
    """One server, and what was last seen under its endpoints' names without any approval."""

    server: ServerLine
    unmanaged: tuple[Stranger, ...]


@router.get("")
def list_servers(asks: Asks) -> tuple[ServerLine, ...]:
    """Servers by name, with how many endpoints stand on each and when it last answered. No credential is ever told."""
    with asks.reading("endpoint.read") as look:
        return queries.servers(look.session)


@router.get("/{server}")
def show_server(asks: Asks, server: ServerName) -> ServerView:
    """One server, and what runs under its endpoints' names without any approval."""
    with asks.reading("endpoint.read") as look:
        line = next((one for one in queries.servers(look.session) if one.name == server), None)
        if line is None:
            raise NotFound("server", server)
        return ServerView(server=line, unmanaged=queries.unmanaged(look.session, server))


@router.post("/{server}/test")
def check_server(asks: Asks, server: ServerName) -> InspectedServer:
    """Asks a server what it is; 503 when it cannot be reached."""
    return asks.backend.servers.test(asks.actor, server)
