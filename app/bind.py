"""Where the web app may listen: on this machine alone, unless everybody has to sign in."""

from __future__ import annotations

from collections.abc import MutableMapping

from backend.core.errors import Refusal
from backend.core.loopback import is_loopback


def check_bind(address: str | None, *, signs_in: bool = False, demo: bool = False) -> None:
    """Refusal for any address but loopback, unless people sign in and nobody can act as a demo identity.

    None and "" mean every address of the machine.

    Args:
        signs_in: whether single sign-on is set up (COUNTERSIGN_SIGN_IN_FILE).
        demo: whether the demo identities are switched on.
    """
    if (address and is_loopback(address)) or (signs_in and not demo):
        return
    why = "the demo identities are switched on" if signs_in else "there is no single sign-on"
    raise Refusal(
        f"Countersign will not listen on {address or 'every address'}: {why}, so anybody who can "
        "reach it could act as anybody.",
        "Unset COUNTERSIGN_DEMO_IDENTITIES."
        if signs_in
        else "Set up sign-in (COUNTERSIGN_SIGN_IN_FILE), or start it with `--host 127.0.0.1` and reach it from elsewhere "
        "through an SSH tunnel.",
        code="open-bind",
    )


def believe_no_proxy(environment: MutableMapping[str, str]) -> None:
    """Lets what a request says of its own sender count for nothing, unless whoever runs this names the proxies to believe.

    uvicorn takes the sender's address from `X-Forwarded-For` of whoever calls from loopback (`Config.forwarded_allow_ips`, in
    0.54 from this variable, else 127.0.0.1 and ::1). A proxy that passes on what it was sent would let anybody choose the
    address at which wrong tokens are counted.
    """
    environment.setdefault("FORWARDED_ALLOW_IPS", "")
