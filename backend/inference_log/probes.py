"""What marks a request as our own, so that the log does not tell it as somebody's: a time, and a proof of the key. Pure.

Any caller may send the header. Were everybody believed, whoever wants to go unseen by monitors would only have to say so.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta

HOLDS = timedelta(minutes=10)
"""How far a mark's time and its request's may lie apart: clocks differ, and a mark may be read where requests are logged."""
_MARK = re.compile(r"([0-9]{1,12})\.([0-9a-f]{32})")


def mark(key: bytes, now: datetime | None = None) -> str:
    """What a request of ours carries at this time."""
    told = str(int((now or datetime.now(UTC)).timestamp()))
    return f"{told}.{_proof(key, told)}"


def is_ours(key: bytes, told: str, at: datetime) -> bool:
    """Whether a request of this time carries a mark of this installation's."""
    match = _MARK.fullmatch(told)
    if match is None or abs(at.timestamp() - int(match[1])) > HOLDS.total_seconds():
        return False
    return hmac.compare_digest(match[2], _proof(key, match[1]))


def _proof(key: bytes, told: str) -> str:
    return hmac.new(key, f"probe {told}".encode(), hashlib.sha256).hexdigest()[:32]
