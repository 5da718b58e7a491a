"""Window reports over the API, the client and the command line: asked for, listed, fetched with their policy, taken away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.window_reports import page
from backend.window_reports.rows import WindowReport
from tests.api_world import Api
from tests.services.changes.world import ENDPOINT, World

SQLITE = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
AT = f"/endpoints/{ENDPOINT}/window-reports"
WINDOW = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


def granted(asked: Api) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    asked.backend.data_sets.grant(asked.world.otto, f"requests/{ENDPOINT}", until=until, identity="ana")


def made(asked: Api, report: str) -> None:
    """What the worker does, in short."""
    content, scripts = page.assembled("{}", title="x", lines=[], notes=[])
    with asked.backend.database.unit(SYSTEM) as tx:
        row = tx.session.get_one(WindowReport, report)
        row.state, row.digest, row.size, row.scripts = (
            "done",
            asked.backend.report_store.put(content),
            len(content),
            list(scripts),
        )
        tx.record("window_report.done", row)


@SQLITE
def test_a_report_is_asked_for_listed_fetched_and_taken_away(asked: Api) -> None:
    sent: dict[str, Any] = {"current": WINDOW, "parts": ["drift", "classification"], "outcome": "late"}
    asked.refused("data-set", "POST", AT, sent, status=403)
    granted(asked)
    asked.refused("outcome-needed", "POST", AT, {**sent, "outcome": None}, status=422)
    asked.refused("bad-window", "POST", AT, {"current": {**WINDOW, "end": WINDOW["start"]}}, status=422)
    asked.refused("not-found", "POST", "/endpoints/nothing/window-reports", sent, status=404)
    first = asked("POST", AT, sent, status=201, **{"idempotency-key": "one"})
    assert asked("POST", AT, sent, status=201, **{"idempotency-key": "one"})["id"] == first["id"], "asked for once"
    assert (first["state"], first["reference"]["start"], first["asked_by"]) == ("queued", "2026-02-22T00:00:00Z", "ana")
    (line,) = asked("GET", AT, by="ben")["items"]
    assert line == asked("GET", f"{AT}/{first['id']}", by="ben") == first
    asked.refused("not-made", "GET", f"{AT}/{first['id']}/page", status=422)
    made(asked, first["id"])
    asked.refused("data-set", "GET", f"{AT}/{first['id']}/page", by="ben", status=403)
    mine = {"authorization": f"Bearer {asked.token('ana')}"}
    answer = asked.client.get(f"/v1{AT}/{first['id']}/page", headers=mine)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith(
        "sandbox allow-scripts; default-src 'none'; script-src 'sha256-"
    )
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.content.startswith(b"<!DOCTYPE html>")
    asked.refused("data-set", "DELETE", f"{AT}/{first['id']}", by="otto", status=403)
    asked("DELETE", f"{AT}/{first['id']}", status=204)
    asked.refused("not-found", "GET", f"{AT}/{first['id']}", status=404)
    asked.refused("not-found", "GET", f"{AT}/{first['id']}/page", status=404)
