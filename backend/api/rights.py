"""`/rights`: the one table of who may do what, as commands decide by it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from backend.access.rules import MATRIX, SCOPES
from backend.api.asking import Asks, Page, Paged, Shown

router = APIRouter(prefix="/rights", tags=["grants"])


class RightView(Shown):
    """One action, and the roles and scopes that allow it."""

    action: str
    says: str = Field(description="The action in words.")
    roles: tuple[str, ...]
    scopes: tuple[str, ...] = Field(description="Kinds of scope in which a role may count, besides everywhere.")


@router.get("")
def list_rights(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[RightView]:
    """Every action with the roles that may do it, in the table's own order."""
    with asks.reading("policy.read"):
        pass
    items, following = narrow.cut(enumerate(MATRIX), lambda one: (one[0],))
    lines = tuple(
        RightView(action=line.action, says=line.says, roles=tuple(sorted(line.roles)), scopes=tuple(sorted(SCOPES[line.place])))
        for _, line in items
    )
    return Page(items=lines, next=following)
