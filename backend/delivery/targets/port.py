"""The port towards a serving runtime: six verbs in our words. Adding a runtime = one file + one line in `names.py`.

An adapter translates every error once: `Refusal` when a person must do something, `ExternalFailure` when the runtime
failed. It never shows an upstream body, never holds state that matters, and never touches what is not ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from pydantic import BaseModel

from backend.core.outbound import Guard
from backend.delivery.desired import DesiredServer
from backend.delivery.seen import ModelState, ProofKind, SeenModel, SeenServer, SeenVersion

__all__ = [
    "Abilities",
    "Access",
    "Answer",
    "ModelState",
    "ProofKind",
    "SeenModel",
    "SeenServer",
    "SeenVersion",
    "Series",
    "ServerFacts",
    "Target",
]


@dataclass(frozen=True)
class Abilities:
    """What a runtime can do at all. A plan that needs more is refused before approval, with the ability named."""

    versions_side_by_side: bool
    names_side_by_side: bool
    pin_a_version: bool
    split: bool
    mirror: bool
    read_back_versions: bool
    zero_downtime_switch: bool
    warm_up: bool
    proofs: frozenset[ProofKind]


@dataclass(frozen=True)
class ServerFacts:
    """What a server says of itself: product name, its version, whether it is live, what it is able to do, warnings.

    `warnings` are sentences for a person, e.g. that the management interface answers without authentication.
    """

    product: str
    version: str
    live: bool
    extensions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The answer to one inference: outputs by name (row-major nested lists), seconds as measured here."""

    outputs: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class Series:
    """One figure read from the runtime's own metrics, in our vocabulary (`latency_seconds`, `requests_total`, ...)."""

    metric: str
    model: str
    version: int
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Access:
    """How an adapter reaches its server: the user's name for it, the opened credential, the guard of outgoing calls."""

    name: str
    credential: str | None
    guard: Guard


class Target(Protocol):
    """A serving runtime at one management address."""

    kind: ClassVar[str]
    abilities: ClassVar[Abilities]
    Settings: ClassVar[type[BaseModel]]

    @classmethod
    def connect(cls, settings: Mapping[str, Any], access: Access) -> Self:
        """The adapter for one server. Nothing is called yet. Raises pydantic's ValidationError for bad settings."""
        ...

    def inspect(self) -> ServerFacts:
        """What the server is. Raises ExternalFailure when it cannot be reached."""
        ...

    def push(self, desired: DesiredServer) -> None:
        """Makes what is ours so, absolutely and idempotently; new versions before old ones go. Returns when the runtime
        accepted it, which proves nothing: `observe` does. Raises Refusal (a package it cannot load, with the reason) or
        ExternalFailure (`applied_unknown` when the call may have taken effect).
        """
        ...

    def observe(self, hash_storage: Sequence[str] = ()) -> SeenServer:
        """Reads back everything. For the served names in `hash_storage` the storage is re-hashed, where that is possible."""
        ...

    def answer(self, model: str, version: int, inputs: Mapping[str, Any]) -> Answer:
        """One probe inference of one row, pinned to a version: inputs by name, one value each."""
        ...

    def metrics(self) -> Sequence[Series]:
        """The runtime's own counters and quantiles; an empty sequence where it has none."""
        ...

    def copy_out(self, model: str, version: int, folder: Path) -> None:
        """Copies what the runtime loads a version from into the empty `folder`, as a package tree with its manifest, so that
        it can be kept as a package and pushed again. Where `observe` re-hashes the storage, the tree's digest is the one that
        it gives. Raises Refusal `not-importable` where the storage cannot be read from here, and ExternalFailure for a
        version that is not served.
        """
        ...
