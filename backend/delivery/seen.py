"""What was read back from a server, as plain values, so that rules can judge it without knowing any adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ProofKind = Literal["answers", "configured", "bytes", "behaviour"]
ModelState = Literal["ready", "loading", "unloading", "failed", "not_loaded", "unknown"]


@dataclass(frozen=True)
class SeenVersion:
    """One version of one model as read back. `package_digest` only where the runtime's storage could be re-hashed."""

    version: int
    state: ModelState
    reason: str = ""
    package_digest: str | None = None


@dataclass(frozen=True)
class SeenModel:
    """One model as read back, ours or not.

    `config_digest` is of the configuration that the runtime reports, in the same normal form as a package's interface
    digest: the two are equal when the runtime runs what the package asks for.

    `fresh`: the runtime says itself that it has loaded nothing under this name since its process was started, so that what it
    lacks went with the process before, and nobody unloaded it. Never a guess: a runtime that cannot tell leaves it False.
    """

    name: str
    versions: Mapping[int, SeenVersion]
    config_digest: str | None = None
    fresh: bool = False


@dataclass(frozen=True)
class SeenServer:
    """All that runs on a server, with nothing left out."""

    models: Mapping[str, SeenModel]
