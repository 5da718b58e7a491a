"""Models, their versions and how those are taken in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.client.results.pages import Page


@dataclass(frozen=True)
class AliasedVersion:
    """An alias and the version that it points to."""

    alias: str
    version: int


@dataclass(frozen=True)
class ModelLine:
    """A model in a list.

    `told` versions are the registry's, `registered` of them ours, `pickled` of those hold pickled code; where counted.
    """

    id: str
    name: str
    description: str
    owner: str
    latest_version: int
    updated_at: datetime
    removed_at: datetime | None
    aliases: tuple[AliasedVersion, ...]
    told: int | None = None
    registered: int | None = None
    pickled: int | None = None


@dataclass(frozen=True)
class ModelPage(Page[ModelLine]):
    """Models, how many there are in all (where that was counted), and when the registry was last read whole."""

    read_at: datetime | None = None
    total: int | None = None


@dataclass(frozen=True)
class Alias:
    """Where an alias points, and, for one that is Countersign's, where it is wanted since when and whether that was written."""

    alias: str
    number: int | None
    is_ours: bool
    wanted: int | None
    wanted_since: datetime | None
    is_written: bool


@dataclass(frozen=True)
class VersionLine:
    """A version in a list."""

    model: str
    number: int
    status: str
    author: str
    is_verified: bool
    created_at: datetime
    removed_at: datetime | None
    registered_at: datetime | None
    artifact_digest: str | None
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """One model: what the registry says of it, its aliases, and the newest of its versions."""

    name: str
    aliases: tuple[Alias, ...]
    versions: Page[VersionLine]
    description: str = ""
    owner: str = ""
    removed_at: datetime | None = None


@dataclass(frozen=True)
class Registration:
    """A version as it was registered: nothing in it changes afterwards."""

    number: int
    artifact_digest: str | None
    registered_at: datetime | None
    registered_by: str | None
    author_identity_id: str | None
    pickled: tuple[str, ...]
    signature: Mapping[str, Any] | None
    dependencies: tuple[str, ...]


@dataclass(frozen=True)
class Version:
    """One version whole: as the registry tells it now, and as it was registered, if it was."""

    model: str
    number: int
    status: str
    author: str
    run_id: str | None
    code_version: str
    description: str
    source: str
    created_at: datetime
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    datasets: tuple[Mapping[str, Any], ...]
    aliases: tuple[str, ...]
    registered: Registration | None
    changed_since: tuple[str, ...]


@dataclass(frozen=True)
class Intake:
    """A version being taken in. `state`: running, done, refused, failed or interrupted."""

    id: str
    kind: str
    model: str
    number: int | None
    file: str
    started_by: str
    started_by_name: str
    started_at: datetime
    finished_at: datetime | None
    state: str
    fraction: float
    doing: str
    message: str
    remedy: str
    kept: str
    tried_again: bool
