"""What changes need of the registry and of packaging, in their own words; the rooms below provide it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sqlmodel import Session

from backend.core.context import Actor
from backend.core.unit import Unit
from backend.delivery.rows import Package
from backend.experiments.designs.measured import NOTHING, Measured
from backend.experiments.designs.spec import MetricAsked


class Versions(Protocol):
    """Registered versions."""

    def digest_now(self, model: str, number: int) -> str:
        """Artifact digest of a version as its files are at this moment. Reads the registry: outside any unit."""
        ...

    def fetch(self, model: str, number: int, folder: Path) -> str:
        """Puts a version's artifact tree into an empty folder; returns its digest. Refusal `digest-mismatch`."""
        ...

    def want_alias(self, tx: Unit, model: str, environment: str, number: int | None) -> None:
        """Wants the environment's alias of a model on a version. Joins; the registry is written to later."""
        ...


class Packaging(Protocol):
    """Packages of versions for kinds of servers."""

    def find(self, session: Session, artifact_digest: str, target: str) -> Package | None:
        """The stored package of an artifact for a kind of server."""
        ...

    def build(self, actor: Actor, artifact: Path, artifact_digest: str, target: str) -> Package:
        """Packs and stores an artifact folder, and records the package. Outside any unit."""
        ...


class Planner(Protocol):
    """What an endpoint's inference log says before a plan is drawn."""

    def measured(
        self, endpoint: str, metrics: tuple[MetricAsked, ...], window_seconds: int | None, before_days: int
    ) -> Measured:
        """Traffic, levels and variances. Reads files: outside any unit. Raises ExternalFailure when they cannot be read."""
        ...


class Unmeasured:
    """A planner that knows nothing, for those who have no log."""

    def measured(
        self, endpoint: str, metrics: tuple[MetricAsked, ...], window_seconds: int | None, before_days: int
    ) -> Measured:
        """Nothing."""
        return NOTHING


class Stored(Protocol):
    """The package store."""

    def verify(self, digest: str) -> bool:
        """Whether the stored bytes still hash to the digest. Raises ExternalFailure when the store cannot be read."""
        ...
