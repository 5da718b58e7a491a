"""Tables that mirror the registry, so that lists of 10,000 models and 100,000 versions page by key."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc


class Model(Row, table=True):
    """A registered model as the registry last told it. `removed_at` is set when the registry no longer has it."""

    __tablename__ = "model"
    __subject__: ClassVar[str] = "model"
    __table_args__ = (sa.Index("model_updated", "updated_at", "id"), sa.Index("model_name", "name", unique=True))

    id: str = Field(primary_key=True)
    name: str
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict, sa_column=json())
    owner: str = Field(default="", index=True)
    latest_version: int = 0
    created_at: datetime = Field(sa_column=utc())
    updated_at: datetime = Field(sa_column=utc())
    mirrored_at: datetime = Field(sa_column=utc())
    removed_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class Version(Row, table=True):
    """One numbered version with all that its run says of it. The artifact digest is what was hashed at registration."""

    __tablename__ = "version"
    __subject__: ClassVar[str] = "version"
    __table_args__ = (
        sa.UniqueConstraint("model_id", "number"),
        sa.Index("version_created", "created_at", "id"),
        sa.Index("version_digest", "artifact_digest"),
    )

    id: str = Field(primary_key=True)
    model_id: str = Field(foreign_key="model.id")
    number: int
    source: str = ""
    run_id: str | None = None
    status: str = "READY"
    description: str = ""
    author: str = ""
    """Who ran the training, as the registry claims."""
    author_identity_id: str | None = Field(default=None, foreign_key="identity.id")
    """The author as verified by our own sign-in; None means that `author` is only claimed."""
    code_version: str = ""
    tags: dict[str, str] = Field(default_factory=dict, sa_column=json())
    metrics: dict[str, float] = Field(default_factory=dict, sa_column=json())
    params: dict[str, str] = Field(default_factory=dict, sa_column=json())
    signature: dict[str, Any] | None = Field(default=None, sa_column=json(nullable=True))
    datasets: list[dict[str, Any]] = Field(default_factory=list, sa_column=json())
    dependencies: list[str] = Field(default_factory=list, sa_column=json())
    artifact_digest: str | None = None
    artifact_files: list[list[Any]] = Field(default_factory=list, sa_column=json())
    """Sorted [path, size, digest]."""
    pickled: list[str] = Field(default_factory=list, sa_column=json())
    """Files that hold pickled code; never loaded here."""
    registered_by: str | None = None
    """Identity that registered it with Countersign; None while it is only mirrored."""
    registered_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    created_at: datetime = Field(sa_column=utc())
    mirrored_at: datetime = Field(sa_column=utc())
    removed_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class Alias(Row, table=True):
    """An alias as the registry has it, and as a proved promotion wants it.

    `wanted` is None for aliases that are none of ours; where it differs from `seen`, somebody moved the alias by hand.
    """

    __tablename__ = "alias"
    __subject__: ClassVar[str] = "alias"
    __table_args__ = (sa.UniqueConstraint("model_id", "alias"), sa.Index("alias_version", "model_id", "seen"))

    id: str = Field(primary_key=True)
    model_id: str = Field(foreign_key="model.id")
    alias: str
    seen: int | None = None
    seen_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    wanted: int | None = None
    wanted_since: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    written_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """When Countersign last wrote it and read it back."""
