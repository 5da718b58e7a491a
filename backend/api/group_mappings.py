"""`/group-mappings`: which group of a provider gives which role, once a second admin confirmed it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field, StringConstraints

from backend.access.rules import Role
from backend.access.session_rows import GroupMapping
from backend.api.asking import Asks, Name, Page, Paged, Plain, Sent, Shown
from backend.api.grants import Scope
from backend.api.once import Making
from backend.core.errors import NotFound

router = APIRouter(prefix="/group-mappings", tags=["sign-in"])
MappingId = Annotated[str, Path(pattern=r"^map_[0-9a-z]{26}$", description="The mapping's id.")]
Group = Annotated[str, StringConstraints(min_length=1, max_length=256), Plain]


class MappingView(Shown):
    """One mapping."""

    id: str | None = Field(description="Null for one that stands in the settings file, which nobody changes here.")
    provider: str
    value: str = Field(description="The group, as the provider tells it.")
    role: str
    scope: str
    made_by: str | None
    waits: bool = Field(description="Whether a second admin has still to confirm it.")


class NewMapping(Sent):
    """That a group shall give a role."""

    provider: Name = Field(examples=["corp"])
    value: Group = Field(description="The group, as the provider tells it.", examples=["ml-reviewers"])
    role: Role
    scope: Scope = "*"


@router.get("")
def list_group_mappings(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[MappingView]:
    """Every mapping, those of the settings file included."""
    with asks.reading("policy.read") as look:
        found = asks.backend.group_mappings.lines(look.session)
    items, following = narrow.cut(found, lambda one: (one.provider, one.value, one.role, one.scope, one.id or ""))
    return Page(items=tuple(map(MappingView.model_validate, items)), next=following)


@router.post("", status_code=201)
def create_group_mapping(asks: Asks, once: Making, sent: NewMapping) -> MappingView:
    """This group shall give this role once another admin confirmed it: of a directory at once, else at the next sign-in."""

    asked = sent.model_dump()
    made = once.make(GroupMapping, lambda: asks.backend.group_mappings.map(asks.actor, **asked).id)
    return _of(asks, made.id)


@router.post("/{mapping}/confirm")
def confirm_group_mapping(asks: Asks, mapping: MappingId) -> MappingView:
    """Another admin's word for a mapping; not of whoever made it. Sending it again changes nothing."""
    asks.backend.group_mappings.confirm(asks.actor, mapping)
    return _of(asks, mapping)


@router.delete("/{mapping}", status_code=204)
def remove_group_mapping(asks: Asks, mapping: MappingId) -> None:
    """The group gives this role no longer: whoever has it by a directory loses it at once, others at the next sign-in."""
    asks.backend.group_mappings.unmap(asks.actor, mapping)


def _lines(asks: Asks) -> list[MappingView]:
    with asks.reading("policy.read") as look:
        return [MappingView.model_validate(one) for one in asks.backend.group_mappings.lines(look.session)]


def _of(asks: Asks, mapping: str) -> MappingView:
    found = next((one for one in _lines(asks) if one.id == mapping), None)
    if found is None:
        raise NotFound("mapping", mapping)
    return found
