"""What a build server does, from a trained model to a change that waits for a reviewer: by the command line and by a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.changes.service import Changes
from backend.core.canonical import digest_bytes
from backend.core.context import Actor
from backend.core.database import Database
from backend.delivery.rows import Package
from backend.registry.memory import MemoryRegistry
from backend.registry.service import Versions
from tests.api_world import Api
from tests.command_line import CommandLine
from tests.services.changes.world import ENDPOINT, MODEL, SAME, World
from tests.services.changes.world import Packaging as NoPackaging
from tests.services.registry.worlds import FILES


class Packaging(NoPackaging):
    """Makes a package of whatever was registered."""

    def build(self, actor: Actor, artifact: Path, artifact_digest: str, target: str) -> Package:
        assert (artifact / "MLmodel").exists()
        with self.database.unit(actor) as tx:
            row = Package(
                id=digest_bytes(artifact_digest.encode()), packager="tests@1", target=target, artifact_digest=artifact_digest,
                interface_digest=SAME, files=[], size=1, created_at=tx.now,
            )  # fmt: skip
            tx.record("package.keep", tx.add(row))
            return row


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    world = World(real_time_database)
    registry = MemoryRegistry()
    for number in range(6):
        registry.add_version(MODEL, {**FILES, "note.txt": str(number).encode()})
    versions = Versions(real_time_database, registry)
    packaging = Packaging(real_time_database)
    world.changes = Changes(real_time_database, versions=versions, packaging=packaging, packages=world.store)
    opened = Api(world, tmp_path / "data", versions=versions)
    yield opened
    opened.close()


def test_a_build_server_registers_and_proposes_by_token_and_people_decide(asked: Api, tmp_path: Path) -> None:
    countersign = CommandLine(
        data_dir=str(tmp_path / "data"),
        database_url=asked.world.database.url.render_as_string(hide_password=False),
        demo_identities="true",
    )
    countersign("identity", "create", "builds", "--owner", "ana", "--display-name", "Build server", by="otto")
    asking = countersign("identity", "grant", "builds", "contributor", "--scope", f"model:{MODEL}", by="otto")
    assert countersign("request", "confirm", asking.content["request"], by="otto").error == "own-request"
    assert countersign("request", "confirm", asking.content["request"], by="nora").code == 0
    ci = countersign("token", "create", "ci", "--for", "builds", by="ana").content["token"]
    token = ci["text"]

    me = asked("GET", f"/me?model={MODEL}", token=token)
    assert (me["name"], me["kind"], me["roles"]) == ("Build server", "service", ["contributor"])
    for _ in range(2):
        taken = asked("POST", f"/models/{MODEL}/versions/6/register", token=token, status=201)
    assert asked.world.ledger("version").count("version.register") == 6
    assert asked("GET", f"/models/{MODEL}/versions/6", token=token)["registered"]["artifact_digest"] == taken["artifact_digest"]

    proposal = {"endpoint": ENDPOINT, "version": 6, "title": "Build 1842", "reason": "All tests passed."}
    made = [asked("POST", "/changes", proposal, token=token, idempotency_key="build-1842", status=201) for _ in range(2)]
    number = made[0]["line"]["number"]
    assert made[1]["line"]["number"] == number
    assert made[0]["plan"]["arms"][-1]["artifact_digest"] == taken["artifact_digest"]
    asked.world.run()
    asked.world.check()
    shown = asked("GET", f"/changes/{number}", token=token)
    vote = {"verdict": "approve", "plan_digest": shown["plan_digest"], "base_digest": shown["base_digest"]}
    asked.refused("not-allowed", "POST", f"/changes/{number}/votes", vote, token=token, status=403)

    asked.world.identities.grant(asked.world.otto, "ana", "reviewer")
    asked.refused("conflict-of-interest", "POST", f"/changes/{number}/votes", vote, by="ana", status=403)
    assert asked("POST", f"/changes/{number}/votes", vote, by="ben")["line"]["state"] == "approved"
    countersign("token", "revoke", ci["id"], by="ana")
    asked.refused("bad-token", "GET", "/me", token=token, status=401)


def test_a_version_that_nobody_has_or_nobody_registered_is_told(asked: Api) -> None:
    proposal = {"endpoint": ENDPOINT, "version": 6, "title": "x", "reason": "y"}
    asked.refused("not-found", "POST", f"/models/{MODEL}/versions/99/register", status=404)
    asked.refused("not-found", "POST", "/changes", proposal, status=404)
