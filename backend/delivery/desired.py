"""Desired state in the words that adapters understand. Values only: computed from generations, never stored on its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Range = tuple[int, int]
"""Half-open range of buckets [start, end)."""


@dataclass(frozen=True)
class Packaged:
    """One package in the store: its digest and the local read-only folder that runtimes load from."""

    digest: str
    path: Path


@dataclass(frozen=True)
class DesiredModel:
    """What a server shall have loaded under one name: version number -> package. Absolute: other versions are unloaded."""

    name: str
    versions: dict[int, Packaged]


@dataclass(frozen=True)
class DesiredServer:
    """Everything that is ours on one server. A model that is not named here and not in `released` is never touched.

    Args:
        models: served name -> what shall be loaded.
        released: served names that were ours and shall be unloaded entirely.
    """

    models: dict[str, DesiredModel]
    released: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ArmRoute:
    """Where an arm's requests go: served name and version on the server, and the buckets that the arm owns."""

    arm: str
    version: int
    served_model: str
    served_version: int
    ranges: tuple[Range, ...]


@dataclass(frozen=True)
class EndpointRoute:
    """How one endpoint's traffic is split, absolutely.

    Args:
        endpoint: slug; its public URL is `<router>/<endpoint>/v2/models/<model>/infer`.
        model: the model name that callers use.
        upstream: `host:port` of the server's inference address.
        generation: stamped on each answer as `x-cs-generation`.
        champion: arm that answers units without an assignment, and requests of an arm that is dead.
        shadow: arm that gets copies.
    """

    endpoint: str
    model: str
    upstream: str
    generation: int
    salt: str
    unit_header: str
    champion: str
    arms: tuple[ArmRoute, ...]
    shadow: str | None = None


@dataclass(frozen=True)
class DesiredRouter:
    """All endpoints of one router; absolute for the configuration that is ours."""

    routes: dict[str, EndpointRoute]
