"""Pages of a list, by key: a page costs the same at the end as at the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from backend.registry.keys import read_key

T = TypeVar("T")
MAX_PAGE = 500


@dataclass(frozen=True)
class Lines(Generic[T]):
    """One page of a list. `after` asks for the next page; None at the end."""

    items: tuple[T, ...]
    after: str | None


def bounded(limit: int) -> int:
    """How many rows a page has, whatever was asked for."""
    return max(1, min(limit, MAX_PAGE))


def cut(lines: list[T], size: int, key: Callable[[T], str]) -> Lines[T]:
    """The page, from one row more than it has, so that it is known whether another follows."""
    return Lines(tuple(lines[:size]), key(lines[size - 1]) if len(lines) > size else None)


def is_removed(column: Any, removed: bool) -> sa.ColumnElement[bool]:
    """What the registry no longer has, or what it has."""
    expression: sa.ColumnElement[bool] = column.is_not(None) if removed else column.is_(None)
    return expression


def before(moment: Any, identifier: Any, after: str) -> sa.ColumnElement[bool]:
    """Rows after a key in an order of descending (moment, id)."""
    at, last = read_key(after, datetime, str)
    expression: sa.ColumnElement[bool] = sa.tuple_(moment, identifier) < sa.tuple_(
        sa.literal(at, moment.type), sa.literal(last)
    )
    return expression
