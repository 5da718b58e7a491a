"""A typed client of the REST API, which the command line uses itself. It stands on httpx and nothing of this house.

    from backend.client import Countersign

    with Countersign("https://countersign.example.com") as client:      # acts by COUNTERSIGN_TOKEN
        client.models.register("flight-delay", 2)
        change = client.changes.propose("flight-delay", 2, title="Build 1842", reason="All tests passed.", key="build-1842")
        print(client.changes.wait(change.number, "decided", seconds=3600).end)

What goes wrong is an exception of `errors`, with what to do next. Names are imported when they are asked for, so that whoever
only catches errors does not wait for httpx.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backend.client.countersign import Countersign
    from backend.client.errors import (
        BadAddress,
        ClientError,
        Conflict,
        Defect,
        NotAllowed,
        NotFound,
        NoToken,
        NotSignedIn,
        OtherSystemFailed,
        Problem,
        Refused,
        StrangeAnswer,
        TooOften,
        Unreachable,
    )

__all__ = [
    "BadAddress",
    "ClientError",
    "Conflict",
    "Countersign",
    "Defect",
    "NoToken",
    "NotAllowed",
    "NotFound",
    "NotSignedIn",
    "OtherSystemFailed",
    "Problem",
    "Refused",
    "StrangeAnswer",
    "TooOften",
    "Unreachable",
]


def __getattr__(name: str) -> Any:
    """PEP 562."""
    if name not in __all__:
        raise AttributeError(name)
    module = "countersign" if name == "Countersign" else "errors"
    return getattr(import_module(f"backend.client.{module}"), name)
