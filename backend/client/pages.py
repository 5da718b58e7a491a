"""Lists of a server, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from backend.client.results import Page
from backend.client.shapes import read_all
from backend.client.wire import Wire

T = TypeVar("T")
MOST = 200
"""Items of a page at most."""


class Pages(Generic[T]):
    """One list: of what, and where."""

    def __init__(self, wire: Wire, kind: type[T], *path: str | int) -> None:
        self._wire = wire
        self._kind = kind
        self._path = path

    def page(self, **narrow: Any) -> Page[T]:
        """One page."""
        return page(self._kind, self._wire.get(*self._path, **narrow).content)

    def all(self, *, cursor: str = "after", **narrow: Any) -> Iterator[T]:
        """Everything, each page when it is needed."""
        return every(lambda at: self.page(**narrow, **{cursor: at}))


def page(kind: type[T], told: Any) -> Page[T]:
    """A page as it was answered; a list that has no pages is one."""
    if isinstance(told, dict):
        return Page(read_all(kind, told.get("items")), _next(told.get("next")))
    return Page(read_all(kind, told))


def every(ask: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """The items of every page. A server that names the same page again is at its end."""
    at: str | None = None
    while True:
        found = ask(at)
        yield from found.items
        if found.next is None or found.next == at:
            return
        at = found.next


def _next(told: Any) -> str | None:
    return told if isinstance(told, str) and told else None
