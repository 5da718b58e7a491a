"""The demo's cast: who does which part, each as a built-in demo identity."""

from __future__ import annotations

from dataclasses import dataclass

from backend.bootstrap import Backend
from backend.core.context import Actor


@dataclass(frozen=True)
class Cast:
    """Data scientist, reviewer, platform engineer, two admins and auditor."""

    ana: Actor
    ben: Actor
    olga: Actor
    otto: Actor
    nora: Actor
    audra: Actor

    @classmethod
    def of(cls, backend: Backend) -> Cast:
        """The demo identities of this installation."""
        return cls(*(backend.identities.act_as(name) for name in ("ana", "ben", "olga", "otto", "nora", "audra")))
