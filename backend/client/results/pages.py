"""Pages of lists, and whom a token acts as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some of a list, and what to ask the next page with; None at the end."""

    items: Sequence[T]
    next: str | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)


@dataclass(frozen=True)
class Me:
    """Whom a token acts as, and what its roles allow now."""

    id: str
    name: str
    kind: str
    owner_id: str | None
    roles: tuple[str, ...]
    may: tuple[str, ...]
