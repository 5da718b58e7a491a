"""What is said of a test that reached nobody, and of an address with a version that there is not."""

from __future__ import annotations

import pytest

from app.monitor_pages.monitor_filters import _version
from backend.cli.finding import _reached
from backend.core.errors import Refusal


def test_a_test_that_reached_nobody_says_which_of_two_things_it_is() -> None:
    (nobody,) = _reached((), was_read=True)
    (no_worker,) = _reached((), was_read=False)
    assert "nobody is told" in nobody
    assert "worker" not in nobody
    assert "no worker has read" in no_worker


@pytest.mark.parametrize(
    ("typed", "says"),
    [("x", "A version is a number."), *((one, "No version has that number.") for one in ("9" * 20, "2147483648", "-1"))],
)
def test_an_address_with_a_version_that_there_is_not_says_what_is_wrong_with_it(typed: str, says: str) -> None:
    with pytest.raises(Refusal, match=says):
        _version(typed)
