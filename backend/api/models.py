"""`/models`: registered models as the registry was last seen, and their aliases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from sqlmodel import select

from backend.api.asking import After, Asks, ModelName, Name, Narrow, Page, Reading, Sent, Shown, Whole
from backend.api.tags import Held, Tagged
from backend.api.versions import VersionLine, line_of
from backend.core.context import Actor
from backend.delivery.placed import live_models
from backend.registry import catalog, queries
from backend.registry.queries import AliasLine
from backend.registry.rows import Model

router = APIRouter(prefix="/models", tags=["models"])


class AliasedVersion(Shown):
    """An alias and the version that it points to."""

    alias: str = Field(examples=["production-champion"])
    version: int


class ModelLine(Shown):
    """A model in a list."""

    id: str
    name: str = Field(examples=["flight-delay"])
    description: str = Field(description="Its beginning; as the registry has it.")
    owner: str
    latest_version: int
    updated_at: datetime
    removed_at: datetime | None = Field(description="When the registry was found not to have it any more.")
    aliases: tuple[AliasedVersion, ...]
    told: int | None = Field(None, description="How many versions the registry has; where `counted` asks for it.")
    registered: int | None = Field(None, description="How many of them are registered here; where `counted` asks for it.")
    pickled: int | None = Field(None, description="How many of those hold pickled code; where `counted` asks for it.")


class ModelPage(Page[ModelLine]):
    """Models, how many there are in all (where `counted` asks for it), and when the registry was last read whole."""

    total: int | None
    read_at: datetime | None


class ModelView(Shown):
    """One model: what the registry says of it, its aliases, and the newest of its versions."""

    name: str
    description: str = Field(description="Its beginning; as the registry has it.")
    owner: str
    removed_at: datetime | None = Field(description="When the registry was found not to have it any more.")
    aliases: tuple[AliasLine, ...]
    versions: Page[VersionLine]


class ModelsNarrow(Narrow):
    """What a list of models is narrowed by."""

    words: Annotated[str, Field(max_length=500, description="Each is in the name, the description, the owner or the tags.")] = (
        ""
    )
    owner: Annotated[str | None, Field(max_length=256)] = None
    order: Annotated[Literal["newest", "name"], Field(description="The latest change first, or by name.")] = "newest"
    removed: Annotated[bool, Field(description="Those that the registry does not have any more, instead.")] = False
    alias: Annotated[str, Field(max_length=256, description="Those that carry this alias.")] = ""
    pickled: Annotated[bool, Field(description="Those of which a registered version holds pickled code.")] = False
    live: Annotated[
        str, Field(max_length=63, description="Those of which something was admitted in this environment.", examples=[""])
    ] = ""
    counted: Annotated[bool, Field(description="Count too: the models in all, and each one's versions; takes longer.")] = False
    after: After = None
    limit: Annotated[int, Field(ge=1, le=queries.MAX_PAGE)] = 100


@router.get("")
def list_models(asks: Asks, narrow: Annotated[ModelsNarrow, Query()]) -> ModelPage:
    """Models, page by page."""
    with asks.reading("model.read") as look:
        among = live_models(look.session, narrow.live) if narrow.live else None
        wanted = catalog.Wanted(narrow.words, narrow.owner or "", narrow.alias, narrow.pickled, narrow.removed, among=among)
        page = catalog.page(look.session, wanted, order=narrow.order, after=narrow.after, limit=narrow.limit)
        counts = catalog.counts(look.session, [one.id for one in page.items]) if narrow.counted else {}
        total = catalog.count(look.session, wanted) if narrow.counted else None
        fresh = queries.freshness(look.session)
    items = tuple(_model(one, counts.get(one.id)) for one in page.items)
    return ModelPage(items=items, next=page.after, total=total, read_at=fresh.completed_at)


@router.get("/{model}")
def show_model(asks: Asks, model: ModelName, tagged: Tagged) -> ModelView:
    """One model with its aliases and the newest of its versions."""
    with asks.reading("model.read") as look:
        return tagged(_shown(model)(look, asks.actor))


class Champion(Sent):
    """Which version the champion alias of an environment shall name."""

    environment: Name = Field(examples=["production"])
    version: Whole


@router.post("/{model}/champion", status_code=202)
def set_champion(asks: Asks, held: Held, model: ModelName, sent: Champion) -> Champion:
    """Points an environment's champion alias at the version that is proved to answer there; a worker writes it.

    Sending it again changes nothing. 409 `not-proved` for a version that is not.
    """
    with held.held("model.read", _shown(model), select(Model.id).where(Model.name == model)):
        asks.backend.changes.set_champion(asks.actor, model, sent.environment, sent.version)
    return sent


def _shown(model: str) -> Callable[[Reading, Actor], ModelView]:
    def shown(look: Reading, _actor: Actor) -> ModelView:
        page = queries.versions(look.session, model, limit=100)
        aliases = queries.aliases(look.session, model)
        versions = Page[VersionLine](items=tuple(map(line_of, page.items)), next=page.after)
        line = catalog.one(look.session, model)
        return ModelView(
            name=model,
            description=line.description if line is not None else "",
            owner=line.owner if line is not None else "",
            removed_at=line.removed_at if line is not None else None,
            aliases=aliases,
            versions=versions,
        )

    return shown


def _model(line: catalog.ModelLine, counts: catalog.Counts | None) -> ModelLine:
    aliases = tuple(AliasedVersion(alias=alias, version=number) for alias, number in line.aliases)
    return ModelLine(**{**line._asdict(), **(vars(counts) if counts is not None else {}), "aliases": aliases})
