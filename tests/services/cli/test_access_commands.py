"""Teams, requests, data sets and grants on the command line: each as JSON, with its refusals."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backend import bootstrap
from backend.core.context import SYSTEM
from backend.registry.rows import Model
from backend.settings import Settings
from tests.command_line import CommandLine

SOON = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%S+0000")


@pytest.fixture
def countersign(tmp_path: Path) -> CommandLine:
    bootstrap.install(Settings(data_dir=tmp_path / "data", demo_identities=True)).close()
    return CommandLine(data_dir=str(tmp_path / "data"), demo_identities="true")


def test_a_team_from_its_beginning_to_its_end(countersign: CommandLine) -> None:
    assert countersign("team", "create", "flights", "--title", "Flight delays", by="ana").error == "not-allowed"
    assert countersign("team", "create", "flights", "--title", "Flight delays", by="otto").code == 0
    assert countersign("team", "add", "flights", "ana", by="otto").code == 0
    assert countersign("team", "add", "flights", "otto", by="otto").error == "own-identity"
    assert countersign("team", "own", "flights", "--model", "nothing", by="otto").error == "not-found"
    assert countersign("team", "rename", "flights", "delays", by="otto").content["team"]["name"] == "delays"
    (team,) = countersign("team", "list", by="ben").content["teams"]
    assert (team["name"], team["members"], team["models"]) == ("delays", ["ana"], [])
    assert countersign("team", "show", "delays", by="ben").content["team"]["title"] == "Flight delays"
    assert countersign("team", "show", "flights", by="ben").error == "not-found"
    assert countersign("team", "remove", "delays", "ana", by="otto").code == 0
    assert countersign("team", "retire", "delays", by="otto").code == 0
    assert countersign("team", "list", by="ben").content["teams"] == []


def test_a_role_and_a_weaker_policy_wait_for_a_second_admin(countersign: CommandLine, tmp_path: Path) -> None:
    asked = countersign("identity", "grant", "ana", "reviewer", by="otto").content
    assert asked["granted"] is None
    assert countersign("request", "list", by="ana").error == "not-allowed"
    (line,) = countersign("request", "list", by="audra").content["requests"]
    assert (line["id"], line["state"]) == (asked["request"], "waiting")
    assert "the role reviewer everywhere" in line["says"]
    assert countersign("request", "confirm", asked["request"], by="otto").error == "own-request"
    assert countersign("request", "confirm", asked["request"], by="audra").error == "not-allowed"
    assert countersign("request", "confirm", asked["request"], "--reason", "As agreed", by="nora").code == 0
    held = countersign("identity", "grants", by="ben").content["grants"]
    assert ("ana", "reviewer", "*") in {(one["identity"], one["role"], one["scope"]) for one in held}
    loose = tmp_path / "policy.json"
    loose.write_text(json.dumps({"schema": 1, "approvals_needed": 0}))
    weaker = countersign("policy", "set", "production", str(loose), by="otto").content
    assert weaker["policy"] == "production@1"
    assert countersign("request", "refuse", weaker["request"], "--reason", "No", by="nora").code == 0
    assert countersign("request", "confirm", weaker["request"], by="nora").error == "settled"
    (first, second) = countersign("request", "list", "--all", by="nora").content["requests"]
    assert {(one["state"], one["reason"]) for one in (first, second)} == {("confirmed", "As agreed"), ("refused", "No")}
    assert countersign("request", "show", weaker["request"], by="nora").content["request"]["reason"] == "No"
    assert countersign("request", "show", "ask_nothing", by="nora").error == "not-found"
    assert countersign("identity", "bootstrap", "root").error == "bootstrapped"


def test_data_sets_are_given_listed_and_taken_back(countersign: CommandLine, tmp_path: Path) -> None:
    asked = ("data-set", "grant", "probes/flight-delay", "--to", "ana", "--until", SOON)
    assert countersign(*asked, by="otto").error == "not-found"
    backend = bootstrap.build(Settings(data_dir=tmp_path / "data", demo_identities=True))
    with backend.database.unit(SYSTEM) as tx:
        tx.add(Model(id="mod_1", name="flight-delay", created_at=tx.now, updated_at=tx.now, mirrored_at=tx.now))
    backend.close()
    given = countersign(*asked, by="otto").content["granted"]
    assert countersign("data-set", "list", by="ana").error == "not-allowed"
    (line,) = countersign("data-set", "list", by="audra").content["grants"]
    assert (line["id"], line["identity"], line["is_in_force"]) == (given["id"], "ana", True)
    assert countersign("data-set", "probes", "flight-delay", "1", by="ben").error == "data-set"
    assert countersign("data-set", "probes", "flight-delay", "1", by="ana").error == "not-registered"
    assert countersign("data-set", "take-back", given["id"], by="otto").code == 0
    assert countersign("data-set", "probes", "flight-delay", "1", by="ana").error == "data-set"
    span = ("--from", "2026-01-01T00:00:00+0000", "--to", "2026-01-02T00:00:00+0000")
    assert countersign("data-set", "requests", "nothing", *span, by="ana").error == "not-found"
