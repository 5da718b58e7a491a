"""Objectives as files declare them, under the name of the endpoint that they are about."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.blueprints.plan import FieldChange
from backend.core.database import Database
from tests.services.blueprints.world import Files, document
from tests.services.changes.world import ENDPOINT, MODEL, World

SPEC = """objectives:
  - {kind: latency, target: 95, within: 250ms}
  - {kind: availability, target: 99.9}"""
SLO = document("SLO", ENDPOINT, SPEC)


@pytest.fixture
def given(database: Database, tmp_path: Path) -> Files:
    return Files(World(database), tmp_path / "data")


def test_objectives_are_declared_exported_changed_and_taken_away(given: Files) -> None:
    one = given.one(SLO)
    assert (one.action, one.how) == ("create", ("direct",))
    given.settled(SLO)
    exported = given.exported(kinds=["SLO"])
    assert exported.count("kind: SLO") == 1
    assert 'within: "250ms"' in exported
    assert "target: 99.9" in exported
    changed = document("SLO", ENDPOINT, "days: 28\nobjectives:\n  - {kind: availability, target: 99}")
    fields = given.one(changed).fields
    assert fields[0] == FieldChange("days", 30, 28)
    given.settled(changed)
    given.settled(document("SLO", ENDPOINT, "objectives:\n  - {kind: availability, target: 99}"))
    assert given.one(document("SLO", ENDPOINT, "objectives:\n  - {kind: availability, target: 99}")).action == "none"
    given.apply(document("SLO", ENDPOINT, absent="true"), prune=True)
    assert "kind: SLO" not in given.exported()
    assert given.world.ledger("slo") == ["slo.set", "slo.set", "slo.remove"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("not-found", document("SLO", "nothing-there", SPEC)),
        ("bad-slo", document("SLO", ENDPOINT, "objectives:\n  - {kind: latency, target: 95}")),
        ("bad-slo", document("SLO", ENDPOINT, "objectives:\n  - {kind: availability, target: 95, within: 1s}")),
        ("slo-never-alarms", document("SLO", ENDPOINT, "days: 90\nobjectives:\n  - {kind: availability, target: 66}")),
        ("bad-config", document("SLO", ENDPOINT, "objectives:\n  - {kind: availability, target: 100}")),
        ("bad-config", document("SLO", ENDPOINT, "objectives:\n  - {kind: latency, target: 95, within: soon}")),
    ],
)
def test_what_cannot_be_promised_is_refused_at_its_place(given: Files, code: str, text: str) -> None:
    given.refused(code, text)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_new_endpoint_comes_with_its_objectives_and_who_may_not_set_them_declares_nothing(given: Files) -> None:
    endpoint = document("Endpoint", "next", f"environment: dev\nmodel: {MODEL}\nserver: s")
    both = (document("SLO", "next", SPEC), endpoint)
    given.settled(*both)
    given.refused("not-allowed", document("SLO", "next", SPEC.replace("99.9", "99")), by=given.world.ana)
