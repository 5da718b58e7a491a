"""Monitors as files declare them: all that watch an endpoint, under its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.blueprints.plan import FieldChange
from backend.core.database import Database
from tests.services.blueprints.world import Files, document
from tests.services.changes.world import ENDPOINT, MODEL, World

SPEC = """monitors:
  drift: {kind: drift, window_hours: 48, thresholds: {distance: {psi: 0.2}}}
  data: {kind: data, every_hours: 1}"""
MONITORS = document("Monitor", ENDPOINT, SPEC)


@pytest.fixture
def given(database: Database, tmp_path: Path) -> Files:
    return Files(World(database), tmp_path / "data")


def test_monitors_are_declared_exported_changed_and_taken_away_field_by_field(given: Files) -> None:
    one = given.one(MONITORS)
    assert (one.action, one.how) == ("create", ("direct",))
    given.settled(MONITORS)
    exported = given.exported(kinds=["Monitor"])
    assert exported.count("kind: Monitor") == 1
    assert "window_hours: 48" in exported
    changed = document("Monitor", ENDPOINT, "monitors:\n  drift: {kind: drift, window_hours: 24}")
    assert given.one(changed).fields == (
        FieldChange("monitors.drift.window_hours", 48, 24),
        FieldChange("monitors.drift.thresholds", {"distance": {"psi": 0.2}}, {}),
        FieldChange("monitors.data", "data", None),
    )
    given.settled(changed)
    given.apply(document("Monitor", ENDPOINT, absent="true"), prune=True)
    assert "kind: Monitor" not in given.exported()
    ledger = given.world.ledger("monitor")
    assert ledger == ["monitor.set", "monitor.set", "monitor.remove", "monitor.set", "monitor.remove"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("not-found", document("Monitor", "nothing-there", SPEC)),
        ("bad-monitor", document("Monitor", ENDPOINT, "monitors:\n  drift: {kind: drift, window_hours: 0}")),
        ("bad-monitor", document("Monitor", ENDPOINT, "monitors:\n  quality: {kind: quality}")),
        ("bad-monitor", document("Monitor", ENDPOINT, "monitors:\n  drift: {kind: drift, often: 1}")),
        ("bad-config", document("Monitor", ENDPOINT, "monitors: {}")),
    ],
)
def test_what_cannot_be_watched_is_refused_at_its_place(given: Files, code: str, text: str) -> None:
    given.refused(code, text)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_new_endpoint_comes_with_its_monitors_and_who_may_not_set_them_declares_nothing(given: Files) -> None:
    endpoint = document("Endpoint", "next", f"environment: dev\nmodel: {MODEL}\nserver: s")
    given.settled(document("Monitor", "next", SPEC), endpoint)
    given.refused("not-allowed", document("Monitor", "next", SPEC.replace("48", "47")), by=given.world.ana)
    given.refused("bad-monitor", document("Monitor", "next", SPEC.replace("kind: data", "kind: drift")))
