"""Durations as people write them: 90s, 10m, 1h, 2d."""

from __future__ import annotations

import re

from backend.core.errors import Refusal

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(text: str) -> int:
    """`90`, `90s`, `10m`, `1h` or `2d` -> seconds."""
    match = re.fullmatch(r"\s*([0-9]{1,9})\s*([smhd]?)\s*", text, re.ASCII)
    if match is None:
        raise Refusal(f"{text[:80]!r} is not a duration.", "Write it like 90s, 10m, 1h or 2d.", code="bad-duration")
    return int(match[1]) * _UNITS[match[2]]


def written(count: int) -> str:
    """Seconds in the largest unit that tells them whole: 5400 -> `90m`."""
    unit = next(name for name in ("d", "h", "m", "s") if count % _UNITS[name] == 0) if count else "s"
    return f"{count // _UNITS[unit]}{unit}"
