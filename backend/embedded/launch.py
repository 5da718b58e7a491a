"""Start a child and wait until it answers, or say where its log tells why it does not."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from backend.core.errors import ExternalFailure
from backend.embedded.ports import taken
from backend.embedded.specs import Spec
from backend.embedded.supervisor import Child, Supervisor

_ATTEMPTS = 3
_POLL_SECONDS = 0.05
_PROBE_SECONDS = 2.0

Probe = Callable[[httpx.Client], bool]


class EndedEarlyError(ExternalFailure):
    """The child ended before it was ready."""


def launch(
    group: Supervisor, name: str, ports: int, spec: Callable[[tuple[int, ...]], tuple[Spec, Probe]], ready_seconds: float
) -> tuple[Child, tuple[int, ...]]:
    """Start the child that `spec` describes for given ports and wait until its probe holds.

    The ports are those that it had the last time, where they are free. A child that ended because somebody took one of its
    ports is started once more with others.
    """
    attempt = 1
    while True:
        reserved = group.reserve(name, ports, others=attempt > 1)
        described, probe = spec(reserved.numbers)
        reserved.release()
        child = group.start(described)
        try:
            wait_ready(child, probe, ready_seconds)
            group.remember(name, reserved.numbers)
            return child, reserved.numbers
        except ExternalFailure as failure:
            child.stop()
            if attempt == _ATTEMPTS or not (isinstance(failure, EndedEarlyError) and taken(reserved.numbers)):
                raise
        attempt += 1


def wait_ready(child: Child, probe: Probe, seconds: float) -> None:
    """Poll `probe` until it holds. A child that ends first, or that is not ready in time, is an ExternalFailure.

    The failure names the log file, never its content: that is another system's text.
    """
    until = time.monotonic() + seconds
    with httpx.Client(timeout=_PROBE_SECONDS, trust_env=False, follow_redirects=False) as client:
        while not _holds(probe, client):
            state = child.state
            if state.state != "running":
                raise EndedEarlyError(
                    child.name,
                    f"ended with {state.exit} before it was ready; the end of {child.log} says why",
                    retryable=False,
                )
            if time.monotonic() >= until:
                raise ExternalFailure(
                    child.name, f"was not ready within {seconds:g} s; the end of {child.log} says why", retryable=True
                )
            time.sleep(_POLL_SECONDS)


def _holds(probe: Probe, client: httpx.Client) -> bool:
    try:
        return probe(client)
    except httpx.HTTPError:
        return False
