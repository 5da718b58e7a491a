"""Sticky assignment: properties that hold for every sequence of shares, and the hash that the router shares with us."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.errors import Refusal
from backend.delivery import buckets
from backend.delivery.plan import BUCKETS

ARMS = ("a", "b", "champion", "d")


@st.composite
def shares(draw: st.DrawFn) -> dict[str, int]:
    """Shares of a random subset of arms that sum to 10,000."""
    arms = draw(st.lists(st.sampled_from(ARMS), min_size=1, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, BUCKETS), min_size=len(arms) - 1, max_size=len(arms) - 1)))
    edges = [0, *cuts, BUCKETS]
    return {arm: edges[place + 1] - edges[place] for place, arm in enumerate(arms)}


def _sets(ranges: dict[str, buckets.Ranges]) -> dict[str, set[int]]:
    return {arm: buckets.members(own) for arm, own in ranges.items()}


@settings(max_examples=60, deadline=None)
@given(st.lists(shares(), min_size=1, max_size=5))
def test_sets_only_grow_or_shrink_and_sum_exactly(walk: list[dict[str, int]]) -> None:
    before: dict[str, buckets.Ranges] = {}
    for step in walk:
        after = buckets.allocate(before, step)
        old, new = _sets(before), _sets(after)
        assert {arm: len(own) for arm, own in new.items()} == step
        assert sum(len(own) for own in new.values()) == BUCKETS == len(set().union(*new.values()))
        for arm in new:
            smaller, larger = sorted((old.get(arm, set()), new[arm]), key=len)
            assert smaller <= larger, f"{arm} swapped units"
            assert not new[arm] or max(smaller, default=-1) < min(old.get(arm, set()) - new[arm], default=BUCKETS), (
                "its highest go"
            )
            assert all(left[1] < right[0] for left, right in pairwise(after[arm])), "as few ranges as possible"
        assert buckets.moves(before, after) == buckets.moves(before, after, range(BUCKETS)), "counted one by one"
        for source, target in buckets.moves(before, after):
            assert len(new.get(source, ())) < len(old[source])
            assert len(new[target]) > len(old.get(target, ()))
        before = after


@settings(max_examples=30, deadline=None)
@given(shares(), shares())
def test_the_result_does_not_depend_on_the_order_in_which_arms_are_named(first: dict[str, int], second: dict[str, int]) -> None:
    before = buckets.allocate({}, first)
    backwards = {arm: before[arm] for arm in reversed(before)}
    assert buckets.allocate(before, second) == buckets.allocate(backwards, dict(reversed(list(second.items()))))
    assert buckets.allocate(before, first) == before


def test_a_ramp_moves_units_from_the_champion_only() -> None:
    start = buckets.allocate({}, {"champion": 9000, "baseline": 500, "canary": 500})
    grown = buckets.allocate(start, {"champion": 5000, "baseline": 2500, "canary": 2500})
    assert buckets.moves(start, grown) == {("champion", "baseline"): 2000, ("champion", "canary"): 2000}


def test_moves_count_units_by_their_buckets() -> None:
    start = buckets.allocate({}, {"champion": BUCKETS})
    grown = buckets.allocate(start, {"champion": 8500, "canary": 1500})
    units = [buckets.bucket("s", f"unit-{number}") for number in range(18_420)]
    moved = buckets.moves(start, grown, units)
    assert set(moved) == {("champion", "canary")}
    assert moved.total() == sum(1 for number in units if buckets.owner(grown, number) == "canary")
    assert 0.14 < moved.total() / 18_420 < 0.16


def test_the_hash_is_the_published_one() -> None:
    """FNV-1a 32 of "foo:bar", "ä:☃" and ":" as computed by an independent definition; "foobar" is the draft's own vector."""
    assert _fnv1a(b"foobar") == 0xBF9CF968
    for salt, unit in (("foo", "bar"), ("ä", "☃"), ("", ""), ("exp-1", "user0")):
        assert buckets.bucket(salt, unit) == _folded(_fnv1a(f"{salt}:{unit}".encode()))


def _folded(value: int) -> int:
    return (value ^ (value >> 16)) % BUCKETS


def _fnv1a(data: bytes) -> int:
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * (2**24 + 2**8 + 0x93) % 2**32
    return value


def test_buckets_are_even_and_salts_are_independent() -> None:
    tenths = Counter(buckets.bucket("even", f"unit-{number}") // 1000 for number in range(20_000))
    assert all(1800 < count < 2200 for count in tenths.values())
    quarters = Counter(
        (buckets.bucket("one", str(unit)) < 5000, buckets.bucket("two", str(unit)) < 5000) for unit in range(8000)
    )
    assert all(1850 < count < 2150 for count in quarters.values())


@pytest.mark.parametrize(
    ("previous", "wanted"),
    [
        ({}, {"a": 9999}),
        ({}, {"a": 10_001, "b": -1}),
        ({}, {"a": 5000.0, "b": 5000}),
        ({}, {"a": True, "b": 9999}),
        ({}, {}),
        ({"a": ((0, 6000),), "b": ((5999, 10_000),)}, {"a": BUCKETS}),
        ({"a": ((0, 10_001),)}, {"a": BUCKETS}),
        ({"a": ((5, 5),)}, {"a": BUCKETS}),
    ],
)
def test_malformed_shares_are_refused(previous: dict[str, buckets.Ranges], wanted: dict[str, int]) -> None:
    with pytest.raises(Refusal) as refusal:
        buckets.allocate(previous, wanted)
    assert refusal.value.code == "bad-share"


def test_a_unit_of_any_bytes_has_the_bucket_that_the_router_gives_it() -> None:
    unit = b"caf\xe9 \xff".decode("utf-8", "surrogateescape")
    value = 2166136261
    for byte in b"s:caf\xe9 \xff":
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    assert buckets.bucket("s", unit) == (value ^ (value >> 16)) % BUCKETS
