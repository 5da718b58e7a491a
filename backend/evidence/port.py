"""The gate port: one automatic check on one plan, run in a worker subprocess with limits and progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from backend.core.database import Database
from backend.delivery.plan import Plan
from backend.delivery.routers.port import RouterAbilities
from backend.delivery.rows import Server
from backend.delivery.targets.port import Abilities, Target

Verdict = Literal["passed", "failed", "error"]
Progress = Callable[[float, str], None]
"""Told a fraction from 0 to 1 and what is being done, in a few words."""


@dataclass(frozen=True)
class Point:
    """One thing that a gate checked: `ok`, a sentence, and small facts with their units in the keys."""

    ok: bool
    says: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GateResult:
    """A gate's verdict. `error` means that the check itself could not run, which is never a pass."""

    verdict: Verdict
    summary: str
    findings: tuple[Point, ...] = ()


class Artifacts(Protocol):
    """The registry as gates need it."""

    def digest_now(self, model: str, number: int) -> str:
        """Artifact digest of a version as its files are at this moment."""
        ...


class Packages(Protocol):
    """The package store as gates need it."""

    def verify(self, digest: str) -> bool:
        """Whether the stored bytes still hash to the digest."""
        ...

    def read(self, digest: str, path: str, limit: int) -> bytes:
        """One file of a package, of at most `limit` bytes."""
        ...


@dataclass(frozen=True)
class GateContext:
    """All that gates may reach. Built once in the gate's own process, from the same settings as the worker.

    Args:
        database: for reading only.
        target: the adapter for a server's row.
        target_abilities, router_abilities: what a kind of server or router can do at all.
        alarm: fires a test of an endpoint's alarm; the one thing that a gate does beside reading.
    """

    database: Database
    artifacts: Artifacts
    packages: Packages
    target: Callable[[Server], Target]
    target_abilities: Callable[[str], Abilities]
    router_abilities: Callable[[str], RouterAbilities]
    alarm: Callable[[str], None]


class Gate(Protocol):
    """An automatic check. It reads what it needs itself; it writes nothing, but for the test of an alarm that it fires."""

    name: ClassVar[str]
    title: ClassVar[str]
    hard: ClassVar[bool]
    """Whether only a pass lets a change on, whatever the policy says."""
    valid_seconds: ClassVar[int]
    """How long a result may be relied on."""
    limit_seconds: ClassVar[int]
    """Wall clock and CPU; the process is killed beyond it."""
    limit_bytes: ClassVar[int]
    """Address space of the process."""

    def __init__(self, context: GateContext) -> None: ...

    def run(self, plan: Plan, progress: Progress) -> GateResult:
        """Checks one plan. Exceptions become `error` with what to do next."""
        ...
