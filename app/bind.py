"""Where the web app may listen: on this machine alone, as long as there is no single sign-on."""

from __future__ import annotations

import ipaddress

from backend.core.errors import Refusal


def is_loopback(host: str) -> bool:
    """Whether a host names this machine itself: `localhost`, 127.0.0.0/8 or ::1. Any other name is not looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_bind(address: str | None) -> None:
    """Refusal for any address but loopback. None and "" mean every address of the machine."""
    if address and is_loopback(address):
        return
    raise Refusal(
        f"Countersign will not listen on {address or 'every address'}: there is no single sign-on yet, so anybody who can "
        "reach it could act as anybody.",
        "Start it with `--host 127.0.0.1`, and reach it from elsewhere through an SSH tunnel.",
        code="open-bind",
    )
