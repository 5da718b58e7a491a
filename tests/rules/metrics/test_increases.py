"""From counters to increases: restarts, figures that vanish and come back, first looks; and counts as bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.metrics.packed import packed, unpacked
from backend.metrics.quantiles import Histogram
from backend.metrics.series import Memory, Value, from_json, increase, is_countable, to_json

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


def walked(*looks: dict[str, Value], asked: str = "x", every: float = 30) -> list[dict[str, Value]]:
    """The increases that each look shows."""
    memory, found = Memory(), []
    for number, told in enumerate(looks):
        found.append(memory.increases(asked, told))
        memory = memory.after(START + timedelta(seconds=every * number), asked, told)
    return found


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=20))
def test_an_increase_is_never_negative_and_all_of_them_are_what_was_counted(added: list[float]) -> None:
    """Restarts at any point: what each process counted is what was added since its start."""
    value, told = 0.0, []
    for one in added:
        value = value + one if one < 5e8 else 0.0  # a restart
        told.append({"a": value})
    found = [one.get("a") for one in walked(*told)]
    assert found[0] is None, "the first look is where counting begins"
    assert all(isinstance(one, float) and one >= 0 for one in found[1:])


def test_a_restart_is_no_negative_rate_and_loses_only_what_nobody_saw() -> None:
    assert walked({"a": 100.0}, {"a": 130.0}, {"a": 7.0}, {"a": 9.0})[1:] == [{"a": 30.0}, {"a": 7.0}, {"a": 2.0}]


def test_a_figure_that_vanishes_and_comes_back_is_no_burst() -> None:
    """A gap in what a source tells: the same counter goes on where it was. A version that was loaded again began anew."""
    assert walked({"a": 100.0}, {}, {"a": 103.0})[2] == {"a": 3.0}
    assert walked({"a": 100.0}, {}, {"a": 3.0})[2] == {"a": 3.0}


def test_one_that_was_gone_for_more_than_a_day_is_forgotten() -> None:
    memory = Memory().after(START, "x", {"a": 100.0})
    memory = memory.after(START + timedelta(hours=25), "x", {})
    assert memory.counted == {}


def test_a_new_figure_counts_whole_only_if_it_was_asked_for_before() -> None:
    memory = Memory().after(START, "x", {})
    assert memory.increases("x", {"a": 5.0}) == {"a": 5.0}
    assert memory.increases("another question", {"a": 5.0}) == {}
    assert Memory().increases("x", {"a": 5.0}) == {}


def test_buckets_begin_anew_together() -> None:
    before, now = Histogram((1.0, 2.0), (5, 5, 5), 20.0), Histogram((1.0, 2.0), (6, 5, 9), 40.0)
    assert increase(before, now) == Histogram((1.0, 2.0), (1, 0, 4), 20.0)
    restarted = Histogram((1.0, 2.0), (20, 1, 0), 9.0)
    assert increase(before, restarted) == restarted, "one bucket fell, so that all of them began anew"
    assert increase(before, Histogram((1.0, 3.0), (9, 9, 9), 40.0)).bounds == (1.0, 3.0)  # type: ignore[union-attr]
    assert increase(7.0, now) == now


def test_what_cannot_be_counted() -> None:
    told: list[Value] = [float("nan"), float("inf"), -1.0, Histogram((1.0,), (1, 1), float("nan"))]
    assert [is_countable(one) for one in told] == [False] * 4
    assert is_countable(0.0)
    assert is_countable(Histogram((1.0,), (1, 1), 2.0))


def test_what_is_remembered_outlives_the_process() -> None:
    memory = Memory().after(START, "x", {"a": 1.5, "b": Histogram((1.0,), (1, 2), 3.0), "c": Histogram((1.0,), (0, 0))})
    assert from_json(json.loads(json.dumps(to_json(memory)))) == memory
    assert from_json(None) == Memory()


@given(st.lists(st.integers(0, 2**63), max_size=30) | st.lists(st.floats(0, 1e300), max_size=30))
def test_counts_are_the_same_out_of_their_bytes(counts: list[float]) -> None:
    assert unpacked(packed(counts)) == tuple(counts)


def test_few_bytes_for_small_counts_and_none_that_are_no_counts() -> None:
    assert len(packed([1, 0, 255])) == 4
    assert len(packed([1, 0, 256])) == 7
    for content in (b"", b"\x03abc", b"\x02abc"):
        with pytest.raises(ValueError, match="no counts"):
            unpacked(content)
