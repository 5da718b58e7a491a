"""Where the next page of a list begins, as a short text for an address: made here, and believed only when it can be read."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

from backend.core.canonical import canonical, loads
from backend.core.errors import Refusal
from backend.core.moments import in_utc
from backend.registry.signatures import clean

_LONGEST = 2048


def write_key(*parts: str | int | datetime) -> str:
    """The last row's ordering columns as URL-safe text."""
    plain = [part.isoformat() if isinstance(part, datetime) else part for part in parts]
    return base64.urlsafe_b64encode(canonical(plain)).decode().rstrip("=")


def read_key(text: str, *kinds: type) -> tuple[Any, ...]:
    """The columns again, of exactly these kinds. Refusal `bad-page` for anything else."""
    try:
        parts = loads(base64.urlsafe_b64decode(text[:_LONGEST] + "=" * (-len(text) % 4)))
        return tuple(_as(kind, part) for kind, part in zip(kinds, parts, strict=True))
    except (ValueError, TypeError, Refusal) as error:
        raise Refusal("This page of the list does not exist.", "Start again at the first page.", code="bad-page") from error


def _as(kind: type, part: Any) -> Any:
    if kind is datetime:
        return in_utc(datetime.fromisoformat(part))
    if kind is str and isinstance(part, str):
        return clean(part)
    if kind is int and type(part) is int and abs(part) < 2**31:
        return part
    raise TypeError("another kind of value")
