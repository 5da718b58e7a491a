"""How a feature's name and kind become the name of a Parquet column, and back. Pure.

A column is `<kind>.<name>`, the name in small letters, digits and `_`, everything else as `%` and two hex digits of its UTF-8.
So two names that differ only in case stay two columns in a database that ignores case, no name can break out of a statement,
and a feature whose kind changes from number to text gets a second column instead of making old files unreadable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple
from urllib.parse import unquote

Kind = Literal["number", "text", "flag", "json", "outcome"]
PREFIXES: dict[Kind, str] = {"number": "n", "text": "t", "flag": "f", "json": "j", "outcome": "o"}
SQL_TYPES: dict[Kind, str] = {"number": "DOUBLE", "text": "VARCHAR", "flag": "BOOLEAN", "json": "VARCHAR", "outcome": "DOUBLE"}
_KINDS = {prefix: kind for kind, prefix in PREFIXES.items()}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_COLUMN = re.compile(r"([ntfjo])\.((?:[a-z0-9_]|%[0-9a-f]{2})+)")


class Column(NamedTuple):
    """One feature's (or outcome's) column.

    Args:
        column: as DuckDB knows it; quote it: `SELECT avg("n.hour") FROM requests`.
        name: as the caller named it.
        kind: what its values are.
    """

    column: str
    name: str
    kind: Kind


def column_of(name: str, kind: Kind) -> str:
    """The column of a feature or outcome: `("Hour", "number")` -> `n.%48our`."""
    return f"{PREFIXES[kind]}." + "".join(one if one in _PLAIN else _escaped(one) for one in name)


def columns_among(names: Iterable[str]) -> tuple[Column, ...]:
    """Those of a table's columns that hold features or outcomes, by name and kind."""
    matches = (_COLUMN.fullmatch(name) for name in names)
    found = (Column(match[0], unquote(match[2]), _KINDS[match[1]]) for match in matches if match)
    return tuple(sorted(found, key=lambda one: (one.name, one.kind)))


def _escaped(letter: str) -> str:
    return "".join(f"%{byte:02x}" for byte in letter.encode())
