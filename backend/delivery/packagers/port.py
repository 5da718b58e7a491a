"""The port of packaging: from an artifact tree to a package tree, a pure function of bytes."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol

from backend.delivery.plan import Probes


class Packager(Protocol):
    """Builds a package for one kind of target from one kind of artifact."""

    kind: ClassVar[str]
    target: ClassVar[str]

    def accepts(self, artifact: Path) -> str:
        """ "" when this packager can build from the artifact; else the reason why not, as a sentence."""
        ...

    def build(self, artifact: Path, package: Path) -> None:
        """Writes the package tree into the empty folder `package`. The same artifact gives the same bytes, always: no times,
        no random order, no host names. Refusal when the artifact is not what it claims.
        """
        ...


class PackageInfo(Protocol):
    """What is known of a stored package beyond its bytes: read from its manifest, never by loading a model."""

    @property
    def interface_digest(self) -> str:
        """Digest of inputs, outputs and runtime configuration: packages that share it can share one served name."""
        ...

    @property
    def probes(self) -> Probes | None:
        """The recorded answers that travel inside the package."""
        ...
