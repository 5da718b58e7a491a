"""`/group-mappings`: which group of a provider gives which role. What was asked for and waits is among `/requests`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field, StringConstraints

from backend.access import touched
from backend.access.rows import Request
from backend.access.rules import Role
from backend.api.asking import Asks, Name, Page, Paged, Plain, Sent, Shown
from backend.api.grants import Scope, Settled
from backend.api.once import Making

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
    reaches: bool = Field(description="Whether what its scope names is there; the settings file may name what comes later.")


class TouchedView(Shown):
    """One known person in a group."""

    name: str = Field(description="The short name, of which there is one only.")
    shown: str = Field(description="What pages call them; others may be called so too.")
    active: bool
    has: bool = Field(description="Whether the role in that scope is held already, by whatever way.")
    told_by: str = Field(description="sign-in or directory.")


class GroupView(Shown):
    """One group of a provider."""

    value: str = Field(description="As the provider tells it.", examples=["ml-reviewers"])
    people: int = Field(description="How many are known in it.")


class TouchedNarrow(Paged):
    """Which group, and what it would give."""

    provider: Name = Field(examples=["corp"])
    value: Group = Field(description="The group, as the provider tells it.", examples=["ml-reviewers"])
    role: Role = Field(examples=["reviewer"])
    scope: Scope = "*"


class NewMapping(Sent):
    """That a group shall give a role."""

    provider: Name = Field(examples=["corp"])
    value: Group = Field(description="The group, as the provider tells it.", examples=["ml-reviewers"])
    role: Role
    scope: Scope = "*"


@router.get("")
def list_group_mappings(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[MappingView]:
    """Every mapping that counts, those of the settings file included."""
    with asks.reading("policy.read") as look:
        found = asks.backend.group_mappings.lines(look.session)
    items, following = narrow.cut(found, lambda one: (one.provider, one.value, one.role, one.scope, one.id or ""))
    return Page(items=tuple(map(MappingView.model_validate, items)), next=following)


@router.get("/touched")
def list_touched(asks: Asks, narrow: Annotated[TouchedNarrow, Query()]) -> Page[TouchedView]:
    """Whom it touches that this group gives this role: the known people in it, and who of them holds the role already."""
    with asks.reading("group_mapping.make") as look:
        found = touched.by_group(look.session, narrow.provider, narrow.value, narrow.role, narrow.scope)
    return touched_page(narrow, found)


def touched_page(narrow: Paged, found: Iterable[touched.Touched]) -> Page[TouchedView]:
    """A page of them, by short name."""
    items, following = narrow.cut(found, lambda one: (one.name,))
    return Page(items=tuple(map(TouchedView.model_validate, items)), next=following)


class GroupsNarrow(Paged):
    """Whose groups."""

    provider: Name = Field(examples=["corp"])


@router.get("/groups")
def list_known_groups(asks: Asks, narrow: Annotated[GroupsNarrow, Query()]) -> Page[GroupView]:
    """Groups that a provider told of somebody, or that its directory has, by name: what a mapping can name as it is spelled."""
    with asks.reading("group_mapping.make") as look:
        found = touched.groups_told(look.session, narrow.provider)
    items, following = narrow.cut(found, lambda one: (one[0],))
    return Page(items=tuple(GroupView(value=value, people=people) for value, people in items), next=following)


@router.post("")
def ask_for_group_mapping(asks: Asks, once: Making, sent: NewMapping) -> Settled:
    """Asks that this group gives this role. A second admin confirms it: it counts at once for a directory, else from the next
    sign-in on.
    """
    asked = sent.model_dump()
    made = once.make(Request, lambda: asks.backend.group_mappings.map(asks.actor, **asked).id)
    return Settled(done=False, request=made.id)


@router.delete("/{mapping}", status_code=204)
def remove_group_mapping(asks: Asks, mapping: MappingId) -> None:
    """The group gives this role no longer: whoever has it by a directory loses it at once, others at the next sign-in."""
    asks.backend.group_mappings.unmap(asks.actor, mapping)
