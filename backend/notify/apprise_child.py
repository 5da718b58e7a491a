"""A process of its own in which Apprise sends: what the guard is for our own calls, an audit hook is for everything in here.

Apprise's services make their calls themselves, past the guard and its clients. So they run where Python asks before each
connection: a hook of `sys.addaudithook` cannot be taken away again, and what it refuses does not happen, whichever library
asks (Python's documentation, "Audit events table"). Connected is only to an address that the guard permits, and it is asked of
the very address that is connected to, so that a second answer of a name server changes nothing. No file is read but the
program's own and the system's certificates, nothing is written, no process started, no redirect followed, no proxy of an
environment used.

    python -m backend.notify.apprise_child    # first line: what the guard is told; then an order a line, and an answer a line

It is given no environment and no argument: an address with its password is in no list of processes.
"""

from __future__ import annotations

import importlib
import ipaddress
import json
import os
import smtplib
import socket
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from backend.core.confined import Confinement
from backend.core.outbound import Guard
from backend.notify.apprise_names import MAIL, SERVICES

NOT_ALLOWED = "address-not-allowed"


class Watch(Confinement):
    """The hook, and what it and the libraries saw of one order."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(purpose="messages")
        self._guard = guard
        self.refused = False
        self.status: int | None = None
        self.is_mail = False
        self._mails = False

    def begin(self, scheme: str, closed: Iterable[tuple[str, int]] = ()) -> None:
        """A new order, and where it must not go."""
        there = [(name, port) for name, port in closed]
        self._guard.closed = lambda: there
        self.refused, self.status, self.is_mail = False, None, False
        self._mails = scheme in MAIL

    def connect(self, address: Any) -> None:
        """Only where the guard permits."""
        try:
            found = ipaddress.ip_address(str(address[0]).split("%")[0])
            known = self._guard.permits(found)
            permitted = known and (self._mails or self._guard.permits_port(int(address[1])))  # the guard's ports are HTTP's
            permitted = permitted and not self._guard.is_closed([found], int(address[1]))
        except (ValueError, TypeError, IndexError):
            permitted = False
        if not permitted:
            self.refused = True
            raise PermissionError("this address is not allowed")


def _prepare(watch: Watch) -> None:
    """Loads what is needed by every service, notes what receivers answer, and takes redirects away."""
    import requests

    plain, reply = requests.Session.send, smtplib.SMTP.getreply

    def send(self: Any, request: Any, **options: Any) -> Any:
        response = plain(self, request, **{**options, "allow_redirects": False})
        watch.status = response.status_code
        return response

    def getreply(self: Any) -> tuple[int, bytes]:
        code, says = reply(self)
        watch.is_mail = True
        watch.status = max(code, watch.status or 0) if code >= 400 else watch.status or code
        return code, says

    requests.Session.send = send  # type: ignore[method-assign]
    smtplib.SMTP.getreply = getreply  # type: ignore[method-assign]
    socket.getfqdn = lambda name="": "countersign.invalid"  # a mail server is not told this machine's name


def _scheme(order: dict[str, Any]) -> str:
    return str(order["address"]).partition("://")[0].lower()


def _service(order: dict[str, Any]) -> Any:
    """The one service that an order names, made of its address; None where the address says nothing to it."""
    from apprise import AppriseAsset

    module, name = SERVICES[_scheme(order)]
    kind = getattr(importlib.import_module(f"apprise.plugins.{module}"), name)
    read = kind.parse_url(str(order["address"]).replace("/#", "/%23"))  # a channel's name, as Apprise itself reads it
    if not read:
        return None
    if order.get("to"):
        read["targets"] = [order["to"]]
    if name == "NotifyEmail":
        read["format"] = "text"
    asset = AppriseAsset(async_mode=False, secure_logging=True, interpret_emojis=False)
    return kind(**{**read, "asset": asset, "redirect": False})


def _answer(order: dict[str, Any], watch: Watch) -> dict[str, Any]:
    from apprise import NotifyFormat, NotifyType

    watch.begin(_scheme(order), order.get("closed", ()))
    try:
        service = _service(order)
        if service is None:
            return {"ok": False, "code": "bad-address"}
        if order.get("only_read"):
            return {"ok": True}
        done = service.notify(
            body=order["body"], title=order["title"], notify_type=NotifyType.INFO, body_format=NotifyFormat.TEXT
        )
    except Exception as error:  # what a service's own text says may hold the address
        code = "bad-address" if order.get("only_read") or isinstance(error, TypeError) else "failed"
        return {"ok": False, "code": NOT_ALLOWED if watch.refused else code, "status": watch.status, "mail": watch.is_mail}
    code = "" if done else NOT_ALLOWED if watch.refused else "failed"
    return {"ok": bool(done), "code": code, "status": watch.status, "mail": watch.is_mail}


def main(orders: TextIO, answers: TextIO) -> None:
    """Answers every order with one line, until there are no more."""
    told = json.loads(orders.readline())
    watch = Watch(Guard(told["networks"], ports=told["ports"]))
    import apprise  # noqa: F401 - loaded before the hook, which lets nothing be written

    _prepare(watch)
    sys.dont_write_bytecode = True
    sys.addaudithook(watch)
    for line in orders:
        print(json.dumps(_answer(json.loads(line), watch)), file=answers, flush=True)


if __name__ == "__main__":
    _out = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr
    main(sys.stdin, _out)
