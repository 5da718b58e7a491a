"""Waiting for what the worker does, with a bound, and with the reason when it does not come to be."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from backend.core.errors import ExternalFailure

T = TypeVar("T")
_POLL_SECONDS = 0.05


def wait_for(what: str, look: Callable[[], T | None], *, why_not: Callable[[], str], seconds: float = 90.0) -> T:
    """The first thing that `look` finds. ExternalFailure with `why_not()` when nothing comes in time."""
    until = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > until:
            raise ExternalFailure("The demo", f"waited {seconds:.0f} s in vain for {what}: {why_not()}", retryable=False)
        time.sleep(_POLL_SECONDS)
    return found
