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


def test_everything_that_is_wrong_is_told_at_its_place(asked: Api) -> None:
    wrong = sent(document("Team", "flights", "titel: Delays\nmembers: ana"))
    error = asked.refused("bad-config", "POST", "/config/plan", wrong, by="otto", status=422)
    assert [(one["field"], one["code"]) for one in error["errors"]] == [
        ("f.yaml:5:3", "bad-config"),
        ("f.yaml:6:3", "bad-config"),
    ]
    assert error["errors"][0]["remedy"] == "Did you mean `title`?"
    refused = sent(document("Team", "flights", "members: [nobody]"), document("Team", "others", "members: [otto]"))
    plan = asked("POST", "/config/plan", refused, by="otto")
    told = {**refused, "plan": plan["digest"]}
    error = asked.refused("plan-refused", "POST", "/config/apply", told, by="otto", status=422)
    assert [one["code"] for one in error["errors"]] == ["not-found", "own-identity"]


def test_ramps_have_operations_of_their_own_and_are_not_written_over(asked: Api) -> None:
    steps = {"steps": [{"share_percent": 1, "hold_seconds": 600}, {"share_percent": 25, "person": True}]}
    asked.refused("condition-needed", "PUT", "/ramps/careful", steps, by="olga", status=428)
    made = asked("PUT", "/ramps/careful", steps, by="olga", If_None_Match="*")
    assert [(one["share"], one["hold_seconds"], one["person"]) for one in made["steps"]] == [
        (100, 600, False),
        (2_500, 0, True),
    ]
    asked.refused("stale", "PUT", "/ramps/careful", {"steps": steps["steps"][:1]}, by="olga", If_None_Match="*", status=412)
    tag = asked.tag("/ramps/careful")
    assert asked("PUT", "/ramps/careful", {"steps": steps["steps"][:1]}, by="olga", If_Match=tag)["revision"] == 2
    asked.refused("stale", "DELETE", "/ramps/careful", by="olga", If_Match=tag, status=412)
    for name, sent_steps in (("Bad", steps), ("careful", {"steps": steps["steps"][::-1]})):
        code = "bad-name" if name == "Bad" else "bad-ramp"
        asked.refused(code, "PUT", f"/ramps/{name}", sent_steps, by="olga", If_Match="*", If_None_Match="*", status=422)
    asks = sent(document("Environment", "production", "policy: {ramp: {named: [careful]}}"))
    asked("POST", "/config/apply", {**asks, "plan": asked("POST", "/config/plan", asks, by="otto")["digest"]}, by="otto")
    listed = {one["name"]: one for one in asked("GET", "/ramps")["items"]}
    assert listed["careful"]["asked_for_by"] == ["production"]
    assert (listed["canary"]["revision"], [one["min_units"] for one in listed["canary"]["steps"]]) == (0, [0] * 4)
    asked.refused("ramp-asked-for", "DELETE", "/ramps/careful", by="olga", status=409)
    asked.refused("ramp-asked-for", "PUT", "/ramps/careful", steps, by="olga", If_Match="*", status=409)
    asked("PUT", "/ramps/quick", steps, by="olga", If_None_Match="*")
    asked("DELETE", "/ramps/quick", by="olga", status=204)
    asked.refused("not-found", "GET", "/ramps/quick", status=404)
    gated = {"steps": [{"shadow": True, "hold_seconds": 60, "person": True},
                       {"share_percent": 1, "min_units": 500, "statistics": "passed"}]}  # fmt: skip
    asked.refused("stale", "PUT", "/ramps/canary", gated, by="olga", If_None_Match="*", status=412)
    made = asked("PUT", "/ramps/canary", gated, by="olga", If_Match=asked.tag("/ramps/canary"))
    assert (made["revision"], made["steps"][0]["shadow"], made["steps"][1]["statistics"]) == (1, True, "passed")
    asked("DELETE", "/ramps/canary", by="olga", status=204)
    assert asked("GET", "/ramps/canary")["revision"] == 0, "the template is what is left"


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
