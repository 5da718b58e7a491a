"""Declarations over the API: the plan that was answered is what is applied, and nothing is read on the server for anybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.api.guard import MOST_BYTES
from backend.core.database import Database
from tests.api_world import Api
from tests.services.blueprints.world import document
from tests.services.changes.world import World

pytestmark = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


def sent(*documents: str, **more: Any) -> dict[str, Any]:
    return {"files": [{"name": "f.yaml", "text": "---\n".join(documents)}], **more}


def test_what_was_planned_is_applied_and_exported(asked: Api) -> None:
    files = sent(document("Team", "flights", "title: Delays\nmembers: [ana]"))
    plan = asked("POST", "/config/plan", files, by="otto")
    assert (plan["differs"], plan["objects"][0]["fields"][0]) == (True, {"field": "title", "old": None, "new": "Delays"})
    done = asked("POST", "/config/apply", {**files, "plan": plan["digest"]}, by="otto")
    assert [one["says"] for one in done["done"]] == ["Created."]
    assert asked("POST", "/config/plan", files, by="otto")["differs"] is False
    asked("POST", "/config/apply", {**files, "plan": plan["digest"]}, by="otto", status=409)
    export = asked("GET", "/config/export?kind=Team", by="otto")
    assert export["objects"][0]["spec"]["members"] == ["ana"]
    assert "title: Delays" in export["text"]


def test_a_file_on_the_server_is_read_for_nobody(asked: Api, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("planted")
    place = tmp_path / "s.json"
    spec = (
        f"kind: memory\nupstream: 'memory:{place}'\nsettings: {{path: '{place}'}}\ncredential: {{fromFile: {tmp_path}/secret}}"
    )
    files = sent(document("Server", "s-2", spec))
    plan = asked("POST", "/config/plan", files, by="olga")["digest"]
    asked("POST", "/config/apply", {**files, "plan": plan}, by="olga", status=422)
    told = {**files, "plan": plan, "credentials": {"Server/s-2": "typed by hand"}}
    assert asked("POST", "/config/apply", told, by="olga")["done"]


def test_more_than_an_ordinary_body_is_taken_for_files_alone(asked: Api) -> None:
    large = sent("# " + "x" * MOST_BYTES + "\n" + document("Team", "flights", "title: x"))
    assert asked("POST", "/config/plan", large, by="otto")["differs"]
    asked("POST", "/teams", {"name": "x" * MOST_BYTES}, by="otto", status=413)
