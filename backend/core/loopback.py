"""Whether a name means this machine itself."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host names this machine itself: `localhost`, 127.0.0.0/8 or ::1. Any other name is not looked up.

    `backend.client` has its own: it stands on nothing of this house.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
