"""What the command line says of a test that reached nobody."""

from __future__ import annotations

from backend.cli.finding import _reached


def test_a_test_that_reached_nobody_says_which_of_two_things_it_is() -> None:
    (nobody,) = _reached((), was_read=True)
    (no_worker,) = _reached((), was_read=False)
    assert "nobody is told" in nobody
    assert "worker" not in nobody
    assert "no worker has read" in no_worker
