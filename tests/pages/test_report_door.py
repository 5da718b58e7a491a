"""A window report's page in a browser: who has it opened, from where, and what the page may do there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from app import acting, report_door
from app.edge import COOKIE, Edge
from backend.bootstrap import Backend
from backend.core.context import SYSTEM
from backend.core.ledger import LedgerRow
from backend.delivery.rows import Endpoint
from backend.window_reports import page, wire
from backend.window_reports.rows import WindowReport
from backend.window_reports.rules import Asked, Side
from tests.installations import PRODUCTION

REPORT = f"wrp_{'1' * 26}"


def with_a_report(backend: Backend, shown: str = "{}", identifier: str = REPORT) -> str:
    """A report that is done, and ana's grant; the address of its page."""
    act_as, now = backend.identities.act_as, datetime.now(UTC)
    until = now + timedelta(days=1)
    backend.data_sets.grant(act_as("otto"), f"requests/{PRODUCTION}", until=until, identity="ana")
    content, scripts = page.assembled(shown, title="A report", lines=["Of tests"], notes=[])
    digest = backend.report_store.put(content)
    with backend.database.unit(SYSTEM) as tx:
        place = tx.session.exec(select(Endpoint).where(Endpoint.name == PRODUCTION)).one()
        row = WindowReport(
            id=identifier, endpoint_id=place.id, endpoint=place.name, state="done",
            asked=wire.told(Asked(Side(now - timedelta(days=1), now))), asked_by=act_as("ana").id, asked_at=now,
            digest=digest, size=len(content), scripts=list(scripts),
        )  # fmt: skip
        tx.record("window_report.done", tx.add(row))
    return report_door.link(PRODUCTION, identifier)


def reads(backend: Backend) -> int:
    with backend.database.read() as session:
        return len(session.exec(select(LedgerRow.seq).where(LedgerRow.action == "data_set.read")).all())


@pytest.fixture
def browser() -> Any:
    application = Starlette(routes=[Route(report_door.PATH, report_door.opened, methods=["GET"])])
    for name in ("ana", "ben"):
        acting._browsers.remember(f"browser of {name}", name)
    with TestClient(Edge(application), base_url="http://127.0.0.1:8501") as client:
        yield lambda path, who, **headers: client.get(
            path,
            headers={"cookie": f'{COOKIE}="browser of {who}"', **{key.replace("_", "-"): one for key, one in headers.items()}},
        )


def test_whoever_holds_a_grant_has_it_opened_without_an_origin(full: Backend, browser: Any) -> None:
    link = with_a_report(full)
    answer = browser(link, "ana", sec_fetch_site="same-origin")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.content.startswith(b"<!DOCTYPE html>")
    (policy,) = answer.headers.get_list("content-security-policy")
    rules = dict(one.split(" ", 1) for one in policy.split("; "))
    assert rules["sandbox"] == "allow-scripts"
    assert rules["default-src"] == rules["frame-ancestors"] == rules["form-action"] == "'none'"
    assert "unsafe" not in rules["script-src"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    assert reads(full) == 1


def test_nobody_else_has(full: Backend, browser: Any) -> None:
    link = with_a_report(full)
    cases: list[tuple[str, str, dict[str, str], int, str]] = [
        (link, "nobody", {}, 401, "Nobody is signed in"),
        (link, "ben", {}, 403, "may not read"),
        (link, "ana", {"sec_fetch_site": "cross-site"}, 403, "from Countersign alone"),
        (link, "ana", {"sec_fetch_site": "same-site"}, 403, "from Countersign alone"),
        (link, "ana", {"sec_purpose": "prefetch;prerender"}, 403, "from Countersign alone"),
        (report_door.link(PRODUCTION, f"wrp_{'2' * 26}"), "ana", {}, 404, "No window report"),
        (report_door.link("<script>", REPORT), "ana", {}, 404, "No endpoint"),
    ]
    for path, who, headers, status, says in cases:
        answer = browser(path, who, **headers)
        assert (answer.status_code, says in answer.text) == (status, True), (path, who, answer.text)
        assert answer.headers["content-type"].startswith("text/plain")
        assert "sandbox" not in answer.headers["content-security-policy"], "ours, as for any other answer"
    assert reads(full) == 0
