"""The port towards the registry that a team already runs: eight verbs in our words.

An adapter translates every error once: `NotFound` and `Refusal` when a person must do something, `ExternalFailure` when the
registry failed or answered what nobody can rely on. Nothing that it returns has been loaded or executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

T = TypeVar("T")
ModelOrder = Literal["name", "newest"]


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items in order, and the opaque token of the next page; None at the end."""

    items: tuple[T, ...]
    next: str | None = None


@dataclass(frozen=True)
class ModelFacts:
    """A registered model. `aliases` maps alias to version number; `latest` is the highest number, 0 for none."""

    name: str
    created_at: datetime
    updated_at: datetime
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    latest: int = 0


@dataclass(frozen=True)
class VersionFacts:
    """One numbered version. `source` is where its artifact lies, in the registry's words; nobody but the adapter reads it."""

    model: str
    number: int
    created_at: datetime
    updated_at: datetime
    source: str = ""
    run_id: str | None = None
    status: str = "READY"
    description: str = ""
    author: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFacts:
    """What the run that made a version says of it.

    `metrics` holds finite numbers only: JSON has no NaN. `datasets` holds {"name", "digest", "source_type", "context"}.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[Mapping[str, Any], ...] = ()
    author: str = ""
    code_version: str = ""


@dataclass(frozen=True)
class ArtifactFile:
    """One file of a version's artifact: POSIX path below the artifact's root, and its size in bytes as listed."""

    path: str
    size: int


class Registry(Protocol):
    """A model registry and its artifact storage."""

    def models(self, page: str | None = None, *, order: ModelOrder = "name") -> Page[ModelFacts]:
        """A page of all models, by name or the latest change first. A page may repeat or miss a model that others change
        meanwhile; the caller confirms an absence with `model`.
        """
        ...

    def model(self, name: str) -> ModelFacts:
        """One model with its aliases, as it is now. NotFound."""
        ...

    def versions(self, model: str | None = None, page: str | None = None) -> Page[VersionFacts]:
        """A page of versions: of one model newest first, or of all, each model's together."""
        ...

    def version(self, model: str, number: int) -> VersionFacts:
        """One version. NotFound."""
        ...

    def run(self, version: VersionFacts) -> RunFacts | None:
        """What its run says; None when it has none, or the run was deleted."""
        ...

    def set_alias(self, model: str, alias: str, number: int | None) -> None:
        """Points an alias at a version, or removes it (None). Proves nothing: `model` reads back."""
        ...

    def files(self, version: VersionFacts, *, limit: int) -> Sequence[ArtifactFile]:
        """Every file of the artifact, sorted. Refusal (`too-many-files`, `bad-path`) beyond `limit` or for a path that
        would leave a folder.
        """
        ...

    def download(self, version: VersionFacts, path: str, *, limit: int) -> AbstractContextManager[Iterator[bytes]]:
        """One file's bytes in blocks. Refusal `too-large` as soon as more than `limit` bytes arrive; NotFound."""
        ...

    def log_version(self, model: str, folder: Path, *, description: str, tags: Mapping[str, str]) -> VersionFacts:
        """Uploads a folder and makes it a new version of a model, which is created where it is missing. The version comes
        last: a failure on the way leaves none.
        """
        ...
