"""Which arm a request is assigned to: the one answer that every router gives, in Python. Pure.

`envoy_script.lua` is the same in Lua; the contract suite holds the two to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from backend.delivery.buckets import bucket, owner
from backend.delivery.desired import EndpointRoute

MAX_UNIT_BYTES = 256


@dataclass(frozen=True)
class Assigned:
    """The arm that a request belongs to; `bucket` is None for a request that names no usable unit."""

    arm: str
    bucket: int | None


def assign(route: EndpointRoute, unit: str) -> Assigned:
    """The arm that owns the unit's bucket.

    A unit that is missing, empty or longer than 256 bytes is nobody in particular: the champion answers, without a bucket, so
    that analyses leave the request out. The champion also answers for a bucket that no arm owns.
    """
    named = unit.strip(" \t")  # as HTTP reads a header's value
    if not 0 < len(named.encode()) <= MAX_UNIT_BYTES:
        return Assigned(route.champion, None)
    number = bucket(route.salt, named)
    return Assigned(owner({arm.arm: arm.ranges for arm in route.arms}, number) or route.champion, number)
