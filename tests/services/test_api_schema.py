"""Schemathesis over the whole OpenAPI document, in this process, against a database with a world in it.

No answer is a 5xx, and none is otherwise than the document says: status, media type, header fields and schema. Of what is
generated, a part names things that are there, so that more is reached than "not found". Python interface of Schemathesis 4:
https://schemathesis.readthedocs.io/ (`schemathesis.openapi.from_dict`, `APIOperation.as_strategy`, `Case.call`,
`Case.validate_response`).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from backend.access.rules import ROLES
from backend.api.document import operations
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.drift.stored import profile_bytes
from backend.metrics.slo import Objective
from backend.monitoring.rules import MonitorSpec
from backend.notify.rows import Message
from backend.registry.rows import IntakeRow, MirroredVersion, Model
from backend.window_reports.rules import Asked, Side
from tests.api_world import Api
from tests.drift_data import profile_of
from tests.found import drifted
from tests.services.changes.world import ENDPOINT, MODEL, World

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, negative_data_rejection, unsupported_method,
]  # fmt: skip
HOLDERS = {"admin": "otto", "contributor": "ana", "reviewer": "ben", "operator": "olga", "auditor": "audra", "viewer": "vera"}
SQLITE = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
NOTHING_IS_UP = {("POST", "/v1/sign-in/backchannel-logout"), ("POST", "/v1/sign-in/providers/{provider}/ask")}
"""They ask a provider, which nobody serves here: their 503 is an answer that the document has."""


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


def known(asked: Api) -> dict[str, list[Any]]:
    """Things that are there, by the name of the parameter that names them."""
    world, admin = asked.world, asked.world.otto
    numbers = [world.reviewed(), world.approved(start_mode="by_hand"), world.propose()]
    freeze = asked.backend.policies.freeze(world.olga, "dev", "tests")
    team = asked.backend.teams.create(admin, "flights")
    request = asked.backend.identities.grant(admin, "carla", "operator")
    asked_for = asked.backend.group_mappings.map(admin, "corp", "ml", "viewer")
    mapping = asked.backend.group_mappings.confirm(asked.world.nora, asked_for.id)
    token = asked.backend.tokens.create(world.ana, "another")
    asked.backend.identities.create(admin, "robots", kind="service", owner="ana")
    claims = {"repository_id": "456789", "ref": "refs/heads/main"}
    binding = asked.backend.bindings.bind(admin, "robots", "github", claims, role="contributor", scope="environment:dev")
    route = asked.backend.routes.add(admin, "release-room", "http://127.0.0.1:9/countersign", everybody=True)
    subscription = asked.backend.routes.subscribe(admin, ("change.waiting",), route=route.id)
    message = asked.backend.routes.test(admin, route.id)
    finding = drifted(asked.backend.database, ENDPOINT)[0]
    asked.backend.cards.write(world.ana, MODEL, "# A card", revision=0)
    asked.backend.ramps.set(world.olga, "careful", [{"share": 100, "hold_seconds": 600}])
    asked.backend.slos.set(world.olga, ENDPOINT, [Objective("availability", 0.999), Objective("latency", 0.95, 0.25)])
    asked.backend.monitors.set(world.olga, ENDPOINT, "drift", MonitorSpec(kind="drift"))
    asked.backend.reference_profiles.set(world.ana, MODEL, 1, profile_bytes(profile_of({"x": [1.0, 2.0, 3.0]})))
    vera = asked.backend.identities.create(admin, "vera")
    asked.tokens["vera"] = asked.backend.tokens.create(vera, "tests").text
    asked.backend.identities.grant(admin, "vera", "viewer", "environment:dev")
    with asked.backend.database.unit(SYSTEM) as tx:
        tx.session.get_one(Message, message).state = "dead"
        model = tx.session.get_one(Model, "mod_1")
        model.search, model.latest_version = MODEL, 5
        tx.record("model.mirror", model)
        beginning = {"started_by": SYSTEM.id, "started_at": tx.now, "beat_at": tx.now, "state": "failed"}
        intake = tx.add(IntakeRow(id=f"int_{'1' * 26}", kind="registry", model=MODEL, number=1, **beginning))
        for number in range(1, 6):
            moments = {"created_at": tx.now, "updated_at": tx.now, "mirrored_at": tx.now}
            tx.add(MirroredVersion(id=f"ver_{number}", model_id="mod_1", number=number, **moments))
    until = asked.backend.database.now() + timedelta(days=1)
    asked.backend.data_sets.grant(admin, f"requests/{ENDPOINT}", until=until, identity="ana")
    day = asked.backend.database.now().replace(hour=0, minute=0, second=0, microsecond=0)
    report = asked.backend.window_reports.ask(world.ana, ENDPOINT, Asked(Side(day - timedelta(days=1), day)))
    return {
        "change": [*map(str, numbers)], "endpoint": [ENDPOINT], "model": [MODEL], "number": [1, 2, 3], "server": ["s"],
        "router_name": ["r"], "environment": ["dev", "staging", "production"], "freeze": [freeze.id], "team": [team.name],
        "identity": ["ana", "carla"], "request": [request.id], "mapping": [mapping.id], "token": [token.id],
        "intake": [intake.id], "row": [1, 2], "version": [1, 2], "name": [ENDPOINT],
        "route": [route.name, route.id], "subscription": [subscription], "message": [message],
        "ramp": ["careful"], "source": ["gateway"], "finding": [str(finding.number), finding.id], "person": ["olga"],
        "binding": [binding.id], "service": ["robots"], "profile": ["github"], "report": [report.id],
    }  # fmt: skip


def _without_tokens(document: dict[str, Any]) -> dict[str, Any]:
    """Every request brings a good token, so that none is to be made up: what a bad one answers is held elsewhere."""
    copied = copy.deepcopy(document)
    copied["components"].pop("securitySchemes")
    for _, _, operation in operations(copied):
        operation.pop("security", None)
    return copied


class Walk:
    """Operations of the document, each asked several times, until the time is over."""

    def __init__(self, asked: Api) -> None:
        self.asked, self.known = asked, known(asked)
        self.schema = schemathesis.openapi.from_dict(_without_tokens(asked.document))
        self.schema.app = asked.application
        self.answers: dict[tuple[str, int], int] = {}
        self.failures: list[str] = []

    def over(self, *, by: str, examples: int, mode: GenerationMode, until: float = float("inf")) -> int:
        """How many operations were asked."""
        headers, walked = {"authorization": f"Bearer {self.asked.token(by)}"}, 0
        for found in self.schema.get_all_operations():
            operation = found.ok()
            if (operation.method.upper(), operation.path) not in NOTHING_IS_UP and time.monotonic() < until:
                self._one(operation, headers, examples, mode)
                walked += 1
        return walked

    def _one(self, operation: Any, headers: dict[str, str], examples: int, mode: GenerationMode) -> None:
        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(data=st.data())
        def asks(data: st.DataObject) -> None:
            case = data.draw(operation.as_strategy(generation_mode=mode))
            if mode == GenerationMode.POSITIVE:
                self._name(data, case)
            answer = case.call(headers=headers)
            key = (f"{operation.method.upper()} {operation.path}", answer.status_code)
            self.answers[key] = self.answers.get(key, 0) + 1
            case.validate_response(answer, checks=CHECKS)

        try:
            asks()
        except FailureGroup as failure:
            self.failures.append(f"{operation.method.upper()} {operation.path}: {failure}\n{failure.exceptions}")
        except Unsatisfiable:
            assert mode == GenerationMode.NEGATIVE, operation.path  # it takes nothing that could be wrong
        except Failure as failure:
            self.failures.append(f"{operation.method.upper()} {operation.path}: {failure}")

    def _name(self, data: st.DataObject, case: Any) -> None:
        """Three times out of four what is there, in the address and in the body."""
        for place in (case.path_parameters, case.body):
            for name in place if isinstance(place, dict) else ():
                if name in self.known and data.draw(st.integers(0, 3)):
                    place[name] = data.draw(st.sampled_from(self.known[name]))


@SQLITE
def test_a_short_walk_as_an_administrator_finds_no_5xx_and_nothing_undocumented(asked: Api) -> None:
    walk = Walk(asked)
    walked = walk.over(by="otto", examples=2, mode=GenerationMode.POSITIVE)
    assert walked == len(list(walk.schema.get_all_operations())) - len(NOTHING_IS_UP)
    walk.over(by="otto", examples=1, mode=GenerationMode.NEGATIVE)
    assert not walk.failures, "\n\n".join(walk.failures)
    fine = {path for path, status in walk.answers if status < 300}
    assert len(fine) > 40, "most of it has to reach something"


@SQLITE
@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_a_long_walk_as_each_role_finds_no_5xx_and_nothing_undocumented(asked: Api, role: str) -> None:
    walk = Walk(asked)
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        walk.over(by=HOLDERS[role], examples=25, mode=mode)
    assert not walk.failures, "\n\n".join(walk.failures)
    assert len(walk.answers) > 200
