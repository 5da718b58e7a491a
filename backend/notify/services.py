"""Sending by Apprise: one process of its own for a handful of messages, which ends with them (`apprise_child`)."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard, addresses_of
from backend.core.unit import assert_outside_unit
from backend.notify import apprise_names
from backend.notify.answers import Answer, of_mail, of_status

TIMEOUT_SECONDS = 45.0
_ROOT = Path(__file__).resolve().parents[2]


class Services:
    """A running process; made on the first order, ended by `close` or when one order takes too long.

    Args:
        guard: where calls may go; the process gets one that is told the same.
    """

    def __init__(self, guard: Guard, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._bounds = {"networks": [str(one) for one in guard.allowed], "ports": ",".join(map(str, sorted(guard.ports)))}
        self._guard, self._timeout = guard, timeout
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Services:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def check(self, address: str) -> None:
        """Refusal unless the service that an address names can read it. Nothing is sent."""
        apprise_names.check(address)
        self._refuse_closed(address)
        if not self._ask({"address": address, "only_read": True}).get("ok"):
            raise Refusal(
                "The service does not understand this address.",
                "Write it as Apprise's documentation has it for this service.",
                code="bad-address",
            )

    def send(self, address: str, title: str, body: str, *, to: str | None = None) -> Answer:
        """One try. `to`: the one recipient of a mail, instead of those in the address."""
        try:
            apprise_names.check(address)
            self._refuse_closed(address)
            got = self._ask({"address": address, "title": title, "body": body, "to": to, "closed": list(self._guard.closed())})
        except Refusal as refusal:
            return Answer(False, str(refusal), final=True)
        except ExternalFailure as failure:
            return Answer(False, f"{failure}.")
        return _read(got)

    def _refuse_closed(self, address: str) -> None:
        """Refusal for a host that is closed. A service that is called is judged once more where it is connected to.

        What is no host but a token is not looked up: a name server would read it.
        """
        if (named := apprise_names.host_of(address)) is None:
            return
        host, port = named
        if self._guard.is_closed(addresses_of(host, port), port, host):
            raise Refusal(
                f"{host}:{port} is an address of a server, a router or Countersign itself: no message goes there.",
                "Give the address of the receiver.",
                code="address-not-allowed",
            )

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert_outside_unit("sending a message")
        process = self._process = self._process or self._started()
        line = _with_deadline(lambda: _exchange(process, order), self._timeout)
        if not line:
            self.close()
            raise ExternalFailure("The service", "did not answer in time", retryable=True)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _started(self) -> subprocess.Popen[str]:
        environment = {"PYTHONPATH": str(_ROOT), "LANG": "C.UTF-8", "PATH": os.defpath}
        process = subprocess.Popen(
            [sys.executable, "-m", "backend.notify.apprise_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            text=True,
        )
        assert process.stdin is not None  # noqa: S101 - narrows the type
        process.stdin.write(json.dumps(self._bounds) + "\n")
        return process


def _exchange(process: subprocess.Popen[str], order: dict[str, Any]) -> str:
    assert process.stdin is not None  # noqa: S101 - narrows the type
    assert process.stdout is not None  # noqa: S101 - narrows the type
    try:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        return process.stdout.readline()
    except (OSError, ValueError):  # it died, or was ended meanwhile
        return ""


def _with_deadline(call: Any, seconds: float) -> str:
    """What the call returns; nothing when it takes too long. Its thread ends with the process that is then killed."""
    done: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=lambda: done.put(call()), name="apprise", daemon=True).start()
    try:
        return done.get(timeout=seconds)
    except queue.Empty:
        return ""


def _read(got: dict[str, Any]) -> Answer:
    status = got.get("status")
    if got.get("ok"):
        return Answer(True, f"It was taken ({status})." if status else "It was taken.", status)
    if got.get("code") == "address-not-allowed":
        return Answer(False, "It is at an address that is not public, or at a port, that no administrator allowed.", status)
    if got.get("code") == "bad-address":
        return Answer(False, "The service does not understand this address.", status, final=True)
    if isinstance(status, int) and status >= 300:
        return of_mail(status) if got.get("mail") else of_status(status)
    return Answer(False, "It could not be reached, or did not take the message.", status)
