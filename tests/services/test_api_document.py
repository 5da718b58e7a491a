"""The OpenAPI document: everything has words and examples, and every example is what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.api.document import NEEDS_A_TAG, operations
from backend.core.database import Database
from scripts import tables
from tests.api_world import Api
from tests.services.changes.world import World

pytestmark = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
WITHOUT_CONTENT = {
    "remove_endpoint", "remove_group_mapping", "remove_metric_source", "remove_monitor", "remove_ramp", "remove_route",
    "remove_router", "remove_server", "remove_slo", "remove_window_report", "revoke_session", "unsubscribe",
}  # fmt: skip
A_FILE = {"export_ledger", "open_window_report"}


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


def test_every_answer_has_an_example_of_its_schema(asked: Api) -> None:
    lacking = set()
    for path, method, operation in operations(asked.document):
        for status, answer in operation["responses"].items():
            for media, content in answer.get("content", {}).items():
                if "example" not in content:
                    lacking.add((operation["operationId"], status, media))
                    continue
                if media == "application/problem+json":
                    assert content["example"]["status"] == int(status), (method, path)
                asked.fits(content.get("schema", {}), content["example"])
    assert {name for name, _, _ in lacking} == A_FILE
    assert {
        one["operationId"] for _, _, one in operations(asked.document) if "204" in one["responses"]
    } == WITHOUT_CONTENT  # fmt: skip


def test_every_example_of_a_request_is_of_its_schema_and_can_be_read(asked: Api) -> None:
    sent = 0
    for path, method, operation in operations(asked.document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body is None:
            continue
        assert "example" in body, operation["operationId"]
        asked.fits(body["schema"], body["example"])
        address, query = _filled(path, operation)
        headers = {"authorization": f"Bearer {asked.token('otto')}"}
        headers |= {"if-match": "*"} if any(one["name"] == "If-Match" for one in operation["parameters"]) else {}
        answer = asked.client.request(method, address, params=query, json=body["example"], headers=headers)
        assert answer.status_code != 400, (address, answer.text)
        assert answer.status_code < 300 or answer.json()["code"] != "bad-request", (address, answer.text)
        sent += 1
    assert sent > 40


def _filled(path: str, operation: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """An address with the examples of its parameters."""
    query = {}
    for one in operation["parameters"]:
        if one["in"] == "path":
            path = path.replace("{" + one["name"] + "}", str(_example(one)))
        elif one["in"] == "query" and one["required"]:
            query[one["name"]] = _example(one)
    return path, query


def _example(parameter: dict[str, Any]) -> Any:
    schema = parameter["schema"]
    if "examples" in schema:
        return schema["examples"][0]
    found = re.match(r"^\^([a-z]+_)\[0-9a-z\]\{26\}\$$", schema.get("pattern", ""))
    assert found or schema["type"] == "integer", parameter
    return found[1] + "0" * 26 if found else 1


def test_ids_of_operations_are_words_and_each_is_one_operations_own(asked: Api) -> None:
    names = [one["operationId"] for _, _, one in operations(asked.document)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", one) for one in names)


def test_conditions_and_keys_are_documented_where_they_hold(asked: Api) -> None:
    for path, method, operation in operations(asked.document):
        fields = {one["name"] for one in operation["parameters"]}
        answers = operation["responses"]
        assert "X-Request-Id" in fields, (method, path)
        assert ("304" in answers) is ("If-None-Match" in fields), (method, path)
        assert ("412" in answers) is ("If-Match" in fields), (method, path)
        assert ("428" in answers) is (NEEDS_A_TAG in operation["description"]), (method, path)
        if method in ("patch", "put") and "members" not in path:
            assert "428" in answers, (method, path)
        if "201" in answers and path != "/v1/models/{model}/versions/{number}/register":
            assert "Idempotency-Key" in fields, (method, path)


def test_every_list_is_a_page(asked: Api) -> None:
    schemas = asked.document["components"]["schemas"]
    for path, method, operation in operations(asked.document):
        content = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
        assert content.get("schema", {}).get("type") != "array", (method, path)
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        if operation["operationId"].startswith("list_") and "recorded" not in operation["operationId"]:
            assert {"items", "next"} <= schemas[name]["properties"].keys(), (method, path)
            if method == "get" and operation["operationId"] != "list_placements":
                assert "after" in {one["name"] for one in operation["parameters"]}, (method, path)


def test_the_table_of_the_documentation_is_that_of_the_document(asked: Api) -> None:
    assert tables.PARTS["operations"].is_current(), tables.AGAIN
