"""Token buckets: how much an identity may send at once and in a minute, and what it is told of that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.api.limits import Limits, told


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_burst_is_let_through_and_then_one_as_each_is_regained() -> None:
    clock = Clock()
    limits = Limits(60, 3, clock)
    assert [limits.take("ana").wait for _ in range(4)] == [0, 0, 0, 1]
    assert limits.take("ben").wait == 0, "a bucket is one identity's own"
    clock.seconds += 1
    assert [limits.take("ana").wait for _ in range(2)] == [0, 1]
    clock.seconds += 3600
    standing = limits.take("ana")
    assert (standing.left, standing.full) == (2, 1), "a bucket holds no more than a burst"


def test_what_is_told_is_the_form_of_the_draft() -> None:
    limits = Limits(60, 5, Clock())
    assert limits.policy == '"identity";q=5;w=5'
    assert told(limits.take("ana")) == '"identity";r=4;t=1'


def test_without_a_rate_there_is_no_limit() -> None:
    assert not Limits(0, 5).are_set


def test_the_buckets_of_those_who_are_gone_are_forgotten() -> None:
    limits = Limits(60, 1, Clock())
    assert limits.take("first").wait == 0
    for number in range(10_000):
        limits.take(str(number))
    assert len(limits._buckets) == 10_000
    assert limits.take("first").wait == 0


@given(pauses=st.lists(st.floats(0, 30), min_size=1, max_size=200), a_minute=st.integers(1, 6_000), burst=st.integers(1, 50))
def test_never_more_than_the_burst_and_what_was_regained(pauses: list[float], a_minute: int, burst: int) -> None:
    clock = Clock()
    limits, taken = Limits(a_minute, burst, clock), 0
    for pause in pauses:
        clock.seconds += pause
        standing = limits.take("ana")
        taken += standing.wait == 0
        assert 0 <= standing.left <= burst
        assert standing.wait >= 0
    assert taken <= burst + sum(pauses) * a_minute / 60 + 1e-6
