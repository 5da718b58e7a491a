"""`/models/{model}/versions` and `/versions`: versions of models, side by side too, and registering one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from sqlmodel import select

from backend.api.asking import After, Asks, ModelName, Narrow, Number, Page, Shown
from backend.api.tags import Held, Tagged
from backend.registry import compare, queries
from backend.registry.rows import MirroredVersion, Model, Version

router = APIRouter(tags=["versions"])
_PAGE = 100


class VersionLine(Shown):
    """A version in a list."""

    model: str
    number: int
    status: str
    author: str = Field(description="Who ran the training, as the registry claims.")
    is_verified: bool = Field(description="Whether the author is known by our own sign-in.")
    created_at: datetime
    removed_at: datetime | None
    registered_at: datetime | None = Field(description="When Countersign took it on; null while it has not.")
    artifact_digest: str | None = Field(description="SHA-256 over its files; null while it is not registered.")
    aliases: tuple[str, ...]


class Registration(Shown):
    """A version as it was registered: nothing in it changes afterwards."""

    number: int
    artifact_digest: str | None
    registered_at: datetime | None
    registered_by: str | None
    author_identity_id: str | None
    pickled: tuple[str, ...] = Field(description="Files that hold pickled code; they are never loaded here.")
    signature: dict[str, Any] | None
    dependencies: tuple[str, ...]


class VersionView(Shown):
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
    tags: dict[str, str]
    metrics: dict[str, float]
    params: dict[str, str]
    datasets: tuple[dict[str, Any], ...]
    aliases: tuple[str, ...]
    registered: Registration | None
    changed_since: tuple[str, ...] = Field(description="What the registry tells otherwise than at registration.")


class ComparedRow(Shown):
    """One thing and what each version says of it, in the order of the versions; null where one says nothing."""

    name: str
    values: tuple[Any, ...]
    differs: bool


class ComparisonView(Shown):
    """Versions side by side."""

    versions: tuple[int, ...]
    metrics: tuple[ComparedRow, ...]
    params: tuple[ComparedRow, ...]
    signature: tuple[ComparedRow, ...]
    datasets: tuple[ComparedRow, ...]
    dependencies: tuple[ComparedRow, ...]


class VersionsNarrow(Narrow):
    """Which page of a list of versions."""

    after: After = None
    limit: Annotated[int, Field(ge=1, le=queries.MAX_PAGE)] = _PAGE


class NewestNarrow(VersionsNarrow):
    """What the newest versions of all models are narrowed by."""

    registered: Annotated[bool, Field(description="Only those that were registered here.")] = False


@router.get("/versions")
def list_newest_versions(asks: Asks, narrow: Annotated[NewestNarrow, Query()]) -> Page[VersionLine]:
    """The newest versions of all models."""
    with asks.reading("model.read") as look:
        page = queries.newest_versions(look.session, **narrow.model_dump())
    return Page(items=tuple(map(line_of, page.items)), next=page.after)


@router.get("/models/{model}/versions")
def list_versions(asks: Asks, model: ModelName, narrow: Annotated[VersionsNarrow, Query()]) -> Page[VersionLine]:
    """Versions of one model, the highest number first."""
    with asks.reading("model.read") as look:
        page = queries.versions(look.session, model, **narrow.model_dump())
    return Page(items=tuple(map(line_of, page.items)), next=page.after)


@router.get("/models/{model}/compare")
def compare_versions(
    asks: Asks,
    model: ModelName,
    version: Annotated[
        list[int],
        Query(min_length=2, max_length=compare.MAX_VERSIONS, description="Two to ten numbers: `version=1&version=2`."),
    ],
) -> ComparisonView:
    """Versions of one model side by side: metrics, parameters, signature, data sets and dependencies."""
    with asks.reading("model.read") as look:
        found = compare.compare(look.session, model, version)
    numbers = tuple(one.told.number for one in found.versions)
    kinds = {name: getattr(found, name) for name in ("metrics", "params", "signature", "datasets", "dependencies")}
    rows = {name: tuple(ComparedRow.model_validate(one) for one in each) for name, each in kinds.items()}
    return ComparisonView(versions=numbers, **rows)


@router.get("/models/{model}/versions/{number}")
def show_version(asks: Asks, model: ModelName, number: Number, tagged: Tagged) -> VersionView:
    """One version whole."""
    with asks.reading("model.read") as look:
        return tagged(_whole(queries.version(look.session, model, number)))


@router.post("/models/{model}/versions/{number}/register", status_code=201)
def register_version(asks: Asks, held: Held, model: ModelName, number: Number) -> Registration:
    """Takes a version of the registry on: every file is read, hashed and searched for pickled code, which may take minutes.

    Sending it again changes nothing. 422 `digest-mismatch` where other bytes were registered under this number.
    """
    row = select(MirroredVersion.id).join(Model).where(Model.name == model, MirroredVersion.number == number)
    with held.held("model.read", lambda look, _: _whole(queries.version(look.session, model, number)), row):
        return _registration(asks.backend.versions.register(asks.actor, model, number))


def line_of(line: queries.VersionLine) -> VersionLine:
    """A line as it is answered."""
    return VersionLine.model_validate(line)


def _whole(page: queries.VersionPage) -> VersionView:
    told: MirroredVersion = page.told
    names = VersionView.model_fields.keys() - {"model", "aliases", "registered", "changed_since"}
    return VersionView(
        model=page.model,
        aliases=page.aliases,
        registered=_registration(page.registered) if page.registered is not None else None,
        changed_since=page.changed_since,
        **{name: getattr(told, name) for name in names},
    )


def _registration(row: Version) -> Registration:
    return Registration.model_validate(row)
