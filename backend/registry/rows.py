"""Tables of the registry room: what the registry tells (mirrored, not governed) and what was registered (governed).

What somebody else's registry says changes without anybody here deciding anything, for 100,000 versions at a time; it is an
observation, and observations are not governed. What Countersign was told to rely on is kept apart, as it was at that moment,
and changes only with its ledger row. docs/decisions/0004 says why.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc

PICKLED = sa.text("pickled <> '[]'")
"""That a version holds pickled code. Written out and not bound, so that both databases find the index that holds those."""


class Model(Row, table=True):
    """A registered model as the registry last told it. `removed_at` is set when the registry no longer has it."""

    __tablename__ = "model"
    __seen_through__: ClassVar[str] = "model"
    __subject__: ClassVar[str] = "model"
    __governed__: ClassVar[bool] = False
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
    """When the mirror last wrote this row, which is when the registry last told something new."""
    removed_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    fingerprint: str = Field(default="", sa_column_kwargs={"server_default": ""})
    """Of all that the registry told, aliases included: a pass compares it and leaves unchanged rows alone."""
    search: str = Field(default="", sa_column_kwargs={"server_default": ""})
    """Name, description, tags and owner, case folded."""


class MirroredVersion(Row, table=True):
    """One numbered version as the registry last told it, registered here or not. A registered one has a `Version` of the
    same id. The columns that lists show come first, the long ones last.
    """

    __tablename__ = "mirrored_version"
    __seen_through__: ClassVar[str] = "model_id"
    __governed__: ClassVar[bool] = False
    __table_args__ = (
        sa.UniqueConstraint("model_id", "number"),
        sa.Index("mirrored_version_created", "created_at", "id"),
        sa.Index("mirrored_version_unread", "run_read_at", "created_at"),
    )

    id: str = Field(primary_key=True)
    model_id: str = Field(foreign_key="model.id")
    number: int
    status: str = "READY"
    author: str = ""
    """Who ran the training, as the registry claims."""
    run_id: str | None = None
    code_version: str = ""
    created_at: datetime = Field(sa_column=utc())
    updated_at: datetime = Field(sa_column=utc())
    mirrored_at: datetime = Field(sa_column=utc())
    removed_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    run_read_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """When its run was read; None while that is still to do."""
    fingerprint: str = ""
    description: str = ""
    source: str = ""
    tags: dict[str, str] = Field(default_factory=dict, sa_column=json())
    metrics: dict[str, float] = Field(default_factory=dict, sa_column=json())
    params: dict[str, str] = Field(default_factory=dict, sa_column=json())
    datasets: list[dict[str, Any]] = Field(default_factory=list, sa_column=json())


class MirroredAlias(Row, table=True):
    """Where an alias points in the registry; `number` is None when it was taken away."""

    __tablename__ = "mirrored_alias"
    __seen_through__: ClassVar[str] = "model_id"
    __governed__: ClassVar[bool] = False
    __table_args__ = (
        sa.Index("mirrored_alias_version", "model_id", "number"),
        sa.Index("mirrored_alias_name", "alias", "model_id"),
    )

    model_id: str = Field(foreign_key="model.id", primary_key=True)
    alias: str = Field(primary_key=True)
    number: int | None = None
    seen_at: datetime = Field(sa_column=utc())
    """Since when it points there, to within one pass of the mirror."""


class MirrorState(Row, table=True):
    """The last complete pass over the registry, so that every list can say how old it is."""

    __tablename__ = "mirror_state"
    __governed__: ClassVar[bool] = False

    id: str = Field(default="*", primary_key=True)
    completed_at: datetime = Field(sa_column=utc())
    seconds: float = 0.0
    models: int = 0
    versions: int = 0
    runs_left: int = 0
    """Versions whose run is still to be read."""


class Version(Row, table=True):
    """One version that was registered with Countersign: everything the registry and its run said of it at that moment, and
    what its files hash to. Nothing in it changes afterwards but `removed_at`.
    """

    __tablename__ = "version"
    __seen_through__: ClassVar[str] = "model_id"
    __subject__: ClassVar[str] = "version"
    __table_args__ = (
        sa.UniqueConstraint("model_id", "number"),
        sa.Index("version_created", "created_at", "id"),
        sa.Index("version_digest", "artifact_digest"),
        sa.Index("version_pickled", "model_id", "number", sqlite_where=PICKLED, postgresql_where=PICKLED),
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
    input_example: str | None = None
    """Path of the input example in the artifact, None for none."""
    registered_by: str | None = None
    """Identity that registered it with Countersign."""
    registered_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    created_at: datetime = Field(sa_column=utc())
    mirrored_at: datetime = Field(sa_column=utc())
    removed_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class Upload(Row, table=True):
    """That an identity, by our own sign-in, handed in these bytes as a new version of a model.

    Written before anything is sent, and named in the version's tag `countersign.upload`. A version that carries the tag and
    hashes to the same digest has this author, whoever may have written the tag.
    """

    __tablename__ = "upload"
    __seen_through__: ClassVar[str] = "model_name"
    __subject__: ClassVar[str] = "upload"

    id: str = Field(primary_key=True)
    model: str
    artifact_digest: str
    identity_id: str = Field(foreign_key="identity.id")
    at: datetime = Field(sa_column=utc())


class Alias(Row, table=True):
    """An alias that Countersign looks after: where a proved promotion wants it, and where it was last noted to be.

    Where `seen` differs from `wanted` although the wish was written, somebody moved the alias by hand.
    """

    __tablename__ = "alias"
    __seen_through__: ClassVar[str] = "model_id"
    __subject__: ClassVar[str] = "alias"
    __table_args__ = (sa.UniqueConstraint("model_id", "alias"), sa.Index("alias_version", "model_id", "seen"))

    id: str = Field(primary_key=True)
    model_id: str = Field(foreign_key="model.id")
    alias: str
    seen: int | None = None
    """Where it was when that was last recorded in the ledger; `MirroredAlias` has each alias as it is now."""
    seen_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    wanted: int | None = None
    """None: it shall not exist, and once it is gone nobody minds what others do with it."""
    wanted_since: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    written_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """When this wish was last written and read back; None while it is still to be written."""


class ModelCard(Row, table=True):
    """One revision of a model's card: whole, and never changed. The card is the newest; revisions begin at 1."""

    __tablename__ = "model_card"
    __seen_through__: ClassVar[str] = "model_id"
    __subject__: ClassVar[str] = "model_card"
    __table_args__ = (sa.UniqueConstraint("model_id", "revision"),)

    id: str = Field(primary_key=True)
    model_id: str = Field(foreign_key="model.id")
    revision: int
    text: str
    """Somebody's Markdown; pages show it through `app.kit.plain.card` only."""
    digest: str
    summary: str = ""
    """What was changed and why, in the writer's words."""
    written_by: str = Field(foreign_key="identity.id")
    written_at: datetime = Field(sa_column=utc())

    def subject(self) -> tuple[str, str]:
        """All revisions are one card in the ledger, known by its model."""
        return self.__subject__, self.model_id


class IntakeRow(Row, table=True):
    """One version being taken in for somebody who need not wait for it: how far it is, and what came of it.

    Not governed: it tells of work. What the work decides, the registration and the upload, has ledger rows of its own.
    """

    __tablename__ = "intake"
    __seen_through__: ClassVar[str] = "model_name"
    __governed__: ClassVar[bool] = False
    __table_args__ = (
        sa.CheckConstraint("kind IN ('registry', 'upload')", name="intake_kind"),
        sa.CheckConstraint("state IN ('running', 'done', 'refused', 'failed')", name="intake_state"),
        sa.Index("intake_model", "model", "started_at"),
        sa.Index("intake_started", "started_at"),
    )

    id: str = Field(primary_key=True)
    kind: str
    model: str
    number: int | None = None
    """The version's number; None for an upload that the registry has not numbered yet."""
    file: str = ""
    started_by: str = Field(foreign_key="identity.id")
    started_at: datetime = Field(sa_column=utc())
    beat_at: datetime = Field(sa_column=utc())
    """When its process last said that it lives: one that stopped saying so was interrupted."""
    finished_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    state: str = "running"
    fraction: float = 0.0
    doing: str = ""
    message: str = ""
    remedy: str = ""
    code: str = ""
