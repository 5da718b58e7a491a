"""Sticky assignment: units fall into 10,000 fixed buckets, and arms own sets of buckets that only grow or only shrink.

Measured on Envoy's own weighted hash: going from 90/5/5 to 50/25/25 moved every user of one arm to the other. Here a unit
changes its arm only where a share shrinks, and then only to an arm whose share grows. Pure values, no I/O.

The hash is FNV-1a with 32 bits (draft-eastlake-fnv), folded by `h ^= h >> 16` because its low bits alone are the weakest;
`routers/envoy_script.lua` computes the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from backend.core.errors import Refusal
from backend.delivery.desired import Range
from backend.delivery.plan import BUCKETS

Ranges = tuple[Range, ...]
_OFFSET, _PRIME, _MASK = 2166136261, 16777619, 0xFFFFFFFF


def bucket(salt: str, unit: str) -> int:
    """The bucket (0 to 9,999) of a unit under a salt: the same in the router, the inference log and the analysis."""
    value = _OFFSET
    for byte in f"{salt}:{unit}".encode("utf-8", "surrogateescape"):  # a header may hold any bytes; the router hashes those
        value = ((value ^ byte) * _PRIME) & _MASK
    return (value ^ (value >> 16)) % BUCKETS


def allocate(previous: Mapping[str, Sequence[Range]], shares: Mapping[str, int]) -> dict[str, Ranges]:
    """Bucket ranges of each arm in `shares`, reached from `previous` by the fewest moves.

    An arm that shrinks gives up its highest buckets; these, and any that nobody owned, go in ascending order to the arms that
    grow, in order of name. So no unit moves between two arms that both keep or grow their share, and the result depends on
    nothing but the two arguments. Raises Refusal when shares are negative or do not sum to 10,000, or `previous` overlaps.
    """
    _check_shares(shares)
    held = {arm: _joined(ranges) for arm, ranges in previous.items()}
    free = _unowned(held)
    kept: dict[str, Ranges] = dict.fromkeys(shares, ())
    for arm, owned in held.items():
        head, tail = _split(owned, shares.get(arm, 0))
        free = _joined((*free, *tail))
        if arm in shares:
            kept[arm] = head
    for arm in sorted(shares):
        got, free = _split(free, shares[arm] - share(kept[arm]))
        kept[arm] = _joined((*kept[arm], *got))
    return kept


def owner(ranges: Mapping[str, Sequence[Range]], number: int) -> str | None:
    """The arm that owns a bucket, if any does."""
    return next((arm for arm, own in ranges.items() if any(start <= number < end for start, end in own)), None)


def moves(
    before: Mapping[str, Sequence[Range]], after: Mapping[str, Sequence[Range]], buckets: Iterable[int] | None = None
) -> Counter[tuple[str, str]]:
    """How many of `buckets` change their arm, by (from, to).

    Give the bucket of each unit seen lately to count units ("2,763 of 18,420 units move"); by default each bucket counts once.
    """
    if buckets is None:
        return _moved(before, after)
    old, new = _owners(before), _owners(after)
    changed: Counter[tuple[str, str]] = Counter()
    for number in buckets:
        if old[number] is not None and new[number] is not None and old[number] != new[number]:
            changed[(str(old[number]), str(new[number]))] += 1
    return changed


def _moved(before: Mapping[str, Sequence[Range]], after: Mapping[str, Sequence[Range]]) -> Counter[tuple[str, str]]:
    changed: Counter[tuple[str, str]] = Counter()
    for old, was in before.items():
        for new, now in after.items():
            common = sum(max(0, min(a[1], b[1]) - max(a[0], b[0])) for a in was for b in now) if old != new else 0
            if common:
                changed[(old, new)] += common
    return changed


def share(ranges: Iterable[Range]) -> int:
    """How many buckets some ranges hold."""
    return sum(end - start for start, end in ranges)


def members(ranges: Iterable[Range]) -> set[int]:
    """The buckets that some ranges hold. Raises Refusal for a range that is empty, reversed or outside 0 to 10,000."""
    found: set[int] = set()
    for start, end in ranges:
        _check_range(start, end)
        found.update(range(start, end))
    return found


def unit_in(salt: str, ranges: Sequence[Range], *, tries: int = 400_000) -> str:
    """A unit that falls into one of these ranges, always the same one: for requests of our own.

    A single bucket is met after 10,000 tries on average. Raises Refusal when `tries` do not do.
    """
    for number in range(tries):
        unit = f"countersign-probe-{number}"
        found = bucket(salt, unit)
        if any(start <= found < end for start, end in ranges):
            return unit
    raise _bad("no unit was found for these buckets")


def _owners(ranges: Mapping[str, Sequence[Range]]) -> list[str | None]:
    owners: list[str | None] = [None] * BUCKETS
    for arm, own in ranges.items():
        for start, end in own:
            owners[start:end] = [arm] * (end - start)
    return owners


def _unowned(held: Mapping[str, Ranges]) -> Ranges:
    owned = sorted(one for ranges in held.values() for one in ranges)
    if any(right[0] < left[1] for left, right in pairwise(owned)):
        raise _bad("two arms own the same bucket")
    edges = (0, *(edge for one in owned for edge in one), BUCKETS)
    return tuple((start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end)


def _joined(ranges: Iterable[Range]) -> Ranges:
    """The same buckets in ascending ranges, as few as possible."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        _check_range(start, end)
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


def _split(ranges: Ranges, count: int) -> tuple[Ranges, Ranges]:
    """The lowest `count` buckets of ascending ranges, or all there are, and the others."""
    head, tail = [], []
    for start, end in ranges:
        cut = start + min(max(count, 0), end - start)
        count -= end - start
        head += [(start, cut)] if start < cut else []
        tail += [(cut, end)] if cut < end else []
    return tuple(head), tuple(tail)


def _check_range(start: int, end: int) -> None:
    if not 0 <= start < end <= BUCKETS:
        raise _bad(f"[{start}, {end}) is not a range of buckets")


def _check_shares(shares: Mapping[str, int]) -> None:
    if any(isinstance(value, bool) or not isinstance(value, int) or value < 0 for value in shares.values()):
        raise _bad("a share is not a whole number of buckets")
    if sum(shares.values()) != BUCKETS:
        raise _bad(f"the shares sum to {sum(shares.values()) / 100:g} %, not 100 %")


def _bad(what: str) -> Refusal:
    return Refusal(
        f"These shares cannot be laid out: {what}.", "Draw the plan again; shares must sum to 100 %.", code="bad-share"
    )
