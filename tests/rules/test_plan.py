"""The plan: what holds together is accepted with one digest, everything else is refused in its own words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.canonical import canonical
from backend.core.errors import Refusal
from backend.delivery.plan import buckets_from_percent, parse_plan, percent


def arm(version: int, buckets: int, **changes: Any) -> dict[str, Any]:
    return {
        "name": f"v{version}",
        "version": version,
        "artifact_digest": "sha256:" + f"{version:064x}",
        "package_digest": "sha256:" + f"{version + 100:064x}",
        "served_as": {"model": "flight-delay", "version": version},
        "buckets": buckets,
        **changes,
    }


def plan(**changes: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "endpoint": "flight-delay-production",
        "environment": "production",
        "model": "flight-delay",
        "arms": [arm(1, 0), arm(2, 10_000)],
        "champion": "v2",
        "salt": "flight-delay-production",
        "ramp": [{"shares": {"v1": 9000, "v2": 1000}, "hold_seconds": 60}],
        "rollback": {"champion": "v1", "shares": {"v1": 10_000}},
        "policy": "production@1",
        **changes,
    }


def test_a_plan_survives_json_and_keeps_its_digest() -> None:
    one = parse_plan(plan())
    again = parse_plan(one.canonical())
    assert again == one
    assert again.digest() == one.digest()
    assert one.steps[-1].shares == {"v1": 0, "v2": 10_000}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"arms": [arm(1, 0), arm(2, 9_999)]}, "99.99 %"),
        ({"arms": [arm(1, 5_000), arm(2, 5_001)]}, "100.01 %"),
        ({"arms": [arm(1, -1), arm(2, 10_001)]}, "arms.0.buckets"),
        ({"arms": [arm(1, 0), arm(2, 10_000.0)]}, "arms.1.buckets"),
        ({"arms": [arm(1, 0), arm(2, "10000")]}, "arms.1.buckets"),
        ({"arms": []}, "arms"),
        ({"arms": [arm(2, 0), arm(2, 10_000)]}, "same name"),
        ({"arms": [arm(1, 0, served_as={"model": "m", "version": 1}), arm(2, 10_000, served_as={"model": "m", "version": 1})]},
         "served under one name"),
        ({"arms": [arm(1, 0), arm(2, 10_000, served_as={"model": "../etc", "version": 2})]}, "served_as"),
        ({"champion": "v1"}, "champion has no share"),
        ({"champion": "v9"}, "not an arm"),
        ({"ramp": [{"shares": {"v1": 9000}}]}, "90 %"),
        ({"ramp": [{"shares": {"v1": 9000, "v9": 1000}}]}, "does not have"),
        ({"shadow": "v2"}, "shadow"),
        ({"rollback": {"champion": "v1", "shares": {"v2": 10_000}}}, "rollback"),
        ({"schema": 2}, "schema"),
        ({"surprise": True}, "surprise"),
        ({"endpoint": "../x"}, "endpoint"),
        ({"unit_header": "x\r\ny"}, "unit_header"),
        ({"bake_seconds": -1}, "bake_seconds"),
    ],
)  # fmt: skip
def test_what_does_not_hold_together_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Refusal, match=says) as refused:
        parse_plan(plan(**changes))
    assert refused.value.remedy


@given(st.sampled_from(sorted(plan())), st.integers())
def test_any_change_of_a_field_changes_the_digest_or_is_refused(field: str, value: int) -> None:
    original = parse_plan(plan())
    try:
        changed = parse_plan(plan(**{field: value}))
    except Refusal:
        return
    assert (changed.digest() == original.digest()) == (canonical(changed.to_json()) == canonical(original.to_json()))
    assert changed.digest() != original.digest() or getattr(changed, field, value) == getattr(original, field, value)


@given(st.integers(0, 10_000))
def test_shares_are_written_and_read_without_loss(buckets: int) -> None:
    assert buckets_from_percent(percent(buckets)) == buckets


@pytest.mark.parametrize("text", ["", "-1", "101", "100.01", "1.234", "nan", "1e1", "25 percent", "٢٥"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        buckets_from_percent(text)
