"""`/outgoing`: where this installation may call, as the settings say, and whether one address would be called."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from backend.api.asking import Asks, Plain, Sent, Shown
from backend.core.errors import Refusal
from backend.core.outbound import Guard

router = APIRouter(prefix="/outgoing", tags=["outgoing"])
Url = Annotated[
    str, StringConstraints(min_length=1, max_length=2_000), Plain, Field(examples=["https://triton.example.com:8000"])
]
NOT_CALLED = frozenset({"address-not-allowed", "port-not-allowed"})
"""What the guard says of an address that could be called and is not."""


class WayOutView(Shown):
    """What one kind of call reaches besides public addresses."""

    allowed: tuple[str, ...] = Field(description="Private ranges that are called; none: public addresses alone.")
    setting: str = Field(description="Where whoever runs this lists them.")


class PortsView(Shown):
    """Which ports are called."""

    allowed: str = Field(description="As written, as `443,8000-8002`; empty: all but those of other protocols.")
    setting: str


class OutgoingView(Shown):
    """The lists as they were loaded. They are settings of the process: nothing here changes them."""

    servers: WayOutView = Field(description="Of servers, routers, the registry and providers.")
    messages: WayOutView = Field(
        description="Of messages on people's routes, which go besides to no server, no router and nothing of Countersign's own."
    )
    ports: PortsView


class AskedAddress(Sent):
    """An address that a server may have."""

    url: Url


class JudgedView(Shown):
    """Whether it would be called, and why not. Nothing was called: its name was looked up."""

    allowed: bool
    address: str | None = Field(description="The very address that would be called; null where none would.")
    code: str = Field(description='The code of the refusal, "" where it is allowed.', examples=[""])
    says: str = Field(description="Why not.", examples=[""])
    remedy: str = Field(description="What to do about it.", examples=[""])


@router.get("")
def show_outgoing(asks: Asks) -> OutgoingView:
    """Where this installation may call: private ranges for servers and for messages, and ports."""
    with asks.reading("policy.read"):
        backend = asks.backend
    ports = PortsView(allowed=backend.settings.allowed_ports, setting="COUNTERSIGN_ALLOWED_PORTS")
    return OutgoingView(servers=_way(backend.guard), messages=_way(backend.message_guard), ports=ports)


@router.post("/check")
def check_outgoing(asks: Asks, sent: AskedAddress) -> JudgedView:
    """Would this address of a server be called? Its name is looked up, and nothing is called; 503 where it has no address."""
    try:
        address = asks.backend.servers.check_address(asks.actor, sent.url)
    except Refusal as refusal:
        if refusal.code not in NOT_CALLED:
            raise
        return JudgedView(allowed=False, address=None, code=refusal.code, says=refusal.message, remedy=refusal.remedy)
    return JudgedView(allowed=True, address=address, code="", says="", remedy="")


def _way(guard: Guard) -> WayOutView:
    return WayOutView(allowed=tuple(map(str, guard.allowed)), setting=guard.setting)
